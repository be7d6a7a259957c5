//! Network faults and abuse: connections break at any byte, stall by the hundred, and requests arrive late or twice.

use crate::{
    client::{Connection, OCTETS, head},
    content::{assert_same, bytes},
    harness::Server,
};

pub(crate) fn a_connection_may_break_at_any_byte(server: Server) {
    const LENGTH: u64 = 20;
    let started = server.start();
    let body = bytes(4, 0..LENGTH);
    let mut other = started.connect();
    let length = LENGTH.to_string();
    let head_of = |path: &str| {
        head("PATCH", path, &[("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", &length)])
    };
    // All of them have the same length.
    let head_length = head_of(&other.create(LENGTH)).len();
    // At each byte of the body, and at some of the head.
    let cuts = (0..head_length).step_by(11).chain(head_length..=head_length + body.len());
    for cut in cuts {
        let path = other.create(LENGTH);
        let mut connection = started.connect();
        connection.send(&[head_of(&path), body.clone()].concat()[..cut]);
        connection.reset();
        let sent = cut.saturating_sub(head_length) as u64;
        let mut offset = other.offset(&path);
        assert!(offset <= sent, "{sent} bytes were sent, {offset} are stored");
        // The broken request may be read only now.
        while offset < LENGTH {
            let response = other.patch(&path, offset, &body[offset as usize..]);
            assert!([204, 409, 423].contains(&response.status), "{response:?}");
            offset = other.offset(&path);
        }
        assert_same(&started.content(&path), &body);
    }
}

pub(crate) fn a_late_or_repeated_request_does_nothing(server: Server) {
    const LENGTH: u64 = 1000;
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(LENGTH);
    for (start, end) in [(0, 400), (400, 700), (700, LENGTH)] {
        assert_eq!(connection.patch(&path, start, &bytes(5, start..end)).status, 204);
        for late in [0, start] {
            // With wrong content, so that it would be noticed.
            let response = connection.patch(&path, late, &bytes(6, late..LENGTH));
            assert_eq!(response.status, 409, "{response:?}");
        }
        assert_eq!(connection.offset(&path), end);
    }
    assert_same(&started.content(&path), &bytes(5, 0..LENGTH));
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 404);
    assert_eq!(connection.patch(&path, 0, &bytes(5, 0..LENGTH)).status, 404);
    assert!(started.upload(&path).is_none(), "the upload did not reappear");
}

pub(crate) fn many_stalled_clients_do_not_block_others(server: Server) {
    const CROWD: usize = 300;
    /// Memory for a connection with half a head, one with a stalled body, and the upload itself.
    const KIB_EACH: u64 = 150;
    let process = server.spawn().unwrap();
    let mut connection = process.connect();
    let quiet = process.memory("VmRSS");
    let mut crowd: Vec<Connection> = Vec::new();
    for _ in 0..CROWD {
        let path = connection.create(1 << 20);
        let mut stalled = process.connect();
        stalled.begin_patch(&path, 0, 1 << 20);
        stalled.send(&bytes(1, 0..10_000));
        let mut half = process.connect();
        half.send(b"PATCH /files/x HTTP/1.1\r\nHost: a\r\nUpload-Of");
        crowd.extend([stalled, half]);
    }
    let path = connection.create(3 << 20);
    assert_eq!(process.connect().patch(&path, 0, &bytes(2, 0..3 << 20)).status, 204);
    assert_eq!(process.connect().offset(&path), 3 << 20);
    if let (Some(quiet), Some(crowded)) = (quiet, process.memory("VmRSS")) {
        let each = crowded.saturating_sub(quiet) / CROWD as u64;
        assert!(each < KIB_EACH, "{each} KiB for each of {CROWD}");
    }
}

pub(crate) fn an_upload_may_change_servers(server: Server) {
    changes_servers(&server, 600_000, 70_000);
}

/// An upload of this length goes to another server after each step.
pub(crate) fn changes_servers(server: &Server, length: u64, step: u64) {
    let one = server.spawn().unwrap();
    let two = server.spawn().unwrap();
    let path = one.connect().create(length);
    let mut offset = 0;
    for turn in 0.. {
        let mut connection = if turn % 2 == 0 { two.connect() } else { one.connect() };
        assert_eq!(connection.offset(&path), offset);
        if offset == length {
            break;
        }
        let end = length.min(offset + step);
        if turn % 3 == 0 {
            // The connection to this server breaks, and the next request goes to the other one.
            connection.begin_patch(&path, offset, length - offset);
            connection.send(&bytes(3, offset..end));
            connection.finish();
        } else {
            assert_eq!(connection.patch(&path, offset, &bytes(3, offset..end)).status, 204);
        }
        server.uploads().wait_for_offset(&path, end);
        offset = end;
    }
    assert_same(&server.uploads().content(&path), &bytes(3, 0..length));
}
