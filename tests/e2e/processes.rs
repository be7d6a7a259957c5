//! Several processes on one store: a newer request in one takes over from an older one in another (R40), and one of
//! them at a time does an upload's background work.
//!
//! Two servers with storages of their own on one store are like two processes. One test uses real ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::watch;
use tus_service::{Builder, Config, HookError};

use crate::{
    client::{Connection, OCTETS},
    content::{assert_same, bytes},
    harness::{Server, Started, wait_until},
    watched::Watch,
};

const LENGTH: u64 = 4 << 20;
const SENT: u64 = 3 << 20;

/// Two servers, and a request to the first of them that has sent some bytes and stalls. No checkpoint has saved them.
struct Stalled {
    first: Started,
    second: Started,
    path: String,
    connection: Connection,
}

impl Stalled {
    fn new(server: &Server) -> Self {
        let (first, storage) = server.start_watched(|builder| builder.checkpoint_interval(Duration::from_secs(3600)));
        let second = server.start();
        let path = first.connect().create(LENGTH);
        let mut connection = first.connect();
        connection.begin_patch(&path, 0, LENGTH);
        connection.send(&bytes(1, 0..SENT));
        storage.wait_for_bytes(SENT);
        assert_eq!(first.offset(&path), 0);
        Self { first, second, path, connection }
    }

    /// The stalled request must end. What it still sends has no effect.
    fn ends(mut self) {
        let _ = self.connection.try_send(&bytes(9, SENT..LENGTH));
        if let Some(response) = self.connection.try_response("PATCH") {
            assert_eq!(response.status, 423);
        }
        assert_same(&self.first.content(&self.path), &bytes(1, 0..LENGTH));
    }
}

pub(crate) fn head_in_another_process_reports_all_bytes_of_a_stalled_request(server: Server) {
    let stalled = Stalled::new(&server);
    let mut connection = stalled.second.connect();
    assert_eq!(connection.offset(&stalled.path), SENT);
    assert_eq!(connection.patch(&stalled.path, SENT, &bytes(1, SENT..LENGTH)).status, 204);
    stalled.ends();
}

pub(crate) fn patch_in_another_process_takes_over_from_a_stalled_one(server: Server) {
    let stalled = Stalled::new(&server);
    let patched = stalled.second.connect().patch(&stalled.path, SENT, &bytes(1, SENT..LENGTH));
    assert_eq!((patched.status, patched.offset()), (204, LENGTH));
    stalled.ends();
}

pub(crate) fn delete_in_another_process_stops_a_stalled_request(server: Server) {
    let mut stalled = Stalled::new(&server);
    let mut connection = stalled.second.connect();
    assert_eq!(connection.request("DELETE", &stalled.path, &[], b"").status, 204);
    assert_eq!(connection.request("HEAD", &stalled.path, &[], b"").status, 404);
    let _ = stalled.connection.try_send(&bytes(9, SENT..LENGTH));
    assert!(stalled.connection.try_response("PATCH").is_none_or(|response| response.status == 423));
    wait_until(|| server.files().is_empty());
}

pub(crate) fn an_upload_goes_back_and_forth_between_processes(server: Server) {
    const STEP: u64 = LENGTH / 16;
    let servers = [(); 2].map(|()| server.start_watched(|builder| builder));
    let path = servers[0].0.connect().create(LENGTH);
    let mut stalled = Vec::new();
    for step in 0..16 {
        let (server, storage) = &servers[step as usize % 2];
        let mut connection = server.connect();
        let offset = connection.offset(&path);
        assert_eq!(offset, step * STEP, "what the older request has sent is there");
        connection.begin_patch(&path, offset, LENGTH - offset);
        let end = offset + STEP;
        connection.send(&bytes(1, offset..end));
        if end == LENGTH {
            assert_eq!(connection.response("PATCH").offset(), LENGTH);
        }
        storage.wait_for_bytes((step / 2 + 1) * STEP);
        stalled.push(connection);
    }
    assert_same(&servers[0].0.content(&path), &bytes(1, 0..LENGTH));
}

pub(crate) fn a_killed_process_delays_nobody(server: Server) {
    let process = server.spawn().unwrap();
    let path = process.connect().create(LENGTH);
    let mut connection = process.connect();
    connection.begin_patch(&path, 0, LENGTH);
    connection.send(&bytes(1, 0..SENT));
    server.uploads().wait_for_offset(&path, SENT);
    let second = server.start();
    process.kill();
    assert_eq!(second.connect().patch(&path, SENT, &bytes(1, SENT..LENGTH)).status, 204);
    assert_same(&second.content(&path), &bytes(1, 0..LENGTH));
}

pub(crate) fn uploads_received_by_one_process_do_not_expire_in_another(server: Server) {
    let expiring = |sweep| {
        move |builder: Builder| {
            builder.config(Config::default().expire_after(Duration::from_secs(1))).sweep_interval(sweep)
        }
    };
    let (first, storage) = server.start_watched(expiring(Duration::from_secs(3600)));
    let second = server.start_with(expiring(Duration::from_millis(20)));
    // With a checksum, the record does not change until the end of the body.
    let checksum = ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
    let mut received = 0;
    for more in [None, Some(checksum)] {
        let (mut connection, path) = loop {
            let mut connection = first.connect();
            let path = connection.create(11);
            let mut headers = vec![("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "11")];
            headers.extend(more);
            connection.head("PATCH", &path, &headers);
            connection.send(b"hello ");
            // On a busy machine it may expire before it is received.
            let is_received = || storage.has_received(received + 6);
            wait_until(|| is_received() || first.upload(&path).is_none());
            if is_received() {
                break (connection, path);
            }
        };
        // The other process sees it expired, and removes what expires later.
        wait_until(|| first.upload(&path).unwrap().is_expired(SystemTime::now()));
        let later = first.connect().create(11);
        wait_until(|| first.upload(&later).is_none());
        connection.send(b"world");
        assert_eq!(connection.response("PATCH").status, 204);
        assert_eq!(second.content(&path), b"hello world");
        received += 11;
    }
}

pub(crate) fn one_process_at_a_time_notifies_the_application(server: Server) {
    let (calls, go) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
    let start = |server: &Server| -> (Started, Watch) {
        let (calls, go) = (calls.clone(), go.clone());
        server.start_watched(move |builder| {
            builder.sweep_interval(Duration::from_millis(10)).finished(move |_| {
                calls.fetch_add(1, SeqCst);
                let mut gone = go.subscribe();
                async move {
                    gone.wait_for(|go| *go).await?;
                    Ok::<_, HookError>(())
                }
            })
        })
    };
    let (first, _) = start(&server);
    let (second, storage) = start(&server);
    let path = first.connect().create(5);
    let mut connection = first.connect();
    connection.begin_patch(&path, 0, 5);
    connection.send(b"hello");
    // The other process repeatedly finds that the application has yet to be notified.
    storage.wait_for_refused_claims(3);
    assert_eq!(calls.load(SeqCst), 1);
    go.send_replace(true);
    assert_eq!(connection.response("PATCH").status, 204);
    wait_until(|| second.is_finished(&path));
    assert_eq!(calls.load(SeqCst), 1);
}
