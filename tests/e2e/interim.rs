//! Interim responses: a client learns the URL of its upload before its request breaks off; and no interim response
//! ever appears within or after another response.

use std::time::Duration;

use tus_service::{Config, Download};

use tests::{Framework, Store};

use crate::{
    client::{Connection, Response},
    content::{assert_same, bytes},
    harness::{Server, Started, wait_until},
    urlsession::{UrlSession, VERSIONS},
};

const LENGTH: u64 = (2 << 20) + 3;

/// A server that sends interim responses.
fn started(server: &Server) -> Started {
    assert!(server.framework.informs());
    server.start_informing(|builder| builder)
}

fn session(started: &Started, version: u8) -> UrlSession {
    UrlSession::new(version, started.running.address)
}

/// An ordinary request that completes its upload, up to where it is sent.
fn begin(session: &UrlSession, length: u64, more: &[(&str, &str)], content: &[u8]) -> Connection {
    let mut connection = session.connect();
    let length = length.to_string();
    let headers = [&[session.complete(true), ("Content-Length", &*length)], more].concat();
    connection.send(&[session.head("POST", tests::MOUNT, &headers), content.to_vec()].concat());
    connection
}

/// The path of a new upload, from the interim response.
#[track_caller]
fn informed(session: &UrlSession, connection: &mut Connection) -> String {
    let interim = connection.any_response("POST").unwrap();
    assert_eq!(interim.status, 104, "{interim:?}");
    assert_eq!(interim.header("upload-draft-interop-version"), session.version.to_string());
    interim.header("location").to_owned()
}

/// What an iPhone does: one ordinary request, an interim response, a cut, the offset, the rest.
pub(crate) fn an_ordinary_request_resumes_after_a_cut(server: Server) {
    let started = started(&server);
    for version in VERSIONS {
        for resets in [false, true] {
            let session = session(&started, version);
            let seed = u64::from(version);
            let mut connection = begin(&session, LENGTH, &[], &bytes(seed, 0..5));
            let path = informed(&session, &mut connection);
            connection.send(&bytes(seed, 5..1 << 20));
            connection.wait_until_read();
            if resets {
                connection.reset()
            } else {
                connection.finish()
            }
            wait_until(|| session.state(&path).offset() == 1 << 20);
            let state = session.state(&path);
            assert_eq!((state.header("upload-length"), session.is_complete(&state)), (&*LENGTH.to_string(), false));
            let done = session.append(&path, 1 << 20, true, &bytes(seed, 1 << 20..LENGTH));
            assert_eq!((done.status, session.is_complete(&done)), (201, true));
            assert_same(&started.content(&path), &bytes(seed, 0..LENGTH));
            assert!(started.is_finished(&path));
        }
    }
}

/// Progress is reported as far as it is durable, without a location, and not in versions that do not support it.
pub(crate) fn durable_progress_is_reported(server: Server) {
    let started = server.start_informing(|builder| builder.checkpoint_interval(Duration::from_millis(20)));
    for version in [5, 6, 10] {
        let session = session(&started, version);
        let mut connection = begin(&session, 15, &[], b"hello");
        let path = informed(&session, &mut connection);
        // Received bytes are reported at the latest when more of them arrive.
        let mut reported = 0;
        for piece in [b"aaaa", b"bbbb"] {
            let progress = connection.any_response("POST").unwrap();
            assert_eq!((progress.status, progress.headers.get("location")), (104, None));
            assert_eq!(progress.header("upload-draft-interop-version"), version.to_string());
            assert!(progress.offset() > reported && progress.offset() <= started.offset(&path), "{progress:?}");
            reported = progress.offset();
            connection.send(piece);
        }
        connection.send(b"!!");
        let done = connection.response("POST");
        assert_eq!((done.status, done.offset(), session.is_complete(&done)), (201, 15, true));
    }
}

/// All responses on a connection until it is closed.
fn responses(connection: &mut Connection, methods: &[&str]) -> Vec<Response> {
    let mut responses = Vec::new();
    let mut methods = methods.iter();
    let mut method = methods.next();
    while let Some(current) = method {
        let response = connection.any_response(current).expect("a response for each request");
        if response.status >= 200 {
            method = methods.next();
        }
        responses.push(response);
    }
    assert!(connection.is_closed(), "something came after the last response");
    responses
}

/// Requests that are sent without waiting for responses: each interim response comes just before its own final one.
pub(crate) fn pipelined_requests_keep_their_order(server: Server) {
    let started = started(&server);
    for version in [3, 6, 9] {
        let session = session(&started, version);
        for content in [&b"hello"[..], &bytes(1, 0..200_000)] {
            let length = content.len().to_string();
            let post = [session.complete(true), ("Content-Length", &*length)];
            let upload = [session.head("POST", tests::MOUNT, &post), content.to_vec()].concat();
            let head = session.head("HEAD", "/files/none", &[]);
            let last = session.head("HEAD", "/files/none", &[("Connection", "close")]);
            let mut connection = session.connect();
            connection.send(&[&*upload, &head, &upload, &upload, &head, &upload, &last].concat());
            let methods = ["POST", "HEAD", "POST", "POST", "HEAD", "POST", "HEAD"];
            let responses = responses(&mut connection, &methods);
            let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
            let finals: Vec<_> = statuses.iter().copied().filter(|status| *status >= 200).collect();
            assert_eq!(finals, [201, 404, 201, 201, 404, 201, 404]);
            for pair in responses.windows(2).filter(|pair| pair[0].status == 104) {
                // The URL of its upload, or its progress.
                let is_own =
                    pair[0].headers.get("location").is_none_or(|at| Some(at) == pair[1].headers.get("location"));
                assert!(is_own && pair[1].status != 404, "{pair:?}");
            }
            let located = responses.iter().filter(|at| at.status == 104 && at.headers.contains_key("location"));
            assert_eq!(located.count(), 4, "each upload is announced");
        }
    }
}

/// A download that streams is complete before the next request's interim response.
pub(crate) fn a_download_is_not_interrupted(server: Server) {
    let config = Config::default().download(Download::attachment());
    let started = server.start_informing(|builder| builder.config(config));
    let session = session(&started, 6);
    let content = bytes(5, 0..LENGTH);
    let film = session.request("POST", tests::MOUNT, &[session.complete(true)], &content).header("location").to_owned();
    let mut connection = session.connect();
    // The client does not read during this time, so the download fills the connection.
    let get = format!("GET {film} HTTP/1.1\r\nHost: tus.example.org\r\n\r\n").into_bytes();
    let post = [session.complete(true), ("Content-Length", "5"), ("Connection", "close")];
    let post = [session.head("POST", tests::MOUNT, &post), b"hello".to_vec()].concat();
    connection.send(&[get, post].concat());
    let download = connection.any_response("GET").unwrap();
    assert_eq!(download.status, 200);
    assert_same(&download.body, &content);
    let responses = responses(&mut connection, &["POST"]);
    let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    assert_eq!(statuses, [104, 201]);
}

/// "the server MUST NOT omit the 100 (Continue) response because it has sent an interim response with the 104 (Upload
/// Resumption Supported) status code."
pub(crate) fn continue_is_sent_too(server: Server) {
    let started = started(&server);
    let session = session(&started, 6);
    let mut connection = begin(&session, 5, &[("Expect", "100-continue")], b"");
    informed(&session, &mut connection);
    assert_eq!(connection.any_response("POST").unwrap().status, 100);
    connection.send(b"hello");
    assert!(session.is_complete(&connection.response("POST")));
}

/// The server does not wait for a client that never reads.
pub(crate) fn a_client_that_never_reads_can_upload(server: Server) {
    let started = server.start_informing(|builder| builder.checkpoint_interval(Duration::from_millis(10)));
    let session = session(&started, 6);
    let before = started.count();
    let mut connection = begin(&session, LENGTH, &[], b"");
    connection.send(&bytes(6, 0..LENGTH));
    connection.wait_until_read();
    let path = informed(&session, &mut connection);
    wait_until(|| started.is_finished(&path));
    assert_eq!(started.count(), before + 1);
    let done = connection.response("POST");
    assert_eq!((done.status, done.offset()), (201, LENGTH));
    // A kept connection continues as usual.
    connection.send(&session.head("HEAD", &path, &[("Connection", "close")]));
    let responses = responses(&mut connection, &["HEAD"]);
    assert_eq!((responses.len(), responses[0].offset()), (1, LENGTH));
}

/// No other client gets one: not a client of tus, of an unknown version, of HTTP/1.0, or behind a proxy.
pub(crate) fn only_clients_that_ask_get_interim_responses(server: Server) {
    let started = server.start_informing(|builder| builder);
    let session = session(&started, 6);
    let uninformed = |request: Vec<u8>| {
        let mut connection = session.connect();
        connection.send(&request);
        let response = connection.any_response("POST").unwrap();
        assert_eq!(response.status, 201, "{response:?}");
    };
    let post = |version: &str, more: &str| {
        format!(
            "POST /files HTTP/{version}\r\nHost: a\r\nUpload-Complete: ?1\r\nContent-Length: 5\r\n\
             Connection: close\r\n{more}\r\nhello"
        )
        .into_bytes()
    };
    uninformed(post("1.1", "Upload-Draft-Interop-Version: 99\r\n"));
    uninformed(post("1.1", ""));
    uninformed(post("1.1", "Upload-Draft-Interop-Version: 6\r\nX-Forwarded-For: 192.0.2.1\r\n"));
    uninformed(post("1.1", "Upload-Draft-Interop-Version: 6\r\nVia: 1.1 proxy\r\n"));
    let tus = "Upload-Draft-Interop-Version: 6\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\
               Content-Type: application/offset+octet-stream\r\n";
    uninformed(post("1.1", tus));
    let mut old = session.connect();
    old.send(&post("1.0", "Upload-Draft-Interop-Version: 6\r\n"));
    let text = old.text();
    assert!(!text.contains(" 104 ") && text.contains(" 201 "), "{text}");
}

/// What a client sends and receives, as text. The path of an upload is always the same, and dates are removed.
#[derive(Default)]
struct Traffic(String);

impl Traffic {
    fn sent(&mut self, head: &[u8], content: &str) {
        for line in String::from_utf8_lossy(head).lines() {
            self.line('>', line);
        }
        self.line('>', content);
    }

    fn received(&mut self, response: &Response) {
        let name = match response.status {
            104 => "Upload Resumption Supported",
            201 => "Created",
            _ => "No Content",
        };
        self.line('<', &format!("HTTP/1.1 {} {name}", response.status));
        let mut headers: Vec<_> = response.headers.iter().filter(|(name, _)| *name != "date").collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            self.line('<', &format!("{name}: {}", value.to_str().unwrap()));
        }
        self.0.push('\n');
    }

    fn line(&mut self, direction: char, line: &str) {
        self.0.push_str(format!("{direction} {line}").trim_end());
        self.0.push('\n');
    }
}

#[test]
fn the_document_shows_what_an_iphone_receives() {
    let server = Server::new(Framework::Axum, Store::Buffered);
    let started = server.start_informing(|builder| builder.checkpoint_interval(Duration::from_millis(20)));
    let session = session(&started, 6);
    let mut traffic = Traffic::default();
    let photo = [("Content-Type", "image/heic"), ("Authorization", "Bearer 1")];

    let head = [&[session.complete(true), ("Content-Length", "11")], &photo[..]].concat();
    let head = session.head("POST", tests::MOUNT, &head);
    let mut connection = session.connect();
    connection.send(&[&head, &b"hello"[..]].concat());
    traffic.sent(&head, "hello");
    let announced = connection.any_response("POST").unwrap();
    let path = announced.header("location").to_owned();
    traffic.received(&announced);
    let progress = connection.any_response("POST").unwrap();
    traffic.received(&progress);
    connection.finish();
    wait_until(|| session.state(&path).offset() == 5);

    let head = session.head("HEAD", &path, &[photo[1]]);
    let mut connection = session.connect();
    connection.send(&head);
    traffic.sent(&head, "");
    traffic.received(&connection.response("HEAD"));
    for (offset, content) in [("5", " world"), ("11", "")] {
        let length = content.len().to_string();
        let headers = [session.complete(true), ("Upload-Offset", offset), ("Content-Length", &*length)];
        let headers = [&headers[..], &[("Content-Type", "application/partial-upload"), photo[1]]].concat();
        let head = session.head("PATCH", &path, &headers);
        connection.send(&[&head, content.as_bytes()].concat());
        traffic.sent(&head, content);
        traffic.received(&connection.response("PATCH"));
    }
    assert_eq!(started.content(&path), b"hello world");

    let seen = traffic.0.replace(&path, &format!("{}/ID", tests::MOUNT));
    let document = include_str!("../../tus-core/DRAFT.md");
    assert!(document.contains(&format!("```text\n{}\n```", seen.trim_end())), "the document shows other than:\n{seen}");
}
