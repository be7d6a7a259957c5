//! The examples of what applications have work as documented.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    client::{Connection, OCTETS, Response},
    content::{assert_same, bytes},
    example::{self, Example},
    harness::{id, wait_until},
};

/// A request of somebody, with a header that says who it is.
fn create(connection: &mut Connection, who: (&str, &str), length: &str) -> Response {
    connection.request("POST", "/files", &[who, ("Upload-Length", length)], b"")
}

fn patch(connection: &mut Connection, path: &str, who: (&str, &str), offset: u64, body: &[u8]) -> u16 {
    let headers = [who, ("Upload-Offset", &*offset.to_string()), ("Content-Type", OCTETS)];
    connection.request("PATCH", path, &headers, body).status
}

const NOBODY: (&str, &str) = ("X-Nobody", "");
const ANNA: (&str, &str) = ("Authorization", "Bearer secret");
const BERT: (&str, &str) = ("Authorization", "Bearer hidden");
const TOKENS: (&str, &str) = ("TUS_TOKENS", "secret=anna,hidden=bert");

/// Only Anna may use her upload, in any way.
fn is_annas(connection: &mut Connection, path: &str, anna: (&str, &str), bert: (&str, &str)) {
    for (who, status) in [(NOBODY, 401), (bert, 403), (anna, 200)] {
        assert_eq!(connection.request("HEAD", path, &[who], b"").status, status, "{who:?}");
    }
    for (who, status) in [(NOBODY, 401), (bert, 403)] {
        assert_eq!(connection.request("DELETE", path, &[who], b"").status, status, "{who:?}");
        assert_eq!(patch(connection, path, who, 0, b""), status, "{who:?}");
    }
}

/// OPTIONS is allowed to everybody, and what another method is over it only to users.
fn overrides_need_a_user(connection: &mut Connection, path: &str) {
    let mut options = |path, meant, length: &[(&str, &str)]| {
        let headers = [&[("X-HTTP-Method-Override", meant)][..], length].concat();
        connection.request("OPTIONS", path, &headers, b"").status
    };
    assert_eq!(options("/files", "POST", &[("Upload-Length", "9")]), 401);
    for meant in ["HEAD", "PATCH", "DELETE"] {
        assert_eq!(options(path, meant, &[("Upload-Offset", "0"), ("Content-Type", OCTETS)]), 401, "{meant}");
    }
}

#[test]
fn session_knows_users_by_a_signed_cookie() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("session", directory.path(), &[("TUS_USERS", "anna=secret,bert=hidden")]);
    let mut connection = example.connect();
    let mut login = |body: &str| {
        let form = ("Content-Type", "application/x-www-form-urlencoded");
        connection.request("POST", "/login", &[form], body.as_bytes())
    };
    assert_eq!(login("name=anna&password=hidden").status, 403);
    let cookies = ["name=anna&password=secret", "name=bert&password=hidden"].map(|body| {
        let cookie = login(body).header("set-cookie").to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    });
    let [anna, bert] = [("Cookie", &*cookies[0]), ("Cookie", &*cookies[1])];
    let forged = cookies[1].replace("bert", "anna");

    assert_eq!(create(&mut connection, NOBODY, "9").status, 401);
    assert_eq!(create(&mut connection, ("Cookie", &forged), "9").status, 401, "it is not signed");
    let path = create(&mut connection, anna, "9").header("location").to_owned();
    is_annas(&mut connection, &path, anna, bert);
    overrides_need_a_user(&mut connection, &path);
    assert_eq!(patch(&mut connection, &path, anna, 0, &bytes(1, 0..9)), 204);

    assert_eq!(connection.request("GET", "/uploads", &[], b"").status, 401);
    assert_eq!(connection.request("GET", "/uploads", &[bert], b"").text(), "");
    let listed = connection.request("GET", "/uploads", &[anna], b"").text();
    assert!(listed.starts_with(&format!("{} 9 bytes ", id(&path))), "{listed}");

    // A page on another port is of the same site: the browser sends the cookie with its requests.
    let own = ("Origin", "http://tus.example.org");
    let form = [("Content-Type", "application/x-www-form-urlencoded"), own];
    assert_eq!(connection.request("POST", "/login", &form, b"name=bert&password=hidden").status, 303);
    assert_eq!(connection.request("POST", "/files", &[bert, own, ("Upload-Length", "9")], b"").status, 201);
    for other in ["http://tus.example.org:81", "null"] {
        for path in ["/login", "/files"] {
            let headers = [bert, ("Origin", other), ("Upload-Length", "9")];
            assert_eq!(connection.request("POST", path, &headers, b"").status, 403, "{other} {path}");
        }
    }
}

#[test]
fn workers_share_uploads_and_hooks() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("workers", directory.path(), &[TOKENS]);
    let mut connection = example.connect();
    assert_eq!(create(&mut connection, NOBODY, "900").header("www-authenticate"), "Bearer");
    assert_eq!(connection.request("OPTIONS", "/files", &[], b"").status, 204, "a browser asks without a token");
    let path = create(&mut connection, ANNA, "900").header("location").to_owned();
    is_annas(&mut connection, &path, ANNA, BERT);
    overrides_need_a_user(&mut connection, &path);

    // Connections go to the workers in turns.
    for at in (0..900).step_by(100) {
        let mut other = example.connect();
        assert_eq!(patch(&mut other, &path, ANNA, at, &bytes(1, at..at + 100)), 204);
    }
    let stored = std::fs::read(directory.path().join("uploads").join(id(&path).as_str())).unwrap();
    assert_same(&stored, &bytes(1, 0..900));
    wait_until(|| (0..8).all(|_| example.connect().request("GET", "/finished", &[], b"").text() == "1"));
}

#[test]
fn recover_answers_rejections() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("recover", directory.path(), &[TOKENS]);
    let mut connection = example.connect();
    let refused = create(&mut connection, NOBODY, "9");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(refused.text(), "log in first\n");
    // The filter refuses an invalid token, before the endpoint.
    let refused = create(&mut connection, ("Authorization", "Bearer wrong"), "9");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(refused.text(), "log in first\n");
    // Pages of other origins can read its refusals, and the endpoint's.
    let page = ("Origin", "https://app.example");
    let refused = create(&mut connection, page, "9");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "https://app.example"));
    let created = connection.request("POST", "/files", &[page, ANNA, ("Upload-Length", "9")], b"");
    assert_eq!((created.status, created.header("access-control-allow-origin")), (201, "https://app.example"));
    assert!(created.header("access-control-expose-headers").contains("location"));
    let preflight = [
        page,
        ("Access-Control-Request-Method", "PATCH"),
        ("Access-Control-Request-Headers", "authorization,tus-resumable,upload-offset"),
    ];
    assert_eq!(connection.request("OPTIONS", "/files", &preflight, b"").status, 200);
    let missing = connection.request("GET", "/nowhere", &[], b"");
    assert_eq!((missing.status, missing.text()), (404, "nothing is here\n".to_owned()));
    assert_eq!(connection.request("GET", "/health", &[], b"").text(), "ok\n");
    assert_eq!(connection.request("OPTIONS", "/files", &[], b"").status, 204, "a browser asks without a token");

    let path = create(&mut connection, ANNA, "9").header("location").to_owned();
    is_annas(&mut connection, &path, ANNA, BERT);
    overrides_need_a_user(&mut connection, &path);
    assert_eq!(patch(&mut connection, &path, ANNA, 0, &bytes(1, 0..9)), 204);
    // The endpoint's own refusals pass as they are.
    assert_eq!(patch(&mut connection, &path, ANNA, 3, b""), 409);
}

#[test]
fn poem_serves_uploads_and_a_page() {
    let directory = TempDir::new().unwrap();
    let mut example = Example::start("poem", directory.path(), &[]);
    let mut connection = example.connect();
    assert!(connection.request("GET", "/", &[], b"").header("content-type").starts_with("text/html"));
    let path = connection.create(500);
    assert_eq!(path, format!("/files/{}", id(&path)));

    // The connection breaks in the middle of a body.
    connection.begin_patch(&path, 0, 500);
    connection.send(&bytes(1, 0..200));
    let file = directory.path().join("uploads").join(id(&path).as_str());
    wait_until(|| std::fs::metadata(&file).is_ok_and(|file| file.len() >= 200));
    connection.finish();
    let mut connection = example.connect();
    assert_eq!(connection.offset(&path), 200);
    assert_eq!(connection.patch(&path, 200, &bytes(1, 200..500)).status, 204);
    assert_same(&std::fs::read(&file).unwrap(), &bytes(1, 0..500));
    drop(connection);
    assert!(example.stop().success());
}

/// What an example says that does not start.
fn refuses(name: &str, variables: &[(&str, &OsStr)]) -> String {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(example::path(name));
    command.env("TUS_ADDR", "127.0.0.1:0").env("TUS_DIR", directory.path()).envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{name} starts");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{name} leaves the directory alone");
    String::from_utf8(output.stderr).unwrap().trim().to_owned()
}

#[test]
fn examples_say_what_is_wrong_with_their_settings() {
    let (bucket, secret) = (OsStr::new("s3://bucket/films"), OsStr::new("hunter2"));
    for example in ["finished", "handoff", "postgres"] {
        let mut variables = vec![("TUS_STORE", bucket), ("TUS_BUCKET", bucket)];
        variables.extend((example == "handoff").then_some(("AWS_REGION", OsStr::new("us-east-1"))));
        let said = refuses(example, &variables);
        assert_eq!(said, "Error: TUS_STORE is set, but this example needs files: set TUS_DIR instead", "{example}");
    }
    assert_eq!(refuses("handoff", &[]), "Error: TUS_BUCKET is not set: set it to s3://bucket/films, for example");
    for (name, variable) in
        [("auth", "TUS_TOKENS"), ("recover", "TUS_TOKENS"), ("session", "TUS_USERS"), ("workers", "TUS_TOKENS")]
    {
        assert!(refuses(name, &[]).starts_with(&format!("Error: {variable} is not set")), "{name}");
        let said = refuses(name, &[(variable, secret)]);
        assert!(said.starts_with(&format!("Error: pair 1 of {variable} is not of the form key=value")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let latin = OsStr::from_bytes(b"hunter2\xe9=anna");
        assert_eq!(refuses(name, &[(variable, latin)]), format!("Error: {variable} is not UTF-8"));
    }
    let tokens = ("TUS_TOKENS", OsStr::new("secret=anna"));
    let said = refuses("auth", &[tokens, ("TUS_QUOTA", OsStr::new("1 GiB"))]);
    assert_eq!(said, "Error: TUS_QUOTA is \"1 GiB\", but it must be a number of bytes");
    let latin = OsStr::from_bytes(b"caf\xe9");
    for variable in ["TUS_STORE", "TUS_MAX_SIZE", "TUS_LOCATION", "TUS_DOWNLOAD", "TUS_DURABILITY", "TUS_ADDR"] {
        let said = refuses("axum", &[(variable, latin)]);
        assert_eq!(said, format!("Error: {variable} is not UTF-8"));
    }
}

/// All examples are in the lists of the README beside them and of the guide.
#[test]
fn every_example_is_listed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let lists =
        ["README.md", "guide/src/examples.md"].map(|file| std::fs::read_to_string(examples.join(file)).unwrap());
    for example in std::fs::read_dir(&examples).unwrap().map(Result::unwrap) {
        let name = example.file_name().into_string().unwrap();
        // The others use `shared`, and nobody runs it.
        let is_example = example.path().join("Cargo.toml").exists() && name != "shared";
        for list in &lists {
            let list = list.lines().filter(|line| line.starts_with('|')).collect::<String>();
            assert!(!is_example || list.contains(&format!("`{name}`")), "{name} is not listed");
        }
    }
}
