//! Downloads of finished uploads, if the application allows them.

use std::{path::PathBuf, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use http::HeaderValue;
use tempfile::TempDir;
use tests::{Framework, Running};
use tus_service::{
    Builder, Config, Download, Memory, Operation, Phase, Rejection, Storage, StorageError, UploadId, context,
};
use tus_sqlite::Sqlite;

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{Server, Started, block_on, id, wait_until},
};

/// More than a storage reads at once, and more than socket buffers hold.
const LENGTH: u64 = (32 << 20) + 3;

fn downloads(builder: Builder) -> Builder {
    builder.config(Config::default().download(Download::attachment()))
}

/// A finished upload.
fn uploaded(started: &Started) -> (String, Connection) {
    let mut connection = started.connect();
    let length = LENGTH.to_string();
    let path = connection.create_with(&[("Upload-Length", &*length), ("Upload-Metadata", "filename ZmlsbS5tcDQ=")]);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..LENGTH)).status, 204);
    (path, connection)
}

pub(crate) fn a_finished_upload_downloads_completely_and_in_ranges(server: Server) {
    let started = server.start_with(downloads);
    let (path, mut connection) = uploaded(&started);
    let complete = connection.request("GET", &path, &[], b"");
    assert_eq!((complete.status, complete.header("content-length")), (200, &*LENGTH.to_string()));
    assert_eq!(complete.header("content-disposition"), "attachment; filename=\"film.mp4\"");
    assert_eq!(complete.header("x-content-type-options"), "nosniff");
    assert_same(&complete.body, &bytes(1, 0..LENGTH));

    // Without Tus-Resumable it is not a request of tus.
    connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: tus.example.org\r\n\r\n").as_bytes());
    let head = connection.response("HEAD");
    for name in ["content-length", "content-type", "content-disposition", "etag", "accept-ranges", "last-modified"] {
        assert_eq!(head.headers.get_all(name), complete.headers.get_all(name), "{name}: as GET");
    }

    for (from, to) in [(0, 1), (5, 3 << 20), (LENGTH - 7, LENGTH)] {
        let range = format!("bytes={from}-{}", to - 1);
        let part = connection.request("GET", &path, &[("Range", &range)], b"");
        assert_eq!((part.status, part.header("content-range")), (206, &*format!("bytes {from}-{}/{LENGTH}", to - 1)));
        assert_same(&part.body, &bytes(1, from..to));
    }
    let tag = complete.header("etag");
    assert_eq!(connection.request("GET", &path, &[("If-None-Match", tag)], b"").status, 304);
    let beyond = connection.request("GET", &path, &[("Range", &format!("bytes={LENGTH}-"))], b"");
    assert_eq!(beyond.status, 416);

    let empty = connection.create(0);
    let empty = connection.request("GET", &empty, &[], b"");
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, "0", 0));
    let unfinished = connection.create(5);
    assert_eq!(connection.request("GET", &unfinished, &[], b"").status, 404);
}

pub(crate) fn a_client_that_disconnects_does_no_harm(server: Server) {
    let started = server.start_with(downloads);
    let (path, mut connection) = uploaded(&started);
    for _ in 0..20 {
        let mut leaving = started.connect();
        leaving.head("GET", &path, &[]);
        leaving.reset();
    }
    let mut slow = started.connect();
    slow.head("GET", &path, &[]);
    slow.wait_until_received();
    assert_eq!(connection.offset(&path), LENGTH, "a download blocks nothing");
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    // A download whose upload is deleted may still be read to its end; it is not cut short silently.
    if let Some(response) = slow.try_response("GET")
        && response.status == 200
    {
        assert_same(&response.body, &bytes(1, 0..LENGTH));
    }
    assert_eq!(connection.request("GET", &path, &[], b"").status, 404);
}

pub(crate) fn download_is_off_by_default_and_requires_authorization(server: Server) {
    let started = server.start();
    let (path, mut connection) = uploaded(&started);
    let refused = connection.request("GET", &path, &[], b"");
    assert_eq!((refused.status, refused.header("allow")), (405, "OPTIONS, HEAD, PATCH, DELETE"));
}

/// A storage from which a hook moves finished files, and a handle to do so.
fn movable() -> Vec<(Arc<dyn Storage>, MoveTo, TempDir)> {
    let (directory, memory) = (TempDir::new().unwrap(), Memory::new());
    let sqlite = Sqlite::open(directory.path()).unwrap();
    let (moving, from_memory) = (sqlite.clone(), memory.clone());
    vec![
        (
            Arc::new(sqlite),
            Arc::new(move |id, target| {
                let sqlite = moving.clone();
                async move { sqlite.move_to(&id, target).await }.boxed()
            }),
            directory,
        ),
        (
            Arc::new(memory),
            Arc::new(move |id, target| {
                let memory = from_memory.clone();
                async move { memory.move_to(&id, target).await }.boxed()
            }),
            TempDir::new().unwrap(),
        ),
    ]
}

type MoveTo = Arc<dyn Fn(UploadId, PathBuf) -> BoxFuture<'static, Result<(), StorageError>> + Send + Sync>;

/// The hook moves the file away. Afterwards it is gone, unless the application answers with its new location.
#[test]
fn a_moved_file_is_gone_or_redirected() {
    for framework in Framework::ALL {
        for (storage, move_to, directory) in movable() {
            let films = directory.path().join("films");
            let target = films.clone();
            let configure = move |builder: Builder| {
                let finished = move |cx: context::Finished| move_to(cx.upload.id.clone(), target.join("film"));
                downloads(builder).finished(finished).authorize(async |cx| {
                    let knows = cx.request.headers.contains_key("x-elsewhere");
                    match cx.operation {
                        Operation::Download if knows => {
                            Err(Rejection::redirect(HeaderValue::from_static("https://cdn.example/film")))
                        }
                        _ => Ok(()),
                    }
                })
            };
            let running = Running::start(framework, storage.clone(), configure).unwrap();
            let mut connection = Connection::open(running.address);
            let path = connection.create(5);
            assert_eq!(connection.patch(&path, 0, b"hello").status, 204);
            let is_notified = || {
                let stored = block_on(storage.load(&id(&path))).unwrap().unwrap();
                stored.upload.phase == Phase::Notified
            };
            wait_until(is_notified);
            assert_eq!(std::fs::read(films.join("film")).unwrap(), b"hello");
            for headers in [vec![], vec![("Range", "bytes=1-")], vec![("If-None-Match", "*")]] {
                let gone = connection.request("GET", &path, &headers, b"");
                assert_eq!((gone.status, gone.header("cache-control")), (410, "no-store"), "{headers:?}");
                assert!(gone.body.ends_with(b"\n"), "in words");
            }
            let elsewhere = ("X-Elsewhere", "1");
            let found = connection.request("GET", &path, &[elsewhere], b"");
            assert_eq!((found.status, found.header("location")), (307, "https://cdn.example/film"));
            for (header, status) in [("", 410), ("X-Elsewhere: 1\r\n", 307)] {
                // Without Tus-Resumable it is not a request of tus.
                connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: tus.example.org\r\n{header}\r\n").as_bytes());
                assert_eq!(connection.response("HEAD").status, status, "as GET");
            }
            assert_eq!(connection.offset(&path), 5, "its client still learns that it is complete");
        }
    }
}
