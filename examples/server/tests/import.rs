//! The import of a directory of tusd, which is written here as `pkg/filestore` of tusd 2 writes it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::time::timeout;
use tus_reqwest::{
    Client, Source,
    reqwest::{self, Response},
};

use crate::{
    program::{PATIENCE, Server, Setup},
    receiver::Receiver,
};

/// tusd's `-upload-dir`.
struct Tusd(PathBuf);

impl Tusd {
    fn new(setup: &Setup) -> Self {
        let path = setup.path("tusd");
        fs::create_dir(&path).unwrap();
        fs::create_dir(setup.path("uploads-data")).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }

    /// A record, with these fields instead of the usual ones.
    fn record(&self, id: &str, fields: Value) {
        let mut record = json!({
            "ID": id, "Size": 11, "SizeIsDeferred": false, "Offset": 0, "MetaData": {"filename": format!("{id}.txt")},
            "IsPartial": false, "IsFinal": false, "PartialUploads": null,
            "Storage": {"InfoPath": self.path(&format!("{id}.info")), "Path": self.path(id), "Type": "filestore"},
        });
        for (name, value) in fields.as_object().unwrap() {
            record[name] = value.clone();
        }
        fs::write(self.path(&format!("{id}.info")), record.to_string()).unwrap();
    }

    fn upload(&self, id: &str, bytes: &str, fields: Value) {
        fs::write(self.path(id), bytes).unwrap();
        self.record(id, fields);
    }

    async fn import(&self, setup: &Setup, options: &[&str]) -> (bool, String, String) {
        let directory = self.shown();
        setup.run(&[&["admin", "import", &directory][..], options].concat()).await
    }
}

/// The last line of the output.
fn counts(done: &str, imported: usize, bytes: usize, here: usize, refused: usize) -> String {
    format!("{imported} {done} ({bytes} bytes), {here} already here, 0 here but not compared, {refused} refused")
}

fn last(output: &str) -> &str {
    output.lines().last().unwrap()
}

async fn list(setup: &Setup) -> Vec<Value> {
    let (success, listed, errors) = setup.run(&["admin", "list", "--json"]).await;
    assert!(success, "{errors}");
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn request(server: &Server, method: &str, id: &str) -> Response {
    let url = server.url(&format!("/files/{id}"));
    let request = reqwest::Client::new().request(method.parse().unwrap(), url);
    request.header("tus-resumable", "1.0.0").send().await.unwrap()
}

async fn bytes(server: &Server, id: &str) -> String {
    let response = request(server, "GET", id).await;
    assert_eq!(response.status(), 200, "{id}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn uploads_of_tusd_continue_under_their_urls() {
    let setup = Setup::new().set("TUS_DOWNLOAD", "on");
    let tusd = Tusd::new(&setup);
    tusd.upload("half", "hello ", json!({}));
    fs::write(tusd.path("done"), "hello world").unwrap();
    // As Go writes it.
    let record = r#"{"ID":"done","Size":11,"SizeIsDeferred":false,"Offset":0,"MetaData":{"empty":"","filename":"Ωmega \u003cb\u003e.txt"},"IsPartial":false,"IsFinal":false,"PartialUploads":null,"Storage":{"InfoPath":"/srv/done.info","Path":"/srv/done","Type":"filestore"}}"#;
    fs::write(tusd.path("done.info"), record).unwrap();
    tusd.upload("empty", "", json!({"Size": 0, "MetaData": {}}));
    tusd.upload("begun", "", json!({}));
    tusd.upload("deferred", "hello", json!({"Size": 0, "SizeIsDeferred": true}));
    tusd.upload("p-1", "hello ", json!({"Size": 6, "IsPartial": true}));
    tusd.upload("p_2", "world", json!({"Size": 5, "IsPartial": true}));
    tusd.upload("p3", "wor", json!({"Size": 5, "IsPartial": true}));
    tusd.upload("a-final", "hello world", json!({"IsFinal": true, "PartialUploads": ["p-1", "p_2"]}));
    tusd.upload("lone-final", "hello world", json!({"IsFinal": true, "PartialUploads": ["gone"]}));
    // Before version 2.5, and before 1.0.
    tusd.upload("old", "hello", json!({"Storage": {"Type": "filestore", "Path": "/srv/elsewhere/old"}}));
    tusd.upload("older", "hello", json!({"Storage": null}));
    // A hook chose the path.
    fs::create_dir(tusd.path("films")).unwrap();
    fs::write(tusd.path("films/x.mp4"), "hello").unwrap();
    let storage = json!({"InfoPath": "data/moved.info", "Path": "data/films/x.mp4", "Type": "filestore"});
    tusd.record("moved", json!({"Storage": storage}));
    // A process that is gone held it: this one has ended, and was waited for.
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    fs::write(tusd.path("half.lock"), format!("{}\n", gone.id())).unwrap();

    let dry = tusd.import(&setup, &["--dry-run"]).await;
    assert_eq!((dry.0, last(&dry.1), &*dry.2), (true, &*counts("would be imported", 13, 73, 0, 0), ""));
    let created = fs::read_dir(setup.path("uploads-data")).unwrap().count();
    assert_eq!(created, 0, "a dry run changes nothing");
    let (success, output, errors) = tusd.import(&setup, &[]).await;
    assert!(success, "{errors}");
    assert_eq!(last(&output), counts("imported", 13, 73, 0, 0));
    assert_eq!(output.lines().count(), 14);
    let listed = list(&setup).await;
    let shown = |id: &str| listed.iter().find(|upload| upload["id"] == id).unwrap();
    for (id, kind, phase, offset, length) in [
        ("half", "single", "receiving", 6, json!(11)),
        ("done", "single", "finished", 11, json!(11)),
        ("empty", "single", "finished", 0, json!(0)),
        ("begun", "single", "receiving", 0, json!(11)),
        ("deferred", "single", "receiving", 5, json!(null)),
        ("p-1", "partial", "complete", 6, json!(6)),
        ("p3", "partial", "receiving", 3, json!(5)),
        ("a-final", "final", "finished", 11, json!(11)),
        ("lone-final", "final", "finished", 11, json!(11)),
        ("old", "single", "receiving", 5, json!(11)),
        ("older", "single", "receiving", 5, json!(11)),
        ("moved", "single", "receiving", 5, json!(11)),
    ] {
        let upload = shown(id);
        assert_eq!((&upload["kind"], &upload["phase"]), (&json!(kind), &json!(phase)), "{id}");
        assert_eq!((&upload["offset"], &upload["length"]), (&json!(offset), &length), "{id}");
        assert!(upload["expires"].is_null(), "{id}");
    }
    assert_eq!(shown("done")["metadata"], json!({"filename": "Ωmega <b>.txt", "empty": ""}));

    let server = setup.start().await;
    for id in ["done", "a-final", "lone-final"] {
        assert_eq!(bytes(&server, id).await, "hello world");
    }
    let joined = request(&server, "HEAD", "a-final").await;
    assert_eq!(joined.headers()["upload-concat"], "final;/files/p-1 /files/p_2");
    assert_eq!(request(&server, "HEAD", "p-1").await.headers()["upload-concat"], "partial");
    // As tus-js-client does: it asks for the offset, and continues from there.
    let offset = request(&server, "HEAD", "half").await.headers()["upload-offset"].clone();
    assert_eq!(offset, "6");
    let append = reqwest::Client::new().patch(server.url("/files/half")).header("tus-resumable", "1.0.0");
    let append = append.header("content-type", "application/offset+octet-stream").header("upload-offset", offset);
    assert_eq!(append.body("world").send().await.unwrap().headers()["upload-offset"], "11");
    assert_eq!(bytes(&server, "half").await, "hello world");
    let client = Client::new(&server.url("/files")).unwrap();
    for id in ["begun", "deferred", "moved"] {
        client.resume(&*server.url(&format!("/files/{id}")), Source::bytes("hello world")).send().await.unwrap();
        assert_eq!(bytes(&server, id).await, "hello world");
    }
    // A server could delete what is not complete yet.
    let (success, _, errors) = tusd.import(&setup, &[]).await;
    let expected = format!(
        "tus-serve: a server or another command uses {}; stop it first\n",
        setup.path("uploads-data").display()
    );
    assert_eq!((success, errors), (false, expected));
    server.stop().await;
    // It can be repeated: what continued here stays as it is.
    let again = tusd.import(&setup, &[]).await;
    assert_eq!(again, (true, counts("imported", 0, 0, 13, 0) + "\n", String::new()));
    let server = setup.start().await;
    assert_eq!(bytes(&server, "half").await, "hello world");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_with_the_reason() {
    let setup = Setup::new();
    let tusd = Tusd::new(&setup);
    tusd.upload("good", "hello", json!({}));
    fs::write(tusd.path("secret"), "hello").unwrap();
    let mut reasons = Vec::new();
    let mut refuse = |name: &str, reason: &str| reasons.push((name.to_owned(), reason.to_owned()));
    tusd.upload("long", "hello world", json!({"Size": 5}));
    refuse("long", "its file has 11 bytes, but the upload has a length of 5");
    tusd.upload("negative", "", json!({"Size": -1}));
    refuse("negative", "its size is negative");
    tusd.upload("named", "hello", json!({"ID": "good"}));
    refuse("named", "it is the record of \"good\", but has another name");
    tusd.upload("a.b", "hello", json!({}));
    refuse("a.b", "the id \"a.b\" is not valid here: an upload id is 1 to 128 ASCII letters, digits, '-' or '_'");
    fs::create_dir(tusd.path("user")).unwrap();
    tusd.upload("user/a", "hello", json!({}));
    refuse("user/a", "the id \"user/a\" is not valid here");
    tusd.record("missing", json!({}));
    refuse("missing", "No such file or directory");
    fs::write(tusd.path("text.info"), "hello").unwrap();
    refuse("text", "it is not a record of tusd");
    tusd.upload("s3", "", json!({"Storage": {"Type": "s3store", "Bucket": "b", "Key": "s3"}}));
    refuse("s3", "its bytes are not in a file, but in the storage \"s3store\"");
    for (id, path) in [("outside", "/etc/passwd".into()), ("above", tusd.path("../server.toml"))] {
        let record = tusd.path(&format!("{id}.info"));
        tusd.record(id, json!({"Storage": {"Type": "filestore", "Path": path, "InfoPath": record}}));
        refuse(id, "its bytes are outside the directory, in ");
    }
    let storage = json!({"Type": "filestore", "Path": tusd.path("good"), "InfoPath": tusd.path("thief.info")});
    tusd.record("thief", json!({"Storage": storage}));
    refuse("thief", "another upload uses its file \"good\" as well");
    symlink("secret", tusd.path("link")).unwrap();
    tusd.record("link", json!({}));
    refuse("link", "/link\" is a symbolic link");
    symlink("good.info", tusd.path("linked.info")).unwrap();
    refuse("linked", "it is a symbolic link");
    symlink(".", tusd.path("round")).unwrap();
    let storage = json!({"Type": "filestore", "Path": tusd.path("round/secret"), "InfoPath": tusd.path("way.info")});
    tusd.record("way", json!({"Storage": storage}));
    refuse("way", "a symbolic link or a file is where a directory should be");
    rustix::fs::mkfifoat(rustix::fs::CWD, tusd.path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    tusd.record("pipe", json!({}));
    refuse("pipe", "/pipe\" is not a regular file");
    tusd.upload("short-final", "hello", json!({"IsFinal": true, "PartialUploads": ["good"]}));
    refuse("short-final", "tusd did not finish concatenating its parts");
    tusd.upload("no-parts", "hello world", json!({"IsFinal": true, "PartialUploads": []}));
    refuse("no-parts", "it is a final upload without parts");
    tusd.upload("both", "hello", json!({"IsFinal": true, "IsPartial": true}));
    refuse("both", "it is both a partial and a final upload");
    tusd.upload("part-id", "hello world", json!({"IsFinal": true, "PartialUploads": ["a.b"]}));
    refuse("part-id", "it is a final upload, and a part of it cannot be imported: the id \"a.b\" is not valid here");
    tusd.upload("locked", "hello", json!({}));
    fs::write(tusd.path("locked.lock"), "?").unwrap();
    refuse("locked", "locked.lock\" cannot be read; stop tusd, and delete that file");
    tusd.upload("line\nfeed", "hello", json!({}));
    refuse("line\\nfeed", "the id \"line\\nfeed\" is not valid here");

    let (success, output, errors) = tusd.import(&setup, &[]).await;
    assert!(!success);
    assert_eq!(last(&output), counts("imported", 1, 5, 0, reasons.len()));
    for (name, reason) in &reasons {
        let line =
            errors.lines().find(|line| line.starts_with(&format!("tus-serve: \"{name}.info\" is not imported: ")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{name}: {errors}");
    }
    assert_eq!(errors.lines().count(), reasons.len(), "{errors}");
    let listed = list(&setup).await;
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!("good")));
    // Other bytes, or more of them, are not imported over those that are here.
    let file = |id: &str| setup.path("uploads-data/uploads").join(id);
    fs::write(tusd.path("good"), "HELLO").unwrap();
    let (_, _, errors) = tusd.import(&setup, &[]).await;
    assert!(errors.contains("\"good.info\" is not imported: it has different bytes here\n"), "{errors}");
    fs::write(tusd.path("good"), "hello w").unwrap();
    let (_, _, errors) = tusd.import(&setup, &[]).await;
    assert!(errors.contains("7 bytes are in the directory, but only 5 here; if tusd was used after"), "{errors}");
    assert_eq!(fs::read(file("good")).unwrap(), b"hello");
    // The user who makes it owns it.
    let (_, _, errors) = tusd.import(&setup.set("TUS_DIR", "new"), &["--dry-run"]).await;
    assert_eq!(errors, "tus-serve: new does not exist; create it as the user who runs the server\n");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_an_error() {
    let setup = Setup::new();
    fs::create_dir(setup.path("uploads-data")).unwrap();
    let (_, _, errors) = setup.run(&["admin", "import", "/nowhere"]).await;
    assert!(errors.starts_with("tus-serve: \"/nowhere\" cannot be read: No such file"), "{errors}");
}

#[tokio::test]
async fn a_running_tusd_is_noticed() {
    let setup = Setup::new();
    let tusd = Tusd::new(&setup);
    tusd.upload("good", "hello", json!({}));
    tusd.upload("used", "hello", json!({}));
    fs::write(tusd.path("used.lock"), format!("{}\n", std::process::id())).unwrap();
    let (success, output, errors) = tusd.import(&setup, &[]).await;
    assert!(!success && output.is_empty(), "{output}");
    let lock = tusd.path("used.lock");
    let expected =
        format!("tus-serve: tusd seems to be running: {lock:?} contains process id {}, ", std::process::id());
    assert!(errors.starts_with(&expected), "{errors}");
    assert!(list(&setup).await.is_empty());
}

/// Waits until an upload is listed and has bytes.
async fn is_begun(setup: &Setup) {
    let begun = async {
        // Before that, another command would keep the import from beginning.
        while !fs::read_dir(setup.path("uploads-data/uploads")).is_ok_and(|mut files| files.next().is_some()) {
            tokio::task::yield_now().await;
        }
        while !list(setup).await.iter().any(|upload| upload["offset"].as_u64() > Some(0)) {}
    };
    timeout(PATIENCE, begun).await.expect("it is begun");
}

/// A file that takes long, and uses no space.
fn lengthen(path: &Path) {
    fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
}

#[tokio::test]
async fn an_upload_that_is_being_imported_is_seen_by_no_client_and_survives_a_kill() {
    let setup = Setup::new().set("TUS_CHECKPOINT_INTERVAL", "0.1").set("TUS_DURABILITY", "buffered");
    let tusd = Tusd::new(&setup);
    tusd.record("large", json!({"Size": 1_u64 << 41}));
    lengthen(&tusd.path("large"));
    let mut import = setup.command(&["admin", "import", &tusd.shown()]).spawn().unwrap();
    is_begun(&setup).await;
    let server = setup.start().await;
    let gone = request(&server, "HEAD", "large").await.status().as_u16();
    assert!([404, 410].contains(&gone), "{gone}");
    import.kill().await.unwrap();
    server.stop().await;
    let gone = setup.start().await;
    assert!([404, 410].contains(&request(&gone, "HEAD", "large").await.status().as_u16()));
    gone.stop().await;
    fs::write(tusd.path("large"), "hello").unwrap();
    let (success, output, errors) = tusd.import(&setup, &[]).await;
    assert!(success, "{errors}");
    assert_eq!(output, format!("large imported\n{}\n", counts("imported", 1, 5, 0, 0)));
    let server = setup.start().await;
    assert_eq!(request(&server, "HEAD", "large").await.headers()["upload-offset"], "5");
    server.stop().await;
    assert_eq!(fs::read(setup.path("uploads-data/uploads/large")).unwrap(), b"hello");
}

#[tokio::test]
async fn metadata_that_no_header_can_have_is_left_out() {
    let setup = Setup::new();
    let tusd = Tusd::new(&setup);
    tusd.upload("key", "hello", json!({"MetaData": {"a b": "c", "filename": "a.txt"}}));
    let (success, output, errors) = tusd.import(&setup, &[]).await;
    assert!(success, "{errors}");
    assert_eq!(last(&output), counts("imported", 1, 5, 0, 0));
    let expected =
        "tus-serve: \"key.info\" is imported without a part of its metadata: the key \"a b\" contains a comma";
    assert!(errors.starts_with(expected), "{errors}");
    assert_eq!(list(&setup).await[0]["metadata"], json!({"filename": "a.txt"}));
    let (_, output, _) = tusd.import(&setup, &[]).await;
    assert_eq!(last(&output), counts("imported", 0, 0, 1, 0));
}

#[tokio::test]
async fn tusd_keeps_its_directory() {
    let setup = Setup::new();
    let tusd = Tusd::new(&setup);
    tusd.upload("a", "hello", json!({}));
    let inside = tusd.path("new");
    fs::create_dir(&inside).unwrap();
    for into in [tusd.shown(), inside.display().to_string()] {
        let (success, _, errors) = tusd.import(&Setup::new().set("TUS_DIR", &into), &[]).await;
        assert!(!success && errors.contains("is the directory of tusd, or in it"), "{errors}");
    }
    assert!(!tusd.path("uploads.db").exists() && fs::read_dir(&inside).unwrap().next().is_none());
}

/// `import | head -1`: what is imported does not depend on who reads it.
#[tokio::test]
async fn an_import_goes_on_when_nobody_reads_what_it_says() {
    let setup = Setup::new();
    let tusd = Tusd::new(&setup);
    tusd.upload("a", "hello", json!({}));
    tusd.upload("b", "hello", json!({}));
    let closed = |errors| {
        let mut command = setup.command(&["admin", "import", &tusd.shown()]);
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child
    };
    let ended = timeout(PATIENCE, closed(Stdio::inherit()).wait()).await.expect("it ends").unwrap();
    assert!(ended.success());
    assert_eq!(list(&setup).await.len(), 2);
    // And an error is one, whether somebody reads it or not.
    fs::write(tusd.path("0.info"), "").unwrap();
    tusd.upload("c", "hello", json!({}));
    let ended = timeout(PATIENCE, closed(Stdio::piped()).wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(1));
    assert_eq!(list(&setup).await.len(), 3);
}

#[tokio::test]
async fn the_application_is_notified_of_finished_uploads_only_if_asked_for() {
    let mut receiver = Receiver::start(|_| (200, "{}".to_owned())).await;
    let setup = receiver.of(Setup::new(), "before_finish,finished");
    let tusd = Tusd::new(&setup);
    tusd.upload("silent", "hello world", json!({}));
    let (success, _, errors) = tusd.import(&setup, &[]).await;
    assert!(success, "{errors}");
    tusd.upload("done", "hello world", json!({}));
    tusd.upload("half", "hello ", json!({}));
    let (success, _, errors) = tusd.import(&setup, &["--notify"]).await;
    assert!(success, "{errors}");
    let server = setup.start().await;
    for hook in ["before_finish", "finished"] {
        let message = receiver.next().await;
        assert_eq!((&message.json["type"], &message.json["data"]["upload"]["id"]), (&json!(hook), &json!("done")));
    }
    server.stop().await;
    assert!(receiver.try_next().is_none(), "nothing else was sent");
}
