//! A newer request succeeds immediately although an older one is stalled, and bytes never interleave (R40).

use std::{sync::Barrier, thread, time::Duration};

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{Server, Started},
    watched::Watch,
};

const LENGTH: u64 = 4 << 20;
const SENT: u64 = 3 << 20;

/// An upload, and a request that has sent some of its bytes and stalls. No checkpoint has saved them.
fn stalled(server: &Server, sent: u64) -> (Started, String, Connection) {
    let (started, path, connection, _) = stalled_and_watched(server, sent);
    (started, path, connection)
}

fn stalled_and_watched(server: &Server, sent: u64) -> (Started, String, Connection, Watch) {
    let (started, storage) = server.start_watched(|builder| builder.checkpoint_interval(Duration::from_secs(3600)));
    let path = started.connect().create(LENGTH);
    let mut connection = started.connect();
    connection.begin_patch(&path, 0, LENGTH);
    connection.send(&bytes(1, 0..sent));
    storage.wait_for_bytes(sent);
    assert_eq!(started.offset(&path), 0);
    (started, path, connection, storage)
}

/// The stalled request must end. What it still sends is discarded.
fn is_over(mut stalled: Connection, sent: u64) {
    let _ = stalled.try_send(&bytes(9, sent..LENGTH));
    if let Some(response) = stalled.try_response("PATCH") {
        assert_eq!(response.status, 423);
    }
}

pub(crate) fn head_reports_everything_a_stalled_request_has_sent(server: Server) {
    let (started, path, stalled) = stalled(&server, SENT);
    let mut connection = started.connect();
    assert_eq!(connection.offset(&path), SENT);
    assert_eq!(connection.patch(&path, SENT, &bytes(1, SENT..LENGTH)).status, 204);
    is_over(stalled, SENT);
    assert_same(&started.content(&path), &bytes(1, 0..LENGTH));
}

pub(crate) fn head_reports_what_was_committed_during_authorization(server: Server) {
    let (started, path, stalled, storage) = stalled_and_watched(&server, SENT);
    storage.delay_records();
    let mut asking = started.connect();
    asking.head("HEAD", &path, &[]);
    storage.wait_for_a_record();
    stalled.finish();
    storage.wait_for_a_commit();
    storage.release_records();
    assert_eq!(asking.response("HEAD").offset(), SENT);
}

pub(crate) fn another_request_resumes_where_a_stalled_one_stopped(server: Server) {
    for sent in [1, SENT] {
        let (started, path, stalled) = stalled(&server, sent);
        let patched = started.connect().patch(&path, sent, &bytes(1, sent..LENGTH));
        assert_eq!((patched.status, patched.offset()), (204, LENGTH));
        is_over(stalled, sent);
        assert_same(&started.content(&path), &bytes(1, 0..LENGTH));
    }
}

pub(crate) fn a_deletion_does_not_wait_for_a_stalled_request(server: Server) {
    let (started, path, stalled) = stalled(&server, SENT);
    let mut connection = started.connect();
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    assert_eq!(connection.request("HEAD", &path, &[], b"").status, 404);
    is_over(stalled, SENT);
    assert!(started.upload(&path).is_none());
    assert!(server.files().is_empty());
}

pub(crate) fn a_request_that_never_stalls_is_superseded_as_well(server: Server) {
    // The storage takes longer for everything than a test waits for a response.
    const LENGTH: u64 = 4 << 30;
    let (started, storage) = server.start_watched(|builder| builder);
    // Slower than the client, so that there is always something to write.
    storage.slow_down(Duration::from_millis(30));
    let path = started.connect().create(LENGTH);
    let mut tireless = started.connect();
    tireless.begin_patch(&path, 0, LENGTH);
    thread::scope(|scope| {
        scope.spawn(|| (0..LENGTH >> 20).all(|_| tireless.try_send(&bytes(1, 0..1 << 20)).is_ok()));
        storage.wait_for_bytes(1);
        let mut connection = started.connect();
        let offset = connection.offset(&path);
        assert!(offset < LENGTH, "the older request was not awaited");
        assert_eq!(connection.patch(&path, offset, &bytes(1, 0..5)).status, 204, "the older request has left");
    });
}

pub(crate) fn one_of_two_racing_requests_wins(server: Server) {
    const STEP: u64 = 200_000;
    let started = server.start();
    let path = started.connect().create(LENGTH);
    let (mut offset, mut content) = (0, Vec::new());
    for round in 0.. {
        if offset == LENGTH {
            break;
        }
        let end = LENGTH.min(offset + STEP);
        let bodies = [round * 2, round * 2 + 1].map(|seed| bytes(seed, offset..end));
        let start = Barrier::new(2);
        let race = |body: &[u8]| -> bool {
            let mut connection = started.connect();
            connection.begin_patch(&path, offset, end - offset);
            let (first, second) = body.split_at(body.len() / 2);
            start.wait();
            let sent = connection.try_send(first).and_then(|()| connection.try_send(second));
            let response = connection.try_response("PATCH").filter(|response| response.status == 204);
            assert!(response.is_none() || sent.is_ok());
            response.is_some_and(|response| response.offset() == end)
        };
        let won = thread::scope(|scope| {
            let racers = [&bodies[0], &bodies[1]].map(|body| scope.spawn(|| race(body)));
            racers.map(|racer| racer.join().unwrap())
        });
        let stands = started.connect().offset(&path);
        let added = started.content(&path).split_off(offset as usize);
        // A superseded request may have committed some of its bytes.
        match won {
            [true, true] => panic!("both won"),
            [true, false] => assert_same(&added, &bodies[0]),
            [false, true] => assert_same(&added, &bodies[1]),
            [false, false] => assert!(bodies.iter().any(|body| body.starts_with(&added))),
        }
        content.extend(added);
        offset = stands;
    }
    assert_same(&started.content(&path), &content);
}

pub(crate) fn many_competing_clients_complete_an_upload(server: Server) {
    let started = server.start();
    let path = started.connect().create(LENGTH);
    let client = || loop {
        let mut connection = started.connect();
        let offset = connection.offset(&path);
        if offset == LENGTH {
            return;
        }
        connection.begin_patch(&path, offset, LENGTH - offset);
        // Another client may take over at any moment.
        let _ = connection.try_send(&bytes(1, offset..LENGTH));
        if let Some(response) = connection.try_response("PATCH") {
            assert!([204, 409, 423].contains(&response.status), "{response:?}");
        }
    };
    thread::scope(|scope| (0..100).for_each(|_| drop(scope.spawn(client))));
    assert_same(&started.content(&path), &bytes(1, 0..LENGTH));
}
