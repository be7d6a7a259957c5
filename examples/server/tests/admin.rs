//! The admin command, beside a running server and without one.

use std::{fs::File, process::Stdio};

use serde_json::Value;
use tokio::time::timeout;
use tus_reqwest::{
    Client, Source,
    reqwest::{self, Url},
};

use crate::program::{PATIENCE, Server, Setup};

async fn upload(server: &Server, name: &'static str, content: &'static str) -> Url {
    let client = Client::new(&server.url("/files")).unwrap();
    let upload = client.upload(Source::bytes(content)).metadata("filename", name);
    upload.send().await.unwrap().url
}

/// A creation without bytes.
async fn begin(server: &Server) -> String {
    let request = reqwest::Client::new().post(server.url("/files"));
    let request = request.header("tus-resumable", "1.0.0").header("upload-length", "5");
    let created = request.send().await.unwrap();
    id(created.headers()["location"].to_str().unwrap()).to_owned()
}

fn id(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

async fn head(server: &Server, id: &str) -> u16 {
    let request = reqwest::Client::new().head(server.url(&format!("/files/{id}")));
    request.header("tus-resumable", "1.0.0").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn uploads_are_listed_shown_and_deleted_while_their_server_runs_and_afterwards() {
    let setup = Setup::new();
    let server = setup.start().await;
    let film = upload(&server, "film\u{1b}[2J.mp4", "hello").await;
    let film = id(film.as_str());
    let begun = begin(&server).await;
    let (success, listed, _) = setup.run(&["admin", "list"]).await;
    assert!(success);
    assert_eq!(listed.lines().count(), 2);
    let line = listed.lines().find(|line| line.starts_with(film)).unwrap();
    assert!(line.contains("finished") && line.contains("5/5") && line.ends_with("film\u{fffd}[2J.mp4"), "{line}");
    let (_, listed, _) = setup.run(&["admin", "list", "--phase", "receiving", "--json"]).await;
    let shown: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&shown["id"], &shown["length"], &shown["offset"]), (&begun.clone().into(), &5.into(), &0.into()));
    let (success, shown, _) = setup.run(&["admin", "show", film]).await;
    assert!(success);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["phase"], "finished");

    let (success, output, _) = setup.run(&["admin", "delete", film]).await;
    assert!(success);
    assert_eq!(output, format!("{film} deleted\n"));
    assert_eq!(head(&server, film).await, 404);
    assert_eq!(head(&server, &begun).await, 200);
    server.stop().await;

    // One that is not there does not stop what follows it.
    let (success, output, errors) = setup.run(&["admin", "show", "nobody", &begun]).await;
    assert!(!success && errors.ends_with("there is no upload nobody\n"), "{errors}");
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap()["id"], *begun);
    let (success, output, errors) = setup.run(&["admin", "delete", "nobody", "../x", &begun]).await;
    assert!(!success && errors.contains("nobody could not be deleted: "), "{errors}");
    assert!(errors.contains("\"../x\" is not the id of an upload: "), "{errors}");
    assert_eq!(output, format!("{begun} deleted\n"));
    let (success, _, errors) = setup.run(&["admin", "delete", &begun]).await;
    assert!(!success && errors.contains(&format!("{begun} could not be deleted: ")), "{errors}");
    let (success, _, errors) = setup.run(&["admin", "show", &begun]).await;
    assert!(!success && errors.ends_with(&format!("there is no upload {begun}\n")), "{errors}");
    assert_eq!(setup.run(&["admin", "list"]).await, (true, String::new(), String::new()));
}

/// What is deleted does not depend on who reads it, nor on whether there is room for it.
#[tokio::test]
async fn deletion_goes_on_when_its_output_is_lost() {
    let setup = Setup::new();
    let mut server = setup.start().await;
    // The server neither.
    server.close_the_log();
    let full = || File::options().write(true).open("/dev/full").map_or_else(|_| Stdio::piped(), Stdio::from);
    let outputs: [fn() -> Stdio; 2] = [Stdio::piped, full];
    for output in outputs {
        let (one, two) = (begin(&server).await, begin(&server).await);
        let mut child =
            setup.command(&["admin", "delete", &one, &two]).stdout(output()).stderr(output()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
        assert_eq!((head(&server, &one).await, head(&server, &two).await), (404, 404));
    }
    server.stop().await;
}

#[tokio::test]
async fn expired_uploads_are_deleted_on_demand() {
    let setup = Setup::new();
    let server = setup.start().await;
    let kept = upload(&server, "a.txt", "hello").await;
    server.stop().await;
    let setup = setup.set("TUS_EXPIRES", "0.001").set("TUS_BACKGROUND", "off");
    let server = setup.start().await;
    let begun = begin(&server).await;
    // It is gone for clients, and still takes space.
    let expired = async { while head(&server, &begun).await == 200 {} };
    timeout(PATIENCE, expired).await.expect("it expires");
    let (_, listed, _) = setup.run(&["admin", "list"]).await;
    assert_eq!(listed.lines().count(), 2);
    assert_eq!(setup.run(&["admin", "expire"]).await.1, "1 upload deleted\n");
    assert_eq!(setup.run(&["admin", "expire"]).await.1, "0 uploads deleted\n");
    let (_, listed, _) = setup.run(&["admin", "list"]).await;
    assert!(listed.starts_with(id(kept.as_str())) && listed.lines().count() == 1, "{listed}");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_deleted_on_demand_is_an_error() {
    let setup = Setup::new().set("TUS_EXPIRES", "0.001").set("TUS_BACKGROUND", "off");
    let server = setup.start().await;
    let stuck = begin(&server).await;
    let expired = async { while head(&server, &stuck).await == 200 {} };
    timeout(PATIENCE, expired).await.expect("it expires");
    server.stop().await;
    let database = rusqlite::Connection::open(setup.path("uploads-data/uploads.db")).unwrap();
    let trigger = "CREATE TRIGGER stuck BEFORE DELETE ON uploads BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    database.execute_batch(trigger).unwrap();
    drop(database);
    let (success, output, errors) = setup.run(&["admin", "expire"]).await;
    assert!(!success && output.is_empty(), "{output}");
    assert!(errors.contains("tus-serve: not all expired uploads could be deleted: "), "{errors}");
    let (_, listed, _) = setup.run(&["admin", "list"]).await;
    assert!(listed.starts_with(&stuck) && listed.lines().count() == 1, "{listed}");
}

/// What only a server uses is not checked, unless it is wanted.
#[tokio::test]
async fn a_command_does_without_the_files_of_the_server() {
    let setup = Setup::new();
    let server = setup.start().await;
    let begun = begin(&server).await;
    server.stop().await;
    let setup = setup.set("TUS_TLS_CERT", "/nowhere").set("TUS_TLS_KEY", "/nowhere");
    let setup = setup.set("TUS_WEBHOOKS_URL", "http://127.0.0.1:1").set("TUS_WEBHOOKS_SECRETS_FILE", "/nowhere");
    let (success, listed, errors) = setup.run(&["admin", "list"]).await;
    assert!(success && listed.starts_with(&begun), "{errors}");
    for arguments in [&["admin", "delete", &begun][..], &["--check-config", "admin", "list"], &[]] {
        let (success, _, errors) = setup.run(arguments).await;
        let expected = "the file of `webhooks.secrets_file` cannot be read: No such file";
        assert!(!success && errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[tokio::test]
async fn check_reports_missing_bytes() {
    let setup = Setup::new();
    let server = setup.start().await;
    let good = upload(&server, "good", "hello").await;
    let (cut, gone) = (upload(&server, "cut", "hello").await, upload(&server, "gone", "hello").await);
    let begun = begin(&server).await;
    let append = reqwest::Client::new().patch(server.url(&format!("/files/{begun}")));
    let append = append.header("tus-resumable", "1.0.0").header("upload-offset", "0").body("hel");
    let append = append.header("content-type", "application/offset+octet-stream").send().await.unwrap();
    assert_eq!(append.status(), 204);
    server.stop().await;
    let clean = (true, "4 uploads, 0 problems\n".to_owned(), String::new());
    assert_eq!(setup.run(&["admin", "check", "--read"]).await, clean);

    let file = |id: &str| setup.path("uploads-data/uploads").join(id);
    std::fs::write(file(&begun), "he").unwrap();
    std::fs::write(file(id(cut.as_str())), "he").unwrap();
    std::fs::remove_file(file(id(gone.as_str()))).unwrap();
    let (success, output, _) = setup.run(&["admin", "check"]).await;
    assert!(!success, "{output}");
    let line = |id: &str| output.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{output}"));
    assert_eq!(line(&begun), format!("{begun}: 1 byte missing"));
    assert!(line(id(gone.as_str())).ends_with("is missing: moved or deleted"), "{output}");
    assert!(
        line(id(cut.as_str())).ends_with("does not have the bytes that its record claims: unexpected end of file"),
        "{output}"
    );
    assert_eq!(output.lines().last().unwrap(), "4 uploads, 3 problems");
    assert_eq!(std::fs::read(file(id(good.as_str()))).unwrap(), b"hello");
    // The client of the unfinished upload continues from the bytes that there are.
    let (_, listed, _) = setup.run(&["admin", "list", "--phase", "receiving"]).await;
    assert!(listed.contains(&begun) && listed.contains("2/5"), "{listed}");
}

#[tokio::test]
async fn without_uploads_there_is_nothing_to_do() {
    let setup = Setup::new();
    let (success, _, errors) = setup.run(&["admin", "list"]).await;
    assert!(!success && errors.starts_with("tus-serve: there are no uploads in "), "{errors}");
    assert!(!setup.path("uploads-data").exists());
    let (success, _, errors) = setup.set("TUS_STORE", "memory:").run(&["admin", "list"]).await;
    assert!(!success);
    assert_eq!(
        errors,
        "tus-serve: uploads in memory exist only in the server's process; admin commands cannot see them\n"
    );
}
