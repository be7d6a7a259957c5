//! Uploads that nobody goes on with.

use std::time::{Duration, SystemTime};

use tus_service::{Builder, Config};

use crate::{
    client::OCTETS,
    harness::{Server, wait_until},
};

fn expiring(builder: Builder) -> Builder {
    builder.config(Config::default().expire_after(Duration::from_secs(1))).sweep_interval(Duration::from_millis(20))
}

pub(crate) fn an_abandoned_upload_goes_and_a_finished_one_stays(server: Server) {
    let started = server.start_with(expiring);
    let mut connection = started.connect();
    let finished = connection.create(5);
    assert_eq!(connection.patch(&finished, 0, b"hello").status, 204);
    let abandoned = connection.create(5);
    let patched = connection.patch(&abandoned, 0, b"hell");
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

pub(crate) fn an_expired_upload_is_gone_before_it_is_swept(server: Server) {
    let started = server.start_with(|builder| expiring(builder).sweep_interval(Duration::from_secs(3600)));
    let mut connection = started.connect();
    let path = connection.create(5);
    assert_eq!(connection.patch(&path, 0, b"hell").status, 204);
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

pub(crate) fn an_upload_that_is_coming_in_is_not_swept(server: Server) {
    let started = server.start_with(expiring);
    let mut connection = started.connect();
    let path = connection.create(11);
    let doomed = connection.create(11);
    // A checksum keeps the record as it is until the end of the body.
    let checksum = ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "11"), checksum];
    connection.head("PATCH", &path, &patch);
    connection.send(b"hello ");
    wait_until(|| started.upload(&doomed).is_none());
    connection.send(b"world");
    assert_eq!(connection.response("PATCH").status, 204);
    assert_eq!(started.content(&path), b"hello world");
}
