//! Abandoned uploads.

use std::time::{Duration, SystemTime};

use tus_service::{Builder, Config};

use crate::{
    client::{Connection, OCTETS, Response},
    harness::{Server, wait_until},
};

fn expiring(builder: Builder) -> Builder {
    builder.config(Config::default().expire_after(Duration::from_secs(1))).sweep_interval(Duration::from_millis(20))
}

/// An upload of five bytes and the response that acknowledged the first of them. On a busy machine it may expire before
/// they arrive, and is then created again.
fn begun(connection: &mut Connection, first: &[u8]) -> (String, Response) {
    loop {
        let path = connection.create(5);
        let patched = connection.patch(&path, 0, first);
        match patched.status {
            204 => return (path, patched),
            status => assert!([404, 410].contains(&status), "{patched:?}"),
        }
    }
}

pub(crate) fn abandoned_uploads_expire_and_finished_ones_stay(server: Server) {
    let started = server.start_with(expiring);
    let mut connection = started.connect();
    let (finished, _) = begun(&mut connection, b"hello");
    let (abandoned, patched) = begun(&mut connection, b"hell");
    assert!(patched.header("upload-expires").ends_with(" GMT"));
    let part = connection.create_with(&[("Upload-Length", "0"), ("Upload-Concat", "partial")]);
    wait_until(|| started.upload(&abandoned).is_none() && started.upload(&part).is_none());
    assert_eq!(connection.request("HEAD", &abandoned, &[], b"").status, 404);
    let head = connection.request("HEAD", &finished, &[], b"");
    assert_eq!((head.status, head.headers.get("upload-expires")), (200, None));
    assert_eq!(started.content(&finished), b"hello");
    if server.outlives_its_process() {
        wait_until(|| server.files().len() == 1);
    }
}

pub(crate) fn an_expired_upload_is_gone_before_it_is_removed(server: Server) {
    let started = server.start_with(|builder| expiring(builder).sweep_interval(Duration::from_secs(3600)));
    let mut connection = started.connect();
    let (path, _) = begun(&mut connection, b"hell");
    wait_until(|| started.upload(&path).unwrap().is_expired(SystemTime::now()));
    let answers = [
        connection.request("HEAD", &path, &[], b""),
        connection.patch(&path, 4, b"o"),
        connection.request("DELETE", &path, &[], b""),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.headers.get("upload-offset")), (410, None));
    }
    assert_eq!(started.content(&path), b"hell");
}

pub(crate) fn an_upload_being_received_is_not_removed(server: Server) {
    // With a checksum, the record does not change until the end of the body.
    let checksum = ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "11"), checksum];
    let (started, mut connection, path, doomed) = loop {
        let (started, storage) = server.start_watched(expiring);
        let mut connection = started.connect();
        let path = connection.create(11);
        let doomed = connection.create(11);
        connection.head("PATCH", &path, &patch);
        connection.send(b"hello ");
        // On a busy machine it may expire before it is received.
        let is_over = || started.upload(&path).is_none_or(|upload| upload.is_expired(SystemTime::now()));
        wait_until(|| storage.has_received(6) || is_over());
        if storage.has_received(6) {
            break (started, connection, path, doomed);
        }
    };
    wait_until(|| started.upload(&doomed).is_none());
    connection.send(b"world");
    assert_eq!(connection.response("PATCH").status, 204);
    assert_eq!(started.content(&path), b"hello world");
}
