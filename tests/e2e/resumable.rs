//! Any handler, resumable: the application's handler at `/photos` gets each upload as one request.

use tests::photos::{self, PHOTOS, got};
use tus_service::{Config, Phase};

use crate::{
    client::{CHUNKED, Connection, Response, chunk},
    content::{assert_same, bytes},
    example::Example,
    harness::{Process, Server, Started, comes, wait_until},
    urlsession::{PARTIAL, UrlSession, VERSIONS},
};

const LENGTH: u64 = (2 << 20) + 3;

/// The path of the photos of an album.
const ALBUM: &str = "/photos?album=7";

/// A server that sends interim responses, if its framework supports them.
fn start(server: &Server) -> Started {
    server.start_informing(|builder| builder)
}

fn session(started: &Started, version: u8) -> UrlSession {
    UrlSession::new(version, started.running.address)
}

/// The id of an upload of photos.
fn id(url: &str) -> &str {
    url.rsplit('=').next().unwrap()
}

/// The path by which the storage's part of the tests identifies an upload.
fn path(url: &str) -> String {
    format!("/{}", id(url))
}

/// Creates an upload without content. Returns its URL.
#[track_caller]
fn create(session: &UrlSession, method: &str, headers: &[(&str, &str)]) -> String {
    let headers = [&[session.complete(false)], headers].concat();
    let response = session.request(method, ALBUM, &headers, b"");
    assert_eq!((response.status, session.is_complete(&response)), (201, false), "{response:?}");
    let url = response.header("location").to_owned();
    assert!(url.starts_with("/photos?album=7&resumable-upload="), "{url}");
    url
}

/// An ordinary request with all of an upload, up to where it is sent.
fn begin(session: &UrlSession, headers: &[(&str, &str)], content: &[u8]) -> Connection {
    let mut connection = session.connect();
    let length = LENGTH.to_string();
    let headers = [&[session.complete(true), ("Content-Length", &*length)], headers].concat();
    connection.send(&[session.head("POST", ALBUM, &headers), content.to_vec()].concat());
    connection
}

#[track_caller]
fn assert_final(session: &UrlSession, response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, &*response.text()), (status, text), "{response:?}");
    assert!(session.is_complete(response), "{response:?}");
}

/// Requests without headers of the draft, or that gain nothing by being stored, go to the handler only.
pub(crate) fn other_requests_are_forwarded_untouched(server: Server) {
    let started = start(&server);
    let before = started.count();
    let session = session(&started, 6);
    let small = bytes(1, 0..1000);
    let expected = got("POST", ALBUM, &small);
    let mut ordinary = Connection::open(started.running.address);
    ordinary.send(format!("POST {ALBUM} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").as_bytes());
    ordinary.send(&small);
    for response in [
        ordinary.response("POST"),
        session.request("POST", ALBUM, &[], &small),
        session.request("POST", ALBUM, &[session.complete(true)], &small),
        session.request("POST", ALBUM, &[("Upload-Complete", "yes")], &small),
    ] {
        assert_eq!((response.status, &*response.text()), (200, &*expected));
        assert!(!response.headers.keys().any(|name| name.as_str().starts_with("upload-")), "{response:?}");
    }
    assert_eq!(session.request("GET", ALBUM, &[], b"").status, 405);
    assert_eq!(started.count(), before);
    let options = session.request("OPTIONS", ALBUM, &[], b"");
    assert_eq!((options.status, options.header("upload-limit")), (204, "min-size=1048576"));
    let options = session.request("OPTIONS", ALBUM, &[("upload-complete", "?0")], b"");
    assert_eq!((options.status, options.header("upload-limit")), (204, "min-size=1048576"));
}

/// The handler gets the request that created the upload, whichever requests contained its content.
pub(crate) fn an_upload_reaches_the_handler_as_one_request(server: Server) {
    let started = start(&server);
    for version in VERSIONS {
        let session = session(&started, version);
        let content = bytes(u64::from(version), 0..LENGTH);
        let url = create(&session, "PUT", &[]);
        let first = session.append(&url, 0, false, &content[..1 << 20]);
        assert_eq!((first.offset(), session.is_complete(&first)), (1 << 20, false));
        assert_eq!(photos::calls(id(&url)), 0);
        // The rest is of unknown length.
        let mut connection = session.connect();
        let offset = (1 << 20).to_string();
        let headers = [session.complete(true), ("Upload-Offset", &*offset), ("Content-Type", PARTIAL), CHUNKED];
        connection.send(&session.head("PATCH", &url, &headers));
        content[1 << 20..].chunks(300_000).chain([&[][..]]).for_each(|piece| connection.send(&chunk(piece)));
        connection.send(b"\r\n");
        let done = connection.response("PATCH");
        assert_final(&session, &done, 200, &got("PUT", ALBUM, &content));
        assert_same(&started.content(&path(&url)), &content);
        assert_eq!((photos::calls(id(&url)), started.upload(&path(&url)).unwrap().phase), (1, Phase::Notified));
    }
}

pub(crate) fn an_empty_upload_reaches_the_handler(server: Server) {
    let started = start(&server);
    for version in VERSIONS {
        let session = session(&started, version);
        let url = create(&session, "POST", &[]);
        assert_final(&session, &session.append(&url, 0, true, b""), 200, &got("POST", ALBUM, b""));
    }
}

/// What an iPhone does with a form of the application: one ordinary request, an interim response, a cut, the offset,
/// the rest. The response is the handler's.
pub(crate) fn an_ordinary_request_survives_a_cut(server: Server) {
    let started = start(&server);
    for version in VERSIONS {
        let session = session(&started, version);
        let content = bytes(u64::from(version), 0..LENGTH);
        // Without a cut.
        let mut connection = begin(&session, &[], &content);
        assert_final(&session, &connection.response("POST"), 200, &got("POST", ALBUM, &content));
        for resets in [false, true] {
            let mut connection = begin(&session, &[], &content[..5]);
            let interim = connection.any_response("POST").unwrap();
            assert_eq!(interim.status, 104, "{interim:?}");
            let url = interim.header("location").to_owned();
            connection.send(&content[5..1 << 20]);
            connection.wait_until_read();
            if resets {
                connection.reset()
            } else {
                connection.finish()
            }
            wait_until(|| session.state(&url).offset() == 1 << 20);
            assert!(!session.is_complete(&session.state(&url)));
            let done = session.append(&url, 1 << 20, true, &content[1 << 20..]);
            assert_final(&session, &done, 200, &got("POST", ALBUM, &content));
            assert!(session.is_complete(&session.state(&url)));
            assert_eq!(photos::calls(id(&url)), 1);
        }
    }
}

/// The client disconnects while the handler runs: the handler continues, and the client gets its response when it
/// asks again.
pub(crate) fn a_lost_response_is_replayed(server: Server) {
    let started = start(&server);
    for version in [3, 6, 10] {
        let session = session(&started, version);
        let url = create(&session, "POST", &[("X-Do", "wait")]);
        let mut connection = session.begin_append(&url, 0, 5);
        connection.send(b"hello");
        wait_until(|| photos::calls(id(&url)) == 1);
        if version == 6 {
            connection.reset();
        } else {
            connection.finish();
        }
        let state = session.state(&url);
        assert_eq!((state.offset(), session.is_complete(&state)), (5, false), "there is no response yet");
        photos::let_go(id(&url));
        wait_until(|| session.is_complete(&session.state(&url)));
        for _ in 0..2 {
            assert_final(&session, &session.append(&url, 5, true, b""), 200, &got("POST", ALBUM, b"hello"));
        }
        assert_eq!(photos::calls(id(&url)), 1);
        assert_eq!(session.append(&url, 5, true, b"!").status, 400);
        assert_eq!(session.request("DELETE", &url, &[], b"").status, 204);
        assert_eq!(session.request("HEAD", &url, &[], b"").status, 404);
    }
}

/// A second client that asks while the handler runs waits for its response.
pub(crate) fn the_handler_is_not_called_twice_at_once(server: Server) {
    let started = start(&server);
    let session = session(&started, 6);
    let url = create(&session, "POST", &[("X-Do", "wait")]);
    let mut first = session.begin_append(&url, 0, 5);
    first.send(b"hello");
    wait_until(|| photos::calls(id(&url)) == 1);
    let mut second = session.begin_append(&url, 5, 0);
    second.wait_until_read();
    photos::let_go(id(&url));
    for connection in [&mut first, &mut second] {
        let response = connection.response("PATCH");
        assert_final(&session, &response, 200, &got("POST", ALBUM, b"hello"));
    }
    assert_eq!(photos::calls(id(&url)), 1);
}

pub(crate) fn the_handlers_own_errors_reach_the_client(server: Server) {
    let started = start(&server);
    let session = session(&started, 6);
    for (action, status, text) in [("refuse", 422, "no such photo, please"), ("break", 500, "broken")] {
        let url = create(&session, "POST", &[("X-Do", action)]);
        for content in [&b"hello"[..], b""] {
            let offset = 5 - content.len() as u64;
            assert_final(&session, &session.append(&url, offset, true, content), status, text);
        }
        assert_eq!(photos::calls(id(&url)), 1);
    }
    // A handler that panics has not responded.
    let url = create(&session, "POST", &[("X-Do", "panic once")]);
    let failed = session.append(&url, 0, true, b"hello");
    assert_eq!((failed.status, session.is_complete(&failed)), (500, false), "{failed:?}");
    let state = session.state(&url);
    assert_eq!((state.offset(), session.is_complete(&state)), (5, false));
    assert_final(&session, &session.append(&url, 5, true, b""), 200, &got("POST", ALBUM, b"hello"));
    assert_eq!(photos::calls(id(&url)), 2);
}

/// A response that is too large to store arrives, and is not replayed.
pub(crate) fn a_large_response_arrives_once(server: Server) {
    let started = start(&server);
    let session = session(&started, 9);
    let url = create(&session, "POST", &[("X-Do", "be long")]);
    let done = session.append(&url, 0, true, b"hello");
    assert_eq!((done.status, session.is_complete(&done)), (200, true));
    assert_eq!(done.body.len(), got("POST", ALBUM, b"hello").len() + 200_000);
    assert!(session.is_complete(&session.state(&url)));
    let again = session.append(&url, 5, true, b"");
    assert_eq!(again.status, 410);
    assert!(again.text().contains("too large to store"), "{again:?}");
}

/// A user who did not create an upload does not learn that it exists.
pub(crate) fn an_upload_belongs_to_its_owner(server: Server) {
    let started = start(&server);
    let session = session(&started, 6);
    let (anna, berta) = (("X-User", "anna"), ("X-User", "berta"));
    let url = create(&session, "POST", &[anna]);
    let patch = [session.complete(true), ("Upload-Offset", "0"), ("Content-Type", PARTIAL)];
    for other in [Some(berta), None] {
        let other: Vec<_> = other.into_iter().collect();
        assert_eq!(session.request("HEAD", &url, &other, b"").status, 404);
        assert_eq!(session.request("DELETE", &url, &other, b"").status, 404);
        assert_eq!(session.request("PATCH", &url, &[&patch[..], &other].concat(), b"hello").status, 404);
    }
    // Nor at another URL.
    let elsewhere = url.replace("album=7", "album=8");
    assert_eq!(session.request("HEAD", &elsewhere, &[anna], b"").status, 404);
    let files = format!("{}/{}", tests::MOUNT, id(&url));
    assert_eq!(session.request("HEAD", &files, &[anna], b"").status, 404);
    assert_eq!(session.request("HEAD", &url, &[anna], b"").status, 204);
    let done = session.request("PATCH", &url, &[&patch[..], &[anna]].concat(), b"hello");
    assert_final(&session, &done, 200, &got("POST", ALBUM, b"hello"));
    assert_eq!(started.upload(&path(&url)).unwrap().owner.as_deref(), Some("anna"));
}

pub(crate) fn oversized_content_is_rejected_before_the_handler_is_called(server: Server) {
    let started = server.start_informing(|builder| builder.config(Config::default().max_size(8)));
    let session = session(&started, 6);
    let headers = [session.complete(false), ("Upload-Length", "11")];
    let refused = session.request("POST", ALBUM, &headers, b"");
    assert_eq!((refused.status, session.is_complete(&refused)), (413, false));
    let url = create(&session, "POST", &[]);
    assert_eq!(session.append(&url, 0, true, b"hello world").status, 413);
    let mut connection = session.connect();
    let headers = [session.complete(true), ("Upload-Offset", "0"), ("Content-Type", PARTIAL), CHUNKED];
    connection.send(&session.head("PATCH", &url, &headers));
    connection.send(&chunk(b"hello world"));
    assert_eq!(connection.response("PATCH").status, 413);
    assert_eq!(photos::calls(id(&url)), 0);
}

/// Kills at every stage of an upload: while its content arrives, while the handler runs, and after its response.
pub(crate) fn the_handler_gets_exactly_the_bytes_whatever_is_killed(server: Server) {
    gets_exactly_the_bytes(&server, LENGTH, 700_000);
}

/// The same for an upload of this length, of which so many bytes are sent before each kill.
pub(crate) fn gets_exactly_the_bytes(server: &Server, length: u64, sent: usize) {
    let mut process = server.spawn().unwrap();
    let content = bytes(4, 0..length);
    let expected = got("POST", ALBUM, &content);
    let url = create(&UrlSession::new(6, process.address), "POST", &[]);
    let uploads = server.uploads();
    // While its content arrives.
    for _ in 0..2 {
        let session = UrlSession::new(6, process.address);
        let offset = session.state(&url).offset();
        let mut connection = session.begin_append(&url, offset, length - offset);
        connection.send(&content[offset as usize..][..sent]);
        wait_until(|| uploads.offset(&path(&url)) > offset);
        process.kill();
        process = server.spawn_with(&[("HANG_IN_HANDLER", "1")]).unwrap();
    }
    // While the handler runs.
    let session = UrlSession::new(6, process.address);
    let offset = session.state(&url).offset();
    let mut connection = session.begin_append(&url, offset, length - offset);
    connection.send(&content[offset as usize..]);
    assert_eq!(process.line(), format!("called {}", id(&url)));
    process.kill();
    process = server.spawn().unwrap();
    let session = UrlSession::new(6, process.address);
    let state = session.state(&url);
    assert_eq!((state.offset(), session.is_complete(&state)), (length, false));
    // The killed process's claim expires after a while.
    let mut done = None;
    let answered = comes(|| {
        let response = session.append(&url, length, true, b"");
        let is_busy = response.status == 503;
        done = Some(response);
        !is_busy
    });
    assert!(answered);
    assert_final(&session, &done.unwrap(), 200, &expected);
    assert_eq!(process.line(), format!("called {}", id(&url)));
    // After the response.
    process.kill();
    process = server.spawn().unwrap();
    let session = UrlSession::new(6, process.address);
    assert!(session.is_complete(&session.state(&url)));
    assert_final(&session, &session.append(&url, length, true, b""), 200, &expected);
    process.stop();
}

/// While the handler runs in one process, no other one calls it.
pub(crate) fn one_process_at_a_time_calls_the_handler(server: Server) {
    let one = server.spawn_with(&[("HANG_IN_HANDLER", "1")]).unwrap();
    let other = server.spawn().unwrap();
    let there = |process: &Process| UrlSession::new(9, process.address);
    let url = create(&there(&other), "POST", &[]);
    let mut connection = there(&one).begin_append(&url, 0, 5);
    connection.send(b"hello");
    assert_eq!(one.line(), format!("called {}", id(&url)));
    let busy = there(&other).append(&url, 5, true, b"");
    assert_eq!((busy.status, busy.header("retry-after")), (503, "1"));
    assert_eq!(busy.header("upload-complete"), "?0");
}

/// A server that shuts down lets the handler end, and its response is stored.
pub(crate) fn a_shutdown_waits_for_the_handler(server: Server) {
    let mut started = start(&server);
    let session = session(&started, 6);
    let url = create(&session, "POST", &[("X-Do", "wait")]);
    let mut connection = session.begin_append(&url, 0, 5);
    connection.send(b"hello");
    wait_until(|| photos::calls(id(&url)) == 1);
    let other = create(&session, "POST", &[]);
    let mut stalled = session.begin_append(&other, 0, 5);
    stalled.send(b"h");
    stalled.wait_until_read();
    std::thread::scope(|scope| {
        scope.spawn(|| started.running.stop());
        // The server stops when it waits for no more content.
        assert_eq!(stalled.response("PATCH").status, 503);
        photos::let_go(id(&url));
    });
    assert_eq!(started.upload(&path(&url)).unwrap().phase, Phase::Notified);
    drop(connection);
}

/// Without the path from the layer, nothing is handled.
pub(crate) fn each_path_has_its_own_uploads(server: Server) {
    let started = start(&server);
    let session = session(&started, 6);
    let files = session.create(&[]);
    let wrong = format!("{PHOTOS}?resumable-upload={}", files.rsplit('/').next().unwrap());
    assert_eq!(session.request("HEAD", &wrong, &[], b"").status, 404);
    for nonsense in ["/photos?resumable-upload=", "/photos?resumable-upload=%2e%2e%2f", "/photos?resumable-upload=a%00"]
    {
        assert_eq!(session.request("HEAD", nonsense, &[], b"").status, 404);
    }
}

/// A form of three parts, whose file has this content.
fn form(file: &[u8]) -> Vec<u8> {
    let head = "--xyz\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nSunset\r\n--xyz\r\n\
         Content-Disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n";
    [head.as_bytes(), file, b"\r\n--xyz--\r\n"].concat()
}

/// The axum example: a form that breaks off twice, once because its server is killed.
#[test]
fn the_axum_example_receives_its_form_and_its_backup() {
    let directory = tempfile::tempdir().unwrap();
    let mut example = Example::start("photos", directory.path(), &[]);
    let form = form(&bytes(7, 0..LENGTH));
    let typed = ("Content-Type", "multipart/form-data; boundary=xyz");
    let expected = format!("title: 6 bytes\na.jpg: {LENGTH} bytes\n");
    let there = |example: &Example| UrlSession::new(6, example.address);
    assert_eq!(there(&example).request("POST", "/photos", &[typed], &form).text(), expected);

    let session = there(&example);
    let mut connection = session.connect();
    let length = form.len().to_string();
    let headers = [session.complete(true), typed, ("Content-Length", &*length)];
    connection.send(&[session.head("POST", "/photos", &headers), form[..100].to_vec()].concat());
    let interim = connection.any_response("POST").unwrap();
    assert_eq!(interim.status, 104, "{interim:?}");
    let url = interim.header("location").to_owned();
    connection.send(&form[100..1 << 20]);
    connection.wait_until_read();
    wait_until(|| session.state(&url).offset() == 1 << 20);
    example.kill();
    example = Example::start("photos", directory.path(), &[]);
    let session = there(&example);
    assert_eq!(session.state(&url).offset(), 1 << 20);
    let done = session.append(&url, 1 << 20, true, &form[1 << 20..]);
    assert_final(&session, &done, 200, &expected);
    example.kill();
    example = Example::start("photos", directory.path(), &[]);
    let session = there(&example);
    assert_final(&session, &session.append(&url, form.len() as u64, true, b""), 200, &expected);

    backs_up(&session);
}

#[test]
fn the_actix_web_example_receives_its_backup() {
    let directory = tempfile::tempdir().unwrap();
    let example = Example::start("photos_actix_web", directory.path(), &[]);
    backs_up(&UrlSession::new(6, example.address));
}

#[track_caller]
fn backs_up(session: &UrlSession) {
    assert_eq!(session.request("PUT", "/backup", &[], b"hello").text(), "5 bytes\n");
    let created = session.request("PUT", "/backup", &[session.complete(false)], b"hello ");
    assert_eq!((created.status, created.offset()), (201, 6));
    let done = session.append(created.header("location"), 6, true, b"world");
    assert_final(session, &done, 200, "11 bytes\n");
}
