//! Requests that no honest client sends, and their safe handling.

use http::Method;

use super::{
    request::{Answer, Request},
    world::World,
};
use crate::{Algorithm, Checksum, Config, MAX_LENGTH};

const HOSTILE_NUMBERS: [&str; 22] = [
    "",
    "-0",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "1,000",
    "1 0",
    "1;q=1",
    "\"1\"",
    "Infinity",
    "NaN",
    "null",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "-9223372036854775808",
    "\u{661}\u{662}",
    "\u{ff11}",
];

/// A record stays small, whoever writes it.
#[test]
fn a_final_upload_is_made_of_at_most_16_parts_or_as_configured() {
    let mut world = World::new();
    let part = world.partial(b"a", 1);
    world.post().concat(&[&part; 16]).send().is(201);
    world.post().concat(&[&part; 17]).send().says(400, "at most 16 ");
    assert_eq!(world.path(), "Respond");
    world.config = Config::default().max_parts(2).into();
    world.post().concat(&[&part; 2]).send().is(201);
    world.post().concat(&[&part; 3]).send().says(400, "at most 2 ");
}

/// The list of parts is stored as it was sent, so its size is limited.
#[test]
fn a_list_of_parts_has_at_most_256_bytes_for_each() {
    let mut world = World::with(Config::default().max_parts(2));
    let part = world.partial(b"a", 1);
    let list = |bytes: usize| {
        let url = format!("/files/{part}");
        format!("final;http://{:x<1$}{url} {url}", "", bytes - "final;http:// ".len() - 2 * url.len())
    };
    assert_eq!(list(512).len(), 512);
    let id = world.post().header("upload-concat", list(512)).send().id();
    assert_eq!(world.bytes(&id), b"aa");
    world
        .post()
        .header("upload-concat", list(513))
        .send()
        .says(400, "upload-concat has 513 bytes, but at most 512 are allowed");
    assert_eq!(world.path(), "Respond");
}

#[test]
fn a_number_is_digits_up_to_the_largest_offset() {
    let mut world = World::new();
    let known = world.upload(b"hello", 100);
    let deferred = world.deferred(b"hello");
    let before = world.uploads.clone();
    for number in HOSTILE_NUMBERS {
        let refused = |name: &str, request: Request<'_>| {
            request.header(name, number).send().says(400, name);
        };
        refused("upload-length", world.post());
        refused("content-length", world.post().length(100).body(b"hello"));
        refused("upload-offset", world.patch(&known).body(b"!"));
        refused("upload-length", world.patch(&deferred).offset(5).body(b"!"));
        refused("content-length", world.patch(&known).offset(5).body(b"!"));
        assert_eq!(world.path(), "Respond");
    }
    assert_eq!(world.uploads, before);
}

#[test]
fn sums_do_not_overflow() {
    let mut world = World::new();
    for id in [world.place(MAX_LENGTH, None, None), world.place(MAX_LENGTH - 1, Some(MAX_LENGTH), None)] {
        let at = world.record(&id).offset;
        world.patch(&id).offset(at).body(b"!!").send().is(413);
        world.patch(&id).offset(at).stream(b"!!").send().is(413);
        world.patch(&id).offset(at).header("content-length", MAX_LENGTH.to_string()).send().is(413);
        assert_eq!(world.record(&id).offset, at);
    }
    let deferred = world.deferred(b"!");
    world.patch(&deferred).offset(1).header("content-length", MAX_LENGTH.to_string()).send().is(413);
    let (half, more) = (world.place_partial(0, MAX_LENGTH / 2 + 1), world.place_partial(0, MAX_LENGTH));
    let uploads = world.uploads.len();
    world.post().concat(&[&half, &half]).send().is(413);
    world.post().concat(&[&more, &more, &more]).send().is(413);
    assert_eq!(world.uploads.len(), uploads);
}

#[test]
fn an_upload_never_exceeds_the_largest_offset() {
    let mut world = World::new();
    let id = world.place(MAX_LENGTH, None, Some(u64::MAX));
    world.patch(&id).offset(MAX_LENGTH).body(b"!").send().is(413);
    world.patch(&id).offset(MAX_LENGTH).stream(b"!").send().is(413);
    assert_eq!(world.record(&id).offset, MAX_LENGTH);
}

#[test]
fn a_repeated_header_is_refused_even_if_both_agree() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    let before = world.uploads.clone();
    let twice = |request: Request<'_>, name: &str, value: &str| {
        request.header(name, value).also(name, value).send().says(400, name);
    };
    twice(world.patch(&id).body(b"!"), "upload-offset", "5");
    twice(world.patch(&id).offset(5).body(b"!"), "upload-length", "6");
    twice(world.patch(&id).offset(5).body(b"!"), "content-length", "1");
    twice(world.patch(&id).offset(5).body(b"!"), "content-type", "application/offset+octet-stream");
    let checksum = Checksum::of(Algorithm::Sha1, b"!").to_header();
    twice(world.patch(&id).offset(5).body(b"!"), "upload-checksum", checksum.to_str().unwrap());
    twice(world.head(&id), "tus-resumable", "1.0.0");
    twice(world.request(Method::POST, &format!("/files/{id}")), "x-http-method-override", "DELETE");
    twice(world.post(), "upload-length", "5");
    twice(world.post(), "upload-defer-length", "1");
    twice(world.post().length(5), "upload-metadata", "a YQ==");
    twice(world.post().length(5), "upload-concat", "partial");
    twice(world.post().length(5).body(b"hello"), "content-length", "5");
    assert_eq!(world.path(), "Respond");
    assert_eq!(world.uploads, before);
}

#[test]
fn an_invalid_or_disallowed_override_changes_nothing() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let before = world.uploads.clone();
    let path = format!("/files/{id}");
    for (meant, status) in
        [("", 400), ("PATCH, DELETE", 400), ("\u{661}", 400), ("PUT", 405), ("GET", 405), ("TRACE", 405)]
    {
        for carrier in [Method::POST, Method::PATCH, Method::DELETE] {
            let request = world.request(carrier, &path).offset(5).body(b"!");
            request.header("x-http-method-override", meant).send().is(status);
            assert_eq!(world.path(), "Respond");
        }
    }
    assert_eq!(world.uploads, before);
}

/// RFC 9112, 6.1: "A server that receives a request message with a transfer coding it does not understand SHOULD respond
/// with 501". The frameworks undo `chunked` and leave what is below it as it is.
#[test]
fn a_transfer_coding_other_than_chunked_is_501_and_stores_nothing() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let before = world.uploads.clone();
    for coding in ["gzip, chunked", "gzip", "chunked, chunked", "chunked,", "identity", "", "x"] {
        world.patch(&id).offset(5).stream(b"!").header("transfer-encoding", coding).send().says(501, "chunked");
        world.post().length(9).stream(b"!").header("transfer-encoding", coding).send().says(501, "chunked");
        assert_eq!(world.path(), "Respond");
    }
    let twice = world.patch(&id).offset(5).stream(b"!").header("transfer-encoding", "gzip");
    twice.also("transfer-encoding", "chunked").send().is(501);
    assert_eq!(world.uploads, before);
    world.patch(&id).offset(5).stream(b"!").header("transfer-encoding", " Chunked").send().is(204);
    assert_eq!(world.bytes(&id), b"hello!");
}

/// Bytes that would be discarded are rejected.
#[test]
fn a_creation_with_a_body_of_a_wrong_type_is_415() {
    let mut world = World::new();
    for (name, value) in [("transfer-encoding", "chunked"), ("content-length", "5")] {
        let request = world.post().length(5).without("content-length").header(name, value);
        request.header("content-type", "text/plain").send().is(415);
        world.post().length(5).without("content-length").header(name, value).send().is(415);
    }
    // In HTTP/2, a body needs no header.
    world.post().length(5).stream(b"hello").without("content-type").http_2().send().is(415);
    assert!(world.uploads.is_empty());
    world.post().length(5).without("content-length").http_2().send().is(201);
    let part = world.partial(b"hello", 5);
    world.post().concat(&[&part]).without("content-length").http_2().send().is(201);
    // In HTTP/1.1 it has no body.
    world.post().length(5).without("content-length").header("content-type", "text/plain").send().is(201);
    world.post().length(5).header("content-type", "text/plain").header("content-length", "0").send().is(201);
}

#[test]
fn the_checksum_of_an_empty_creation_is_verified() {
    let mut world = World::new();
    let wrong = Checksum::of(Algorithm::Sha1, b"something").to_header();
    let right = Checksum::of(Algorithm::Sha1, b"").to_header();
    let post = world.post().length(5).header("content-length", "0");
    post.header("upload-checksum", wrong.to_str().unwrap()).send().is(460);
    assert!(world.uploads.is_empty());
    let post = world.post().length(5).header("content-length", "0");
    post.header("upload-checksum", right.to_str().unwrap()).send().is(201).has("upload-offset", 0);
}

#[test]
fn another_method_is_405_and_lists_those_allowed() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let before = world.uploads.clone();
    let path = format!("/files/{part}");
    for method in ["GET", "POST", "PUT", "TRACE", "BREW"] {
        let request = world.request(Method::from_bytes(method.as_bytes()).unwrap(), &path).length(5);
        request.send().says(405, method).has("allow", "OPTIONS, HEAD, PATCH, DELETE");
    }
    for method in [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE, Method::PUT] {
        let request = world.request(method.clone(), "/files").length(5);
        request.send().says(405, method.as_str()).has("allow", "OPTIONS, POST");
    }
    assert_eq!(world.uploads, before);
}

#[test]
fn an_impossible_path_is_404_and_is_not_looked_up() {
    let mut world = World::new();
    world.upload(b"hello", 100);
    let before = world.uploads.clone();
    let long = format!("/files/{}", "a".repeat(129));
    for path in [
        "/files/.",
        "/files/..",
        "/files/../files",
        "/files/%2e%2e",
        "/files/%2E%2e%2Fetc",
        "/files/a%2Fb",
        "/files/a%5Cb",
        "/files/a.b",
        "/files/a%00",
        "/files/a b".replace(' ', "%20").as_str(),
        "/files/%",
        "/files/%ff",
        "/files/%C3%A4",
        "/files/a/b",
        "/files//",
        "/files//a",
        "/filesa",
        "/other/a",
        "/",
        &long,
    ] {
        for method in [Method::HEAD, Method::PATCH, Method::DELETE, Method::POST] {
            world.request(method, path).length(5).offset(0).body(b"").send().is(404);
            assert_eq!(world.path(), "Respond", "{path}");
        }
    }
    assert_eq!(world.uploads, before);
}

#[test]
fn a_checksum_is_a_header_or_an_announced_trailer_and_not_both() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    let before = world.uploads.clone();
    let checksum = Checksum::of(Algorithm::Sha1, b" world").to_header();
    let patch = |world: &mut World, change: fn(Request<'_>) -> Request<'_>| -> Answer {
        change(world.patch(&id).offset(5).stream(b" world")).send()
    };
    // In the head, and announced as a trailer.
    patch(&mut world, |r| r.sha1_of(b" world").trailing_sha1_of(b" world")).says(400, "not both");
    assert_eq!(world.path(), "Respond");
    // In the head, and a trailer that was not announced, whether they agree or not.
    patch(&mut world, |r| r.sha1_of(b" world").trailing_sha1_of(b" world").without("trailer")).says(400, "announced");
    patch(&mut world, |r| r.sha1_of(b" world").trailing_sha1_of(b"other").without("trailer")).says(400, "announced");
    // Only a trailer that was not announced.
    patch(&mut world, |r| r.trailing_sha1_of(b" world").without("trailer")).says(400, "announced");
    patch(&mut world, |r| r.trailing_sha1_of(b" world").header("trailer", "x-upload-checksum")).says(400, "announced");
    // Two trailers.
    let twice = world.patch(&id).offset(5).stream(b" world").trailing_sha1_of(b" world");
    twice.trailer("upload-checksum", checksum).send().says(400, "upload-checksum");
    assert_eq!(world.uploads, before);
    // Other trailers are ignored.
    patch(&mut world, |r| r.header("trailer", "expires").trailer("expires", "0")).is(204);
}

#[test]
fn an_unannounced_trailer_creates_nothing() {
    let mut world = World::new();
    let created = world.post().length(5).stream(b"hello").trailing_sha1_of(b"hello").without("trailer");
    created.send().says(400, "announced").lacks("location");
    assert!(world.uploads.is_empty() && world.notified.is_empty());
}

#[test]
fn a_body_beyond_the_end_is_413_and_none_of_it_is_stored() {
    for (mut world, id, limit) in [
        with(|world| world.upload(b"hello", 11), 11),
        with(|world| world.place(5, None, Some(11)), 11),
        with(|world| world.upload(b"hello", 5), 5),
    ] {
        let before = world.uploads.clone();
        let reply = world.patch(&id).offset(5).body(b" world!").send();
        reply.says(413, &format!("{limit} bytes"));
        assert_eq!(world.path(), "Load Authorize Hold Respond");
        let unannounced = world.patch(&id).offset(5).stream(b" world!").send();
        unannounced.says(413, &format!("{limit} bytes"));
        assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
        assert_eq!(world.uploads, before);
        assert_eq!(world.notified.len(), usize::from(limit == 5));
    }
}

#[test]
fn checkpoints_do_not_complete_an_upload_whose_body_is_too_long() {
    let mut world = World::new();
    let id = world.upload(b"", 6);
    world.commits_checkpoints = true;
    world.patch(&id).offset(0).stream(b"hello world").send().is(413);
    assert_eq!(world.bytes(&id), b"hel");
    assert!(world.notified.is_empty());
    world.post().length(6).stream(b"hello world").send().is(413);
    assert_eq!(world.uploads.len(), 1);
}

#[test]
fn a_body_shorter_than_its_length_is_an_interruption() {
    let mut world = World::new();
    let id = world.upload(b"", 11);
    let short = world.patch(&id).offset(0).body(b"hello").header("content-length", "6");
    short.send().says(503, "the upload's offset is 5");
    assert_eq!(world.bytes(&id), b"hello");
}

#[test]
fn refusals_quote_requests_as_shortened_plain_text() {
    let mut world = World::new();
    let script = format!("<script>{}</script>", "x".repeat(5000));
    for hostile in [script.as_bytes(), b"\xff\xfe", "\u{202e}txt".as_bytes()] {
        let answer = world.post().header("upload-length", hostile).send().says(400, "upload-length");
        let answer = answer.has("content-type", "text/plain; charset=utf-8").has("x-content-type-options", "nosniff");
        assert!(answer.text().len() < 400);
    }
}

/// A world, an upload in it, and the bytes it may have.
fn with(upload: fn(&mut World) -> crate::UploadId, limit: u64) -> (World, crate::UploadId, u64) {
    let mut world = World::new();
    let id = upload(&mut world);
    (world, id, limit)
}
