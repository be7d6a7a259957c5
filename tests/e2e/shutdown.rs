//! Shutdown with uploads in flight.

use std::time::Duration;

use crate::{
    content::{assert_same, bytes},
    harness::Server,
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
    if server.outlives_its_process() {
        let started = server.start();
        let mut connection = started.connect();
        assert_eq!(connection.offset(&path), SENT);
        assert_eq!(connection.patch(&path, SENT, &content[SENT as usize..]).status, 204);
        assert_same(&started.content(&path), &content);
    }
}

pub(crate) fn an_idle_connection_does_not_delay_shutdown(server: Server) {
    let mut started = server.start();
    let _idle = started.connect();
    let mut used = started.connect();
    used.create(5);
    started.running.stop();
    assert!(used.is_closed());
}
