//! Shutdown with uploads in flight.

use std::time::Duration;

use crate::{
    content::{assert_same, bytes},
    example::Example,
    harness::{Server, wait_until},
};

pub(crate) fn received_bytes_are_committed(server: Server) {
    const LENGTH: u64 = 3 << 20;
    const SENT: u64 = 2 << 20;
    let content = bytes(5, 0..LENGTH);
    let (mut started, storage) = server.start_watched(|builder| builder.checkpoint_interval(Duration::from_secs(3600)));
    let path = started.connect().create(LENGTH);
    let mut connection = started.connect();
    connection.begin_patch(&path, 0, LENGTH);
    connection.send(&content[..SENT as usize]);
    storage.wait_for_bytes(SENT);
    assert_eq!(started.offset(&path), 0);
    started.running.stop();
    if let Some(response) = connection.try_response("PATCH") {
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after"), "1");
        assert!(connection.is_closed());
    }
    assert_eq!(started.offset(&path), SENT);
    drop(started);
    let started = server.start();
    let mut connection = started.connect();
    assert_eq!(connection.offset(&path), SENT);
    assert_eq!(connection.patch(&path, SENT, &content[SENT as usize..]).status, 204);
    assert_same(&started.content(&path), &content);
}

pub(crate) fn an_idle_connection_does_not_delay_shutdown(server: Server) {
    let mut started = server.start();
    let _idle = started.connect();
    let mut used = started.connect();
    used.create(5);
    started.running.stop();
    assert!(used.is_closed());
}

/// A client that keeps its connections: half a head, half a body, a download that it does not read.
fn an_example_stops(name: &str) {
    // More than sockets buffer.
    const LENGTH: u64 = 32 << 20;
    let directory = tempfile::tempdir().unwrap();
    let mut example = Example::start(name, directory.path(), &[("TUS_DOWNLOAD", "on"), ("TUS_DURABILITY", "buffered")]);
    let mut connection = example.connect();
    let path = connection.create(LENGTH);
    assert_eq!(connection.patch(&path, 0, &bytes(5, 0..LENGTH)).status, 204);
    let mut unread = example.connect();
    unread.head("GET", &path, &[]);
    let mut half_a_head = example.connect();
    half_a_head.send(b"PATCH /files/x HTTP/1.1\r\nHost: example");
    let mut half_a_body = example.connect();
    let begun = half_a_body.create(5);
    half_a_body.begin_patch(&begun, 0, 5);
    half_a_body.send(b"hell");
    let file = directory.path().join("uploads").join(begun.rsplit('/').next().unwrap());
    wait_until(|| std::fs::metadata(&file).is_ok_and(|file| file.len() == 4));
    // It is answered.
    assert!(unread.begins("HTTP/1.1 200"));
    let status = example.stops().expect("it is still running a minute later");
    assert!(status.success(), "{status}");
    drop((unread, half_a_head, half_a_body));
    let example = Example::start(name, directory.path(), &[]);
    assert_eq!(example.connect().offset(&begun), 4);
}

#[test]
fn the_example_axum_stops_whatever_clients_do() {
    an_example_stops("axum");
}

#[test]
fn the_example_actix_web_stops_whatever_clients_do() {
    an_example_stops("actix_web");
}

#[test]
fn the_example_warp_stops_whatever_clients_do() {
    an_example_stops("warp");
}

#[test]
fn the_example_hyper_stops_whatever_clients_do() {
    an_example_stops("hyper");
}
