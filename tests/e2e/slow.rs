//! The disk hangs: the application's other routes are served nevertheless.

use std::process::{Child, Command};

use tests::{Framework, Store};

use crate::{
    client::OCTETS,
    content::bytes,
    faults::attach,
    harness::{Server, id, missing},
};

/// More uploads than the server has workers.
const UPLOADS: usize = 6;

/// Longer than the test takes, in microseconds.
const DELAY: u64 = 120_000_000;

/// The calls that hang: all calls on a file, those that write an upload's bytes, and those that change the database.
const HANGING: [&str; 3] = [
    "openat,newfstatat,statx,fstat,flock,fcntl,ftruncate,lseek,pread64,write,writev,pwrite64,fdatasync,fsync",
    "write,writev",
    "pwrite64,fdatasync,fsync",
];

/// It is killed on drop.
struct Strace(Child);

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn other_routes_are_served(framework: Framework, store: Store) {
    for calls in HANGING {
        let server = Server::new(framework, store);
        let process = server.spawn().unwrap();
        let directory = server.directory.path().canonicalize().unwrap();
        let uploads: Vec<_> = (0..UPLOADS)
            .map(|_| {
                let mut connection = process.connect();
                let path = connection.create(5000);
                assert_eq!(connection.patch(&path, 0, &bytes(3, 0..1000)).status, 204);
                (connection, path)
            })
            .collect();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(log.path());
        for file in ["uploads", "uploads.db", "uploads.db-wal", "uploads.db-shm", "uploads.reserve"] {
            strace.arg("-P").arg(directory.join(file));
        }
        for (_, path) in &uploads {
            strace.arg("-P").arg(directory.join("uploads").join(id(path).as_str()));
        }
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:delay_enter={DELAY}")]);
        let Some(strace) = attach(strace, &process).map(Strace) else {
            missing("strace is missing, or it may not attach to a process");
        };
        let mut stuck = Vec::new();
        for (mut connection, path) in uploads {
            let headers = [("Upload-Offset", "1000"), ("Content-Type", OCTETS), ("Content-Length", "1000")];
            connection.head("PATCH", &path, &headers);
            connection.send(&bytes(3, 1000..2000));
            stuck.push(connection);
        }
        for _ in 0..50 {
            let response = process.connect().request("GET", "/", &[], b"");
            assert_eq!(response.status, 404, "{response:?}");
        }
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert!(!log.contains("DELAYED"), "{framework} {store} waited for the disk: {log}");
        for connection in &mut stuck {
            assert!(!connection.has_answered(), "nothing hangs");
        }
        // First, because it would not report the end of the server before the calls'.
        drop(strace);
        process.kill();
    }
}

#[test]
#[cfg_attr(not(has_strace), ignore = "strace is missing, or may not attach to a process")]
fn a_hanging_disk_blocks_no_other_route_of_axum() {
    other_routes_are_served(Framework::Axum, Store::Synced);
    other_routes_are_served(Framework::Axum, Store::Buffered);
}

#[test]
#[cfg_attr(not(has_strace), ignore = "strace is missing, or may not attach to a process")]
fn a_hanging_disk_blocks_no_other_route_of_actix_web() {
    other_routes_are_served(Framework::ActixWeb, Store::Synced);
    other_routes_are_served(Framework::ActixWeb, Store::Buffered);
}

#[test]
#[cfg_attr(not(has_strace), ignore = "strace is missing, or may not attach to a process")]
fn a_hanging_disk_blocks_no_other_route_of_warp() {
    other_routes_are_served(Framework::Warp, Store::Synced);
    other_routes_are_served(Framework::Warp, Store::Buffered);
}
