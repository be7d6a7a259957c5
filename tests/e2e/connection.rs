//! A connection after a refusal: usable or closed, but never out of sync.

use tests::Framework;

use crate::{
    client::{CHUNKED, Connection, OCTETS, chunked},
    content::{assert_same, bytes},
    harness::Server,
};

/// Whether the connection is still usable: it responds correctly, or it is closed.
fn is_usable(connection: &mut Connection, path: &str) -> bool {
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n");
    let _ = connection.try_send(head.as_bytes());
    let response = connection.try_response("HEAD");
    if let Some(response) = &response {
        assert_eq!((response.status, response.offset()), (200, 0), "the answer to this request");
    }
    response.is_some()
}

pub(crate) fn a_refused_body_is_never_parsed_as_a_request(server: Server) {
    let started = server.start();
    let victim = started.connect().create(5);
    let smuggled = format!("DELETE {victim} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Length: 0\r\n\r\n");
    let smuggled = smuggled.as_bytes();
    let padded = [smuggled, &vec![b' '; 8 << 20], smuggled].concat();
    for body in [smuggled, &padded] {
        let length = body.len().to_string();
        for framing in [("Content-Length", &*length), CHUNKED] {
            for (method, path, type_) in
                [("PATCH", "/files/missing", OCTETS), ("POST", "/files", OCTETS), ("POST", "/files", "text/html")]
            {
                let mut connection = started.connect();
                connection.head(method, path, &[("Upload-Offset", "0"), ("Content-Type", type_), framing]);
                let sent = if framing == CHUNKED { chunked(body) } else { body.to_vec() };
                // The server may close before everything is sent.
                let _ = connection.try_send(&sent);
                if let Some(response) = connection.try_response(method) {
                    assert!((400..500).contains(&response.status), "{response:?}");
                    is_usable(&mut connection, &victim);
                }
                assert_eq!(started.connect().offset(&victim), 0, "{method} {framing:?}: the upload still exists");
            }
        }
    }
}

pub(crate) fn a_small_refused_body_leaves_the_connection_usable(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(5);
    for _ in 0..3 {
        assert_eq!(connection.patch(&path, 3, b"hello").status, 409);
        assert_eq!(connection.patch("/files/missing", 0, b"hello").status, 404);
        assert_eq!(connection.request("PATCH", &path, &[("Upload-Offset", "0")], b"hello").status, 415);
    }
    assert!(is_usable(&mut connection, &path));
}

pub(crate) fn requests_may_be_pipelined(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(1000);
    let content = bytes(7, 0..1000);
    for (at, part) in content.chunks(100).enumerate() {
        connection.begin_patch(&path, at as u64 * 100, 100);
        connection.send(part);
        connection.head("HEAD", &path, &[]);
    }
    let mut answered = 0;
    'open: for at in 1..=10 {
        for method in ["PATCH", "HEAD"] {
            let Some(response) = connection.try_response(method) else {
                break 'open;
            };
            assert_eq!(response.offset(), at * 100, "in order");
            answered += 1;
        }
    }
    // actix-web closes if it has only part of a later request when it responds to an earlier one.
    assert!(answered == 20 || server.framework == Framework::ActixWeb, "{answered}");
    let kept = started.content(&path);
    assert!(kept.len() >= answered / 2 * 100);
    assert_same(&kept, &content[..kept.len()]);
}

pub(crate) fn conflicting_body_lengths_are_not_both_trusted(server: Server) {
    let started = server.start();
    let victim = started.connect().create(5);
    let smuggled = format!("DELETE {victim} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nContent-Length: 0\r\n\r\n");
    let lengths = [
        vec![("Content-Length", "5"), ("Content-Length", "6")],
        vec![("Content-Length", "5, 6")],
        vec![("Content-Length", "+5")],
        vec![("Content-Length", "5"), CHUNKED],
        vec![("Transfer-Encoding", "chunked, identity"), ("Content-Length", "5")],
        vec![("Content-Length", "5"), ("Transfer-Encoding", "xchunked")],
        vec![("Content-Length", "5"), ("Transfer-Encoding", "identity")],
        vec![("Content-Length", "5"), ("Transfer-Encoding", "gzip, chunked")],
        vec![("Content-Length", "0x5")],
        vec![("Content-Length", "-5")],
        vec![("Content-Length", "5 5")],
        vec![("Content-Length", "5;5")],
        vec![("Content-Length", "18446744073709551621")],
        vec![("Content-Length", "5"), ("Transfer-Encoding ", "chunked")],
        vec![("Content-Length", "5"), ("Transfer-Encoding", "\u{b}chunked")],
        vec![("Content-Length", "5\r\n Transfer-Encoding: chunked")],
    ];
    for framing in lengths {
        let mut connection = started.connect();
        let path = connection.create(100);
        let mut headers = vec![("Upload-Offset", "0"), ("Content-Type", OCTETS)];
        headers.extend(&framing);
        connection.head("PATCH", &path, &headers);
        let _ = connection.try_send(&[b"0\r\n\r\n", smuggled.as_bytes()].concat());
        while connection.try_response("PATCH").is_some_and(|response| response.status < 400) {}
        assert_eq!(started.connect().offset(&victim), 0, "{framing:?}");
    }
}

pub(crate) fn a_status_without_a_name_arrives_and_head_has_no_body(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(5);
    let wrong = ("Upload-Checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), wrong];
    assert_eq!(connection.request("PATCH", &path, &patch, b"hello").status, 460);
    for path in [&path, "/files/missing", "/files"] {
        // With a body, the next response would be misread.
        connection.request("HEAD", path, &[], b"");
    }
    assert_eq!(connection.offset(&path), 0);
}
