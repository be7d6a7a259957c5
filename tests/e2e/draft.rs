//! The IETF's "Resumable Uploads for HTTP" at the same endpoint, with a client that behaves like Apple's URLSession.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use tests::Framework;
use tus_service::{Algorithm, Checksum, Config, Dialect, FinishReply, Phase, Rejection};

use crate::{
    client::{CHUNKED, Connection, OCTETS, chunk, chunked},
    content::{assert_same, bytes},
    harness::{Server, Started, wait_until},
    urlsession::{PARTIAL, UrlSession, VERSIONS},
};

const LENGTH: u64 = (2 << 20) + 3;

fn session(started: &Started, version: u8) -> UrlSession {
    UrlSession::new(version, started.running.address)
}

/// Optimistic creation: everything in one ordinary request.
pub(crate) fn an_ordinary_request_is_an_upload(server: Server) {
    let started = server.start();
    for version in VERSIONS {
        let session = session(&started, version);
        for (method, headers, body) in [
            ("POST", &[session.complete(true)][..], bytes(7, 0..LENGTH)),
            ("PUT", &[session.complete(true), CHUNKED], chunked(&bytes(7, 0..LENGTH))),
        ] {
            let headers = [headers, &[("Content-Type", "image/heic")]].concat();
            let response = session.request(method, tests::MOUNT, &headers, &body);
            assert_eq!((response.status, response.offset(), session.is_complete(&response)), (201, LENGTH, true));
            let path = response.header("location");
            assert_same(&started.content(path), &bytes(7, 0..LENGTH));
            let upload = started.upload(path).unwrap();
            assert_eq!((upload.dialect, upload.phase), (Dialect::Draft(version), Phase::Notified));
            assert_eq!(upload.metadata.text("filetype"), Some("image/heic"));
        }
    }
}

/// The connection breaks repeatedly; each time the client requests the offset and sends everything that is left.
pub(crate) fn an_upload_resumes_until_it_is_complete(server: Server) {
    let started = server.start();
    for version in VERSIONS {
        let session = session(&started, version);
        let length = LENGTH.to_string();
        let path = session.create(&[("Upload-Length", &length)]);
        for (sent, resets) in [(700_000, false), (700_001, true)] {
            let offset = session.state(&path).offset();
            let mut connection = session.begin_append(&path, offset, LENGTH - offset);
            connection.send(&bytes(version.into(), offset..offset + sent));
            // A reset discards what the server has not read.
            connection.wait_until_read();
            if resets {
                connection.reset()
            } else {
                connection.finish()
            }
            wait_until(|| session.state(&path).offset() == offset + sent);
        }
        let state = session.state(&path);
        assert_eq!((state.header("upload-length"), session.is_complete(&state)), (&*length, false));
        let offset = state.offset();
        let done = session.append(&path, offset, true, &bytes(version.into(), offset..LENGTH));
        assert_eq!((done.status, done.offset(), session.is_complete(&done)), (201, LENGTH, true));
        assert_same(&started.content(&path), &bytes(version.into(), 0..LENGTH));
        assert!(started.is_finished(&path));
        // The response was lost: an empty append fetches it again.
        let again = session.append(&path, LENGTH, true, b"");
        assert_eq!((again.status, again.header("location")), (201, &*path));
        assert!(session.is_complete(&session.state(&path)));
    }
}

/// "the server SHOULD prevent race conditions, data loss, and corruption by terminating the previous request before
/// processing the new request."
pub(crate) fn a_stalled_request_yields(server: Server) {
    let started = server.start_with(|builder| builder.checkpoint_interval(Duration::from_secs(3600)));
    let session = session(&started, 6);
    let path = session.create(&[]);
    let mut stalled = session.begin_append(&path, 0, LENGTH);
    stalled.send(&bytes(1, 0..LENGTH - 5));
    stalled.wait_until_received();
    let offset = session.state(&path).offset();
    assert_eq!(offset, LENGTH - 5);
    let done = session.append(&path, offset, true, &bytes(1, offset..LENGTH));
    assert!(session.is_complete(&done));
    assert_same(&started.content(&path), &bytes(1, 0..LENGTH));
    let _ = stalled.try_send(b"xxxxx");
    if let Some(response) = stalled.try_response("PATCH") {
        assert!(response.status == 409 || response.status == 503, "{response:?}");
    }
    // A deletion does, too.
    let path = session.create(&[]);
    let mut stalled = session.begin_append(&path, 0, LENGTH);
    stalled.send(&bytes(1, 0..5));
    assert_eq!(session.request("DELETE", &path, &[], b"").status, 204);
    assert_eq!(session.request("HEAD", &path, &[], b"").status, 404);
}

/// A client that stops sending gets a response after which it retries, and received bytes are kept.
pub(crate) fn a_silent_client_may_return(server: Server) {
    let started = server.start_with(|builder| builder.body_timeout(Duration::from_millis(100)));
    let session = session(&started, 6);
    let path = session.create(&[]);
    let mut connection = session.connect();
    let headers =
        [session.complete(true), ("Upload-Offset", "0"), ("Content-Type", PARTIAL), ("Content-Length", "100")];
    connection.send(&[session.head("PATCH", &path, &headers), b"hello".to_vec()].concat());
    let response = connection.response("PATCH");
    assert_eq!((response.status, response.offset(), session.is_complete(&response)), (503, 5, false));
    assert_eq!(response.header("content-type"), "application/problem+json");
}

/// The offset equals the length, and only the phase changes.
pub(crate) fn an_empty_append_completes_an_upload(server: Server) {
    let started = server.start();
    let session = session(&started, 9);
    let path = session.create(&[("Upload-Length", "5")]);
    assert_eq!(session.append(&path, 0, false, b"hello").status, 204);
    assert_eq!(started.upload(&path).unwrap().phase, Phase::Receiving);
    assert!(!session.is_complete(&session.state(&path)));
    let done = session.append(&path, 5, true, b"");
    assert_eq!((done.status, session.is_complete(&done)), (201, true));
    assert_eq!((started.upload(&path).unwrap().phase, started.content(&path)), (Phase::Notified, b"hello".to_vec()));
    // An empty file, in one request.
    let empty = session.request("POST", tests::MOUNT, &[session.complete(true)], b"");
    assert!(session.is_complete(&empty) && started.is_finished(empty.header("location")));
}

pub(crate) fn refusals_are_problems(server: Server) {
    let started = server.start();
    let session = session(&started, 9);
    let path = session.create(&[]);
    assert_eq!(session.append(&path, 0, false, b"hello").status, 204);
    let conflict = session.append(&path, 3, false, b"lo");
    assert_eq!((conflict.status, conflict.offset(), session.is_complete(&conflict)), (409, 5, false));
    let problem: serde_json::Value = serde_json::from_slice(&conflict.body).unwrap();
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#mismatching-upload-offset");
    assert_eq!((&problem["expected-offset"], &problem["provided-offset"]), (&5.into(), &3.into()));
    let typed = [("Upload-Offset", "5"), session.complete(true), ("Content-Type", OCTETS)];
    let refused = session.request("PATCH", &path, &typed, b"!");
    assert_eq!((refused.status, refused.header("accept-patch")), (415, PARTIAL));
    assert_eq!(started.content(&path), b"hello");
}

/// Bytes beyond the length that were not declared make the upload invalid, in every storage.
pub(crate) fn an_upload_that_exceeds_its_length_is_gone(server: Server) {
    let started = server.start();
    let session = session(&started, 9);
    let path = session.create(&[("Upload-Length", "8")]);
    let mut connection = session.connect();
    let headers = [session.complete(false), ("Upload-Offset", "0"), ("Content-Type", PARTIAL), CHUNKED];
    connection.send(&session.head("PATCH", &path, &headers));
    connection.send(&chunk(b"hello"));
    started.wait_for_offset(&path, 5);
    connection.send(&chunk(b" world"));
    let response = connection.response("PATCH");
    assert_eq!(response.status, 400, "{response:?}");
    let upload = started.upload(&path).unwrap();
    assert_eq!((upload.phase, upload.offset), (Phase::Invalid, 5));
    assert_eq!(session.request("HEAD", &path, &[], b"").status, 410);
    assert_eq!(session.request("DELETE", &path, &[], b"").status, 204);
    assert!(started.upload(&path).is_none());
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Checksum::of(Algorithm::Sha256, bytes).digest()))
}

pub(crate) fn digests_are_verified(server: Server) {
    let started = server.start_with(|builder| builder.config(Config::default().checksums([Algorithm::Sha256])));
    let session = session(&started, 9);
    let (first, rest) = (bytes(3, 0..1 << 20), bytes(3, 1 << 20..LENGTH));
    let (right, wrong) = (digest(&[&*first, &*rest].concat()), digest(&first));
    for (sent, status) in [(&right, 201), (&wrong, 400)] {
        let path = session.create(&[("Repr-Digest", sent)]);
        let refused =
            [("Content-Digest", &*wrong), session.complete(true), ("Upload-Offset", "0"), ("Content-Type", PARTIAL)];
        assert_eq!(session.request("PATCH", &path, &refused, &rest).status, 400);
        assert_eq!(session.append(&path, 0, false, &first).status, 204);
        let done = session.append(&path, 1 << 20, true, &rest);
        assert_eq!((done.status, session.is_complete(&done)), (status, status == 201), "{done:?}");
        let phase = if status == 201 { Phase::Notified } else { Phase::Invalid };
        assert_eq!(started.upload(&path).unwrap().phase, phase);
        let state = session.request("HEAD", &path, &[], b"").status;
        assert_eq!(state, if status == 201 { 204 } else { 410 });
    }
    // In one request.
    let all = bytes(3, 0..LENGTH);
    for (sent, status) in [(&right, 201), (&wrong, 400)] {
        let headers = [session.complete(true), ("Repr-Digest", sent)];
        assert_eq!(session.request("POST", tests::MOUNT, &headers, &all).status, status);
    }
}

/// The final response is the application's, in every framework.
pub(crate) fn the_application_shapes_the_final_response(server: Server) {
    let started = server.start_with(|builder| {
        builder.before_finish(|cx| async move {
            if cx.upload.metadata.text("filetype") == Some("text/html") {
                return Err(Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, "no pages"));
            }
            let mut reply = FinishReply::default();
            reply.status = Some(StatusCode::ACCEPTED);
            reply.headers.insert("x-photo", "7".parse().unwrap());
            reply.body = "{\"photo\":7}".into();
            Ok(reply)
        })
    });
    let session = session(&started, 6);
    let path = session.create(&[]);
    let created = session.request("POST", tests::MOUNT, &[session.complete(true)], b"hello");
    for response in [created, session.append(&path, 0, true, b"hello")] {
        assert_eq!((response.status, response.header("x-photo")), (202, "7"));
        assert!(session.is_complete(&response));
        assert_eq!(response.text(), "{\"photo\":7}");
    }
    let page = [session.complete(true), ("Content-Type", "text/html")];
    let refused = session.request("POST", tests::MOUNT, &page, b"<p>");
    assert_eq!((refused.status, session.is_complete(&refused)), (422, true));
    assert_eq!(refused.text(), "no pages");
}

/// The application's work after the final response does not delay the upload.
pub(crate) fn an_upload_is_complete_while_finished_runs(server: Server) {
    let (begun, runs) = std::sync::mpsc::channel();
    let (release, released) = tokio::sync::watch::channel(false);
    let started = server.start_with(move |builder| {
        builder.finished(move |_| {
            let (begun, mut released) = (begun.clone(), released.clone());
            async move {
                let _ = begun.send(());
                released.wait_for(|released| *released).await.map(drop)
            }
        })
    });
    let session = session(&started, 9);
    let path = session.create(&[]);
    let done = session.append(&path, 0, true, b"hello");
    assert_eq!((done.status, session.is_complete(&done)), (201, true));
    runs.recv().unwrap();
    assert_eq!(started.upload(&path).unwrap().phase, Phase::Complete);
    assert!(session.is_complete(&session.state(&path)));
    let again = session.append(&path, 5, true, b"");
    assert_eq!((again.status, session.is_complete(&again)), (201, true));
    release.send(true).unwrap();
    wait_until(|| started.upload(&path).unwrap().phase == Phase::Notified);
    assert!(session.is_complete(&session.state(&path)));
}

/// What a killed server has acknowledged exists, and so do the dialect and the digest of each upload.
pub(crate) fn an_upload_survives_a_kill(server: Server) {
    let digest = digest(&bytes(4, 0..LENGTH));
    survives_kills(&server, LENGTH, &[1, 100_000, 1_000_000], &[("Repr-Digest", &digest)]);
}

/// The same for an upload of this length, of which so many bytes are sent before each kill.
pub(crate) fn survives_kills(server: &Server, length: u64, steps: &[usize], headers: &[(&str, &str)]) {
    let mut process = server.spawn().unwrap();
    let content = bytes(4, 0..length);
    let path = UrlSession::new(6, process.address).create(headers);
    let mut offset = 0;
    for &sent in steps {
        let session = UrlSession::new(6, process.address);
        let response = session.append(&path, offset, false, &content[offset as usize..][..sent]);
        process.kill();
        offset += sent as u64;
        assert_eq!((response.status, response.offset()), (201, offset));
        process = server.spawn().unwrap();
        let session = UrlSession::new(6, process.address);
        let state = session.state(&path);
        assert_eq!((state.offset(), session.is_complete(&state)), (offset, false));
    }
    let session = UrlSession::new(6, process.address);
    let done = session.append(&path, offset, true, &content[offset as usize..]);
    assert_eq!((done.status, session.is_complete(&done)), (201, true));
    assert_same(&server.uploads().content(&path), &content);
    process.kill();
    // Nobody received that: the next process reports it again.
    let process = server.spawn().unwrap();
    let session = UrlSession::new(6, process.address);
    wait_until(|| session.is_complete(&session.state(&path)));
    assert!(session.is_complete(&session.append(&path, length, true, b"")));
}

/// A client of tus on an iPhone: URLSession adds its headers to each of its uploads.
pub(crate) fn a_tus_client_on_an_iphone_uses_tus(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let added = [("Upload-Draft-Interop-Version", "6"), ("Upload-Complete", "?1")];
    let created = connection.request("POST", tests::MOUNT, &[&[("Upload-Length", "11")], &added[..]].concat(), b"");
    assert_eq!((created.status, created.header("tus-resumable")), (201, "1.0.0"));
    let path = created.header("location").to_owned();
    let patch = |connection: &mut Connection, offset, content: &[u8]| {
        let headers = [&[("Upload-Offset", offset), ("Content-Type", OCTETS)], &added[..]].concat();
        connection.request("PATCH", &path, &headers, content)
    };
    let first = patch(&mut connection, "0", b"hello");
    assert_eq!((first.status, first.offset()), (204, 5));
    assert!(!started.is_finished(&path));
    let last = patch(&mut connection, "5", b" world");
    assert_eq!((last.status, last.offset(), last.headers.get("upload-complete")), (204, 11, None));
    assert!(started.is_finished(&path));
    // And neither is available in the other dialect.
    let session = session(&started, 6);
    assert_eq!(session.request("HEAD", &path, &[], b"").status, 403);
    let drafts = session.create(&[]);
    assert_eq!(connection.request("HEAD", &drafts, &[], b"").status, 403);
}

/// "the server MUST NOT omit the 100 (Continue) response".
pub(crate) fn content_with_expect_gets_100_continue(server: Server) {
    let started = server.start();
    let session = session(&started, 6);
    let mut connection = session.connect();
    let headers = [session.complete(true), ("Content-Length", "5"), ("Expect", "100-continue")];
    connection.send(&session.head("POST", tests::MOUNT, &headers));
    let mut interim = connection.any_response("POST").unwrap();
    while interim.status == 104 {
        interim = connection.any_response("POST").unwrap();
    }
    assert_eq!(interim.status, 100);
    connection.send(b"hello");
    assert!(session.is_complete(&connection.response("POST")));
    // A rejection comes immediately, if the framework allows it.
    let path = session.create(&[]);
    let mut connection = session.connect();
    let headers = [
        session.complete(true),
        ("Upload-Offset", "7"),
        ("Content-Type", PARTIAL),
        ("Content-Length", "5"),
        ("Expect", "100-continue"),
    ];
    connection.send(&session.head("PATCH", &path, &headers));
    let first = connection.any_response("PATCH").unwrap();
    assert_eq!(first.status, if server.framework == Framework::ActixWeb { 100 } else { 409 });
}
