//! The client is gone: what reached the server is kept, and the upload resumes from there (R39).

use std::time::Duration;

use tests::Framework;
use tokio::sync::watch;
use tus_service::{Algorithm, Builder, Checksum, Hooks, NewUpload, Operation, Rejection, context};

use crate::{
    client::{CHUNKED, Connection, OCTETS, chunk},
    content::{assert_same, bytes},
    harness::{Server, Started, missing, wait_until},
    watched::Watch,
};

const LENGTH: u64 = 8 << 20;
const SENT: u64 = 3 << 20;

pub(crate) fn a_closed_connection_loses_nothing(server: Server) {
    for sent in [0, SENT, LENGTH] {
        let (started, storage) = server.start_watched(without_checkpoints);
        let (path, connection) = begin(&started, sent, LENGTH);
        before_it_leaves(&server, &storage, sent);
        connection.finish();
        resumes(&started, &path, sent);
    }
}

pub(crate) fn a_reset_connection_loses_nothing(server: Server) {
    for sent in [0, SENT, LENGTH] {
        let (started, storage) = server.start_watched(without_checkpoints);
        let (path, connection) = begin(&started, sent, LENGTH);
        if connection.wait_until_received().is_none() {
            missing("/proc/net/tcp does not show what the server has received");
        }
        before_it_leaves(&server, &storage, sent);
        connection.reset();
        resumes(&started, &path, sent);
    }
}

pub(crate) fn leaving_during_a_slow_write_loses_nothing(server: Server) {
    let (started, storage) = server.start_watched(without_checkpoints);
    storage.hold();
    // A little more than the server buffers while the storage is blocked.
    let buffered = 2 * server.uploads().batch();
    let length = |part: u64| buffered + part * (4 << 10);
    let begun: Vec<_> = (0..8).map(|part| begin(&started, length(part), length(part))).collect();
    for (_, connection) in &begun {
        connection.finish();
        if connection.wait_until_read().is_none() {
            missing("/proc/net/tcp does not show what the server has read");
        }
    }
    storage.release();
    for (part, (path, _)) in (0..).zip(&begun) {
        started.wait_for_offset(path, length(part));
        assert_same(&started.content(path), &bytes(1, 0..length(part)));
    }
}

pub(crate) fn leaving_during_authorization_loses_nothing(server: Server) {
    /// Decides when the test allows it.
    struct Thinks(watch::Sender<&'static str>);

    impl Hooks for Thinks {
        async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
            if cx.operation == Operation::Append {
                self.0.send_replace("asked");
                let _ = self.0.subscribe().wait_for(|state| *state == "decided").await;
            }
            Ok(())
        }
    }

    let state = watch::Sender::new("");
    let thinks = Thinks(state.clone());
    let started = server.start_with(|builder| builder.hooks(thinks));
    let mut connection = started.connect();
    let path = connection.create(1000);
    connection.begin_patch(&path, 0, 1000);
    wait_until(|| *state.borrow() == "asked");
    // A small body arrives completely before the server asks for any of it.
    connection.send(&bytes(1, 0..1000));
    connection.finish();
    if connection.wait_until_read().is_none() {
        missing("/proc/net/tcp does not show what the server has read");
    }
    state.send_replace("decided");
    started.wait_for_offset(&path, 1000);
    assert_same(&started.content(&path), &bytes(1, 0..1000));
}

pub(crate) fn a_silent_client_times_out_and_loses_nothing(server: Server) {
    const SOME: u64 = 64 << 10;
    let started = server.start_with(|builder| builder.body_timeout(Duration::from_millis(300)));
    // On a busy machine the client may time out before it has sent everything: then the response gives a smaller
    // offset, and another client tries.
    for sent in [0, SOME] {
        wait_until(|| {
            let mut connection = started.connect();
            let path = connection.create(LENGTH);
            connection.begin_patch(&path, 0, LENGTH);
            let _ = connection.try_send(&bytes(1, 0..sent));
            let response = connection.response("PATCH");
            assert_eq!((response.status, response.header("connection")), (503, "close"));
            let stands = started.offset(&path);
            assert!(response.text().contains(&format!("upload's offset is {stands}\n")), "{response:?}");
            assert!(connection.is_closed());
            resumes(&started, &path, stands);
            stands == sent
        });
    }
    wait_until(|| {
        let mut connection = started.connect();
        begin_creation(&mut connection, SOME);
        let created = connection.response("POST");
        assert_eq!(created.status, 201, "{created:?}");
        resumes(&started, created.header("location"), created.offset());
        created.offset() == SOME
    });
}

pub(crate) fn an_interrupted_creation_loses_nothing(server: Server) {
    /// The client will not learn the id, but the test needs it.
    struct Named;

    impl Hooks for Named {
        async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
            let mut upload = cx.upload;
            upload.id = Some("known".parse().unwrap());
            Ok(upload)
        }
    }

    let (started, storage) = server.start_watched(|builder| without_checkpoints(builder).hooks(Named));
    let mut connection = started.connect();
    begin_creation(&mut connection, SENT);
    before_it_leaves(&server, &storage, SENT);
    connection.finish();
    wait_until(|| started.upload("known").is_some());
    resumes(&started, &format!("{}/known", tests::MOUNT), SENT);
}

pub(crate) fn a_chunked_body_may_be_interrupted_within_a_chunk(server: Server) {
    let (started, storage) = server.start_watched(without_checkpoints);
    let mut connection = started.connect();
    let path = connection.create(LENGTH);
    connection.begin_chunked_patch(&path, 0, &[]);
    connection.chunk(&bytes(1, 0..SENT - 1000));
    let half = chunk(&bytes(1, SENT - 1000..SENT + 1000));
    connection.send(&half[.."7d0\r\n".len() + 1000]);
    before_it_leaves(&server, &storage, SENT);
    connection.finish();
    resumes(&started, &path, SENT);
}

pub(crate) fn a_body_without_its_checksum_is_discarded(server: Server) {
    // With checkpoints, one would be made now.
    let (started, storage) = server.start_watched(|builder| builder.checkpoint_interval(Duration::ZERO));
    let checksum = Checksum::of(Algorithm::Sha1, &bytes(1, 0..LENGTH)).to_header();
    let checksum = ("Upload-Checksum", checksum.to_str().unwrap());
    let mut connection = started.connect();
    let path = connection.create(LENGTH);
    let headers = [("Upload-Offset", "0"), ("Content-Type", OCTETS), CHUNKED, checksum];
    connection.head("PATCH", &path, &headers);
    connection.chunk(&bytes(1, 0..SENT));
    storage.wait_for_bytes(SENT);
    connection.finish();

    let mut connection = started.connect();
    assert_eq!(connection.offset(&path), 0);
    let headers = [("Upload-Offset", "0"), ("Content-Type", OCTETS), checksum];
    assert_eq!(connection.request("PATCH", &path, &headers, &bytes(1, 0..LENGTH)).status, 204);
    assert_same(&started.content(&path), &bytes(1, 0..LENGTH));
}

/// Only the end of the body commits the bytes.
fn without_checkpoints(builder: Builder) -> Builder {
    builder.checkpoint_interval(Duration::from_secs(3600))
}

/// What actix-web has read, but its handler has not polled yet, is lost with the client: there the client must wait
/// until the storage has everything.
fn before_it_leaves(server: &Server, storage: &Watch, sent: u64) {
    if server.framework == Framework::ActixWeb {
        storage.wait_for_bytes(sent);
    }
}

/// Creates an upload and sends the first `sent` bytes of a body of `length` bytes.
fn begin(started: &Started, sent: u64, length: u64) -> (String, Connection) {
    let mut connection = started.connect();
    let path = connection.create(length);
    connection.begin_patch(&path, 0, length);
    connection.send(&bytes(1, 0..sent));
    (path, connection)
}

fn begin_creation(connection: &mut Connection, sent: u64) {
    let length = LENGTH.to_string();
    let headers = [("Upload-Length", &*length), ("Content-Length", &*length), ("Content-Type", OCTETS)];
    connection.head("POST", tests::MOUNT, &headers);
    let _ = connection.try_send(&bytes(1, 0..sent));
}

/// HEAD reports every byte that was sent, and the upload resumes from there to its end.
#[track_caller]
fn resumes(started: &Started, path: &str, sent: u64) {
    started.wait_for_offset(path, sent);
    let mut connection = started.connect();
    assert_eq!(connection.offset(path), sent);
    if sent < LENGTH {
        let patched = connection.patch(path, sent, &bytes(1, sent..LENGTH));
        assert_eq!((patched.status, patched.offset()), (204, LENGTH));
    }
    assert_same(&started.content(path), &bytes(1, 0..LENGTH));
}
