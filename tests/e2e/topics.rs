//! The examples for single topics work as documented.

use std::{
    net::SocketAddr,
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
    harness::{free_address, id, missing, wait_until},
};

const ANNA: (&str, &str) = ("Authorization", "Bearer secret");
const BERT: (&str, &str) = ("Authorization", "Bearer hidden");
const USERS: (&str, &str) = ("TUS_TOKENS", "secret=anna,hidden=bert");
const QUOTA: (&str, &str) = ("TUS_QUOTA", "1000");

fn create(connection: &mut Connection, who: (&str, &str), length: u64) -> (u16, String) {
    // "owner bWFsbG9yeQ==": a client that claims to be Mallory is not trusted.
    let claimed = ("Upload-Metadata", "owner bWFsbG9yeQ==,filename ZmlsbQ==");
    let created = connection.request("POST", "/files", &[who, claimed, ("Upload-Length", &length.to_string())], b"");
    let path = created.headers.get("location").map(|path| path.to_str().unwrap().to_owned());
    (created.status, path.unwrap_or_default())
}

#[test]
fn auth_lets_users_access_only_their_uploads() {
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
fn auth_enforces_a_quota() {
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
    assert_eq!(create(&mut connection, BERT, 1000).0, 201, "the quota is per user");
    assert_eq!(connection.request("DELETE", &there[0], &[ANNA], b"").status, 204);
    assert_eq!(create(&mut connection, ANNA, 101).0, 413);
    assert_eq!(create(&mut connection, ANNA, 100).0, 201, "deleted bytes are released");

    example.kill();
    let example = Example::start("auth", directory.path(), &[USERS, QUOTA, ("TUS_UPLOADS", "11")]);
    let mut connection = example.connect();
    assert_eq!(create(&mut connection, ANNA, 1).0, 413, "stored uploads count after a restart, too");
    assert_eq!(create(&mut connection, ANNA, 0).0, 201, "the eleventh, which is empty");
    assert_eq!(create(&mut connection, ANNA, 0).0, 403);

    // A request that is rejected later uses no quota.
    example.kill();
    let example = Example::start("auth", directory.path(), &[USERS, ("TUS_QUOTA", "2000"), ("TUS_MAX_SIZE", "600")]);
    let mut connection = example.connect();
    for _ in 0..3 {
        assert_eq!(create(&mut connection, BERT, 601).0, 413);
    }
    assert_eq!(create(&mut connection, BERT, 600).0, 201);
}

/// Concurrent creations, half of them in each of two processes on one directory: their statuses.
fn at_once(examples: &[Example; 2], count: usize, length: u64) -> Vec<(u16, String)> {
    let all_began = Barrier::new(count);
    let racing = |example: &Example| {
        let mut connection = example.connect();
        all_began.wait();
        create(&mut connection, ANNA, length)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            examples.iter().cycle().take(count).map(|example| scope.spawn(|| racing(example))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn auth_enforces_a_quota_in_two_processes() {
    let directory = TempDir::new().unwrap();
    let settings = [USERS, ("TUS_QUOTA", "300"), ("TUS_MAX_SIZE", "250")];
    let start = || [0, 1].map(|_| Example::start("auth", directory.path(), &settings));
    let examples = start();
    for _ in 0..10 {
        // Creations that are rejected for another reason lock nobody out.
        let refused = at_once(&examples, 6, 251);
        assert!(refused.iter().all(|(status, _)| *status == 413), "{refused:?}");
        let created = at_once(&examples, 6, 100);
        let there: Vec<_> = created.iter().filter(|(status, _)| *status == 201).map(|(_, path)| path).collect();
        assert_eq!(there.len(), 3, "{created:?}");
        assert!(created.iter().all(|(status, _)| [201, 413].contains(status)), "{created:?}");
        // Each process releases what the other one has created.
        for (path, example) in there.iter().zip(examples.iter().cycle()) {
            assert_eq!(example.connect().request("DELETE", path, &[ANNA], b"").status, 204);
        }
    }

    // A process that is killed between the reservation and the creation leaves a row, which counts for a minute.
    let table = rusqlite::Connection::open(directory.path().join("quotas.db")).unwrap();
    table.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let leftover = "INSERT INTO used (id, owner, bytes, since) VALUES (?, 'anna', 300, unixepoch() - ?)";
    table.execute(leftover, ("recent", 10)).unwrap();
    assert_eq!(create(&mut examples[0].connect(), ANNA, 100).0, 413, "it may be created still");
    table.execute("UPDATE used SET since = since - 60", ()).unwrap();
    assert_eq!(create(&mut examples[0].connect(), ANNA, 100).0, 201);
    // Existing uploads count, even if the table is lost.
    examples.into_iter().for_each(Example::kill);
    drop(table);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(directory.path().join(format!("quotas.db{suffix}")));
    }
    let examples = start();
    assert_eq!(create(&mut examples[0].connect(), ANNA, 201).0, 413);
    assert_eq!(create(&mut examples[1].connect(), ANNA, 200).0, 201);
}

fn rows(directory: &Path) -> Vec<(String, String, i64)> {
    let films = rusqlite::Connection::open(directory.join("films.db")).unwrap();
    let mut rows = films.prepare("SELECT incarnation, name, bytes FROM films").unwrap();
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
    let uploads = rusqlite::Connection::open(directory.path().join("uploads.db")).unwrap();
    let phase = || uploads.query_row("SELECT phase FROM uploads", (), |row| row.get::<_, i64>(0)).unwrap();
    // The hook is called beside the response.
    wait_until(|| phase() == 3);
    let kept = rows(directory.path());
    let [(incarnation, name, 500)] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((incarnation.len(), &**name), (32, "../../film"));
    let film = directory.path().join("films").join(incarnation);
    assert_same(&std::fs::read(&film).unwrap(), &bytes(1, 0..500));
    assert_eq!(connection.offset(&path), 500, "its client still learns that it is complete");

    // As if the process had died before the notification was recorded.
    example.kill();
    assert_eq!(uploads.execute("UPDATE uploads SET phase = phase - 1", ()).unwrap(), 1);
    let _example = Example::start("finished", directory.path(), &[]);
    wait_until(|| phase() == 3);
    assert_same(&std::fs::read(&film).unwrap(), &bytes(1, 0..500));
    assert_eq!(rows(directory.path()), kept);
}

#[test]
fn hyper_serves_uploads_and_a_page() {
    let directory = TempDir::new().unwrap();
    let mut example = Example::start("hyper", directory.path(), &[]);
    let mut connection = example.connect();
    let page = connection.request("GET", "/", &[], b"");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let path = connection.create(500);
    assert_eq!(path, format!("/files/{}", id(&path)));
    let patched = connection.patch(&path, 0, &bytes(1, 0..200));
    assert_eq!((patched.status, patched.offset()), (204, 200));
    assert_eq!(connection.offset(&path), 200);
    assert_eq!(connection.request("HEAD", "/elsewhere", &[], b"").status, 404);

    let announced = connection.create(11);
    connection.begin_chunked_patch(&announced, 0, &[("Trailer", "Upload-Checksum")]);
    connection.chunk(b"hello world");
    connection.send(b"0\r\nUpload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\r\n\r\n");
    assert_eq!(connection.response("PATCH").status, 204, "trailers arrive");
    let refused =
        [("Upload-Offset", "5"), ("Content-Type", OCTETS), ("Content-Length", "5"), ("Expect", "100-continue")];
    let mut asking = example.connect();
    asking.head("PATCH", &path, &refused);
    assert_eq!(asking.any_response("PATCH").unwrap().status, 409, "the body is not asked for");

    // A body is on its way, and another connection is idle.
    connection.begin_patch(&path, 200, 300);
    connection.send(&bytes(1, 200..400));
    let file = directory.path().join("uploads").join(id(&path).as_str());
    wait_until(|| std::fs::metadata(&file).is_ok_and(|file| file.len() >= 400));
    let _idle = example.connect();
    assert!(example.stop().success());
    let example = Example::start("hyper", directory.path(), &[]);
    let mut connection = example.connect();
    assert_eq!(connection.offset(&path), 400, "what came was committed");
    assert_eq!(connection.patch(&path, 400, &bytes(1, 400..500)).status, 204);
    assert_same(&std::fs::read(&file).unwrap(), &bytes(1, 0..500));
}

/// nginx with the example's own configuration. It is killed when this is dropped.
struct Nginx {
    child: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// `None` if nginx is missing.
    fn before(server: SocketAddr) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let address = free_address();
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
        // Its master stops its workers, which a kill would leave behind.
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status();
        if stopped.is_ok() {
            let _ = self.child.wait();
        }
        let _ = self.child.kill();
        let _ = self.directory.path();
    }
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "nginx is not installed")]
fn proxy_works_behind_nginx() {
    const LENGTH: u64 = 64 << 20;
    const SENT: u64 = 8 << 20;
    let directory = TempDir::new().unwrap();
    let example = Example::start("proxy", directory.path(), &[]);
    let Some(nginx) = Nginx::before(example.address) else {
        missing("nginx is not installed");
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
    assert_eq!(connection.offset(path), SENT, "nginx has passed on what it received");
    let patched = connection.patch(path, SENT, &bytes(1, SENT..LENGTH));
    assert_eq!((patched.status, patched.offset()), (204, LENGTH));
    assert_same(&std::fs::read(&file).unwrap(), &bytes(1, 0..LENGTH));
}
