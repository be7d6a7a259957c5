//! The examples that show one thing each do what they show.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Barrier,
    thread,
};

use tempfile::TempDir;

use crate::{
    client::{Connection, OCTETS},
    content::{assert_same, bytes},
    example::Example,
    harness::{id, skip, wait_until},
};

const ANNA: (&str, &str) = ("Authorization", "Bearer secret");
const BERT: (&str, &str) = ("Authorization", "Bearer hidden");
const USERS: (&str, &str) = ("TUS_TOKENS", "secret=anna,hidden=bert");
const QUOTA: (&str, &str) = ("TUS_QUOTA", "1000");

fn create(connection: &mut Connection, who: (&str, &str), length: u64) -> (u16, String) {
    // "owner bWFsbG9yeQ==": she says that it is Mallory's.
    let told = ("Upload-Metadata", "owner bWFsbG9yeQ==,filename ZmlsbQ==");
    let created = connection.request("POST", "/files", &[who, told, ("Upload-Length", &length.to_string())], b"");
    let path = created.headers.get("location").map(|path| path.to_str().unwrap().to_owned());
    (created.status, path.unwrap_or_default())
}

#[test]
fn auth_lets_a_user_do_what_is_theirs() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("auth", directory.path(), &[USERS, QUOTA]);
    let mut connection = example.connect();
    let refused = connection.request("POST", "/files", &[("Upload-Length", "5")], b"");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(create(&mut connection, ("Authorization", "Bearer wrong"), 5).0, 401);
    assert_eq!(connection.request("OPTIONS", "/files", &[], b"").status, 204, "a browser asks without a token");

    let (status, path) = create(&mut connection, ANNA, 600);
    assert_eq!(status, 201);
    for (who, expected) in [(BERT, 403), (("X-Nobody", ""), 401), (ANNA, 200)] {
        assert_eq!(connection.request("HEAD", &path, &[who], b"").status, expected, "{who:?}");
    }
    assert_eq!(connection.request("DELETE", &path, &[BERT], b"").status, 403);
    let patch = [ANNA, ("Upload-Offset", "0"), ("Content-Type", OCTETS)];
    assert_eq!(connection.request("PATCH", &path, &patch, &bytes(1, 0..600)).status, 204);
}

#[test]
fn auth_keeps_a_quota() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("auth", directory.path(), &[USERS, QUOTA]);
    let all_began = Barrier::new(20);
    let racing = || {
        let mut connection = example.connect();
        all_began.wait();
        create(&mut connection, ANNA, 100)
    };
    let created: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(racing)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let there: Vec<_> = created.iter().filter(|(status, _)| *status == 201).map(|(_, path)| path.clone()).collect();
    assert_eq!(there.len(), 10, "{created:?}");
    assert!(created.iter().all(|(status, _)| [201, 413].contains(status)));
    let mut connection = example.connect();
    assert_eq!(create(&mut connection, BERT, 1000).0, 201, "it is hers alone");
    assert_eq!(connection.request("DELETE", &there[0], &[ANNA], b"").status, 204);
    assert_eq!(create(&mut connection, ANNA, 101).0, 413);
    assert_eq!(create(&mut connection, ANNA, 100).0, 201, "what is deleted is given back");

    example.kill();
    let example = Example::start("auth", directory.path(), &[USERS, QUOTA, ("TUS_UPLOADS", "11")]);
    let mut connection = example.connect();
    assert_eq!(create(&mut connection, ANNA, 1).0, 413, "what is there counts after a start, too");
    assert_eq!(create(&mut connection, ANNA, 0).0, 201, "the eleventh, which is empty");
    assert_eq!(create(&mut connection, ANNA, 0).0, 403);
}

fn rows(directory: &Path) -> Vec<(String, String, i64)> {
    let films = rusqlite::Connection::open(directory.join("films.db")).unwrap();
    let mut rows = films.prepare("SELECT id, name, bytes FROM films").unwrap();
    let rows = rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn finished_moves_the_file_and_writes_a_row() {
    let directory = TempDir::new().unwrap();
    let example = Example::start("finished", directory.path(), &[]);
    let mut connection = example.connect();
    // "../../film"
    let path = connection.create_with(&[("Upload-Length", "500"), ("Upload-Metadata", "filename Li4vLi4vZmlsbQ==")]);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..500)).status, 204);
    let id = id(&path).to_string();
    let film = directory.path().join("films").join(&id);
    assert_same(&std::fs::read(&film).unwrap(), &bytes(1, 0..500));
    assert_eq!(rows(directory.path()), [(id.clone(), "../../film".to_owned(), 500)]);
    assert_eq!(connection.offset(&path), 500, "its client still learns that it is whole");

    // As if the process had died before it was recorded that the hook was called.
    example.kill();
    let uploads = rusqlite::Connection::open(directory.path().join("uploads.db")).unwrap();
    assert_eq!(uploads.execute("UPDATE uploads SET finished = 0, due = 1", ()).unwrap(), 1);
    let told = || uploads.query_row("SELECT finished FROM uploads", (), |row| row.get::<_, bool>(0)).unwrap();
    let _example = Example::start("finished", directory.path(), &[]);
    wait_until(told);
    assert_same(&std::fs::read(&film).unwrap(), &bytes(1, 0..500));
    assert_eq!(rows(directory.path()), [(id, "../../film".to_owned(), 500)]);
}

/// nginx with the example's own configuration. It is killed when this is dropped.
struct Nginx {
    child: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// `None` where there is no nginx.
    fn before(server: SocketAddr) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        // The port is free again, and nobody else takes it so soon.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = include_str!("../../examples/proxy/nginx.conf");
        assert!(configuration.contains("listen 127.0.0.1:8081;") && configuration.contains("http://127.0.0.1:8080/;"));
        let configuration = configuration
            .replace("127.0.0.1:8080", &server.to_string())
            .replace("127.0.0.1:8081", &address.to_string());
        std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("nginx")
            .env("PATH", path)
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let nginx = Self { child, directory, address };
        wait_until(|| std::net::TcpStream::connect(address).is_ok());
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends its workers, which a kill would leave behind.
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status();
        if stopped.is_ok() {
            let _ = self.child.wait();
        }
        let _ = self.child.kill();
        let _ = self.directory.path();
    }
}

#[test]
fn proxy_works_behind_nginx() {
    const LENGTH: u64 = 64 << 20;
    const SENT: u64 = 8 << 20;
    let directory = TempDir::new().unwrap();
    let example = Example::start("proxy", directory.path(), &[]);
    let Some(nginx) = Nginx::before(example.address) else {
        return skip("nginx is not installed");
    };
    let host = nginx.address.to_string();
    let host = ("Host", &*host);
    let mut connection = Connection::open(nginx.address);
    let length = LENGTH.to_string();
    let created = connection.request("POST", "/app/files", &[host, ("Upload-Length", &length)], b"");
    let url = created.header("location").to_owned();
    let path = url.strip_prefix(&format!("http://{}", nginx.address)).expect("the URL that the client reached");
    assert!(path.starts_with("/app/files/"), "{path}");

    connection.begin_patch(path, 0, LENGTH);
    connection.send(&bytes(1, 0..SENT));
    let file = directory.path().join("uploads").join(id(path).as_str());
    wait_until(|| std::fs::metadata(&file).is_ok_and(|file| file.len() >= SENT));
    connection.finish();
    let mut connection = Connection::open(nginx.address);
    assert_eq!(connection.offset(path), SENT, "nginx has passed on what came");
    let patched = connection.patch(path, SENT, &bytes(1, SENT..LENGTH));
    assert_eq!((patched.status, patched.offset()), (204, LENGTH));
    assert_same(&std::fs::read(&file).unwrap(), &bytes(1, 0..LENGTH));
}
