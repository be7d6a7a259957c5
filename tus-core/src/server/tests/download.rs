//! GET is not part of tus: RFC 9110 applies.

use http::Method;

use super::{super::Operation, request::Request, world::World};
use crate::{Config, Download, Failure, Phase, Rejection, UploadId};

fn world() -> World {
    World::with(Config::default().download(Download::attachment().inline("image/png").inline("text/plain")))
}

/// A browser's request, without tus headers.
fn get<'w>(world: &'w mut World, id: &UploadId) -> Request<'w> {
    let url = world.url(id);
    world.request(Method::GET, &url).without("tus-resumable")
}

/// A finished upload of "hello world" with this metadata.
fn finished(world: &mut World, metadata: &str) -> UploadId {
    let post = world.post().header("upload-metadata", metadata).length(11).body(b"hello world");
    post.send().id()
}

#[test]
fn download_is_off_by_default() {
    let mut world = World::new();
    let id = world.upload(b"hello", 5);
    get(&mut world, &id).send().says(405, "GET").has("allow", "OPTIONS, HEAD, PATCH, DELETE");
    // The upload determines the dialect of the request.
    assert_eq!(world.path(), "Load Authorize Respond");
}

#[test]
fn a_finished_upload_downloads_as_an_attachment() {
    let mut world = world();
    // "film.html", "text/html"
    let id = finished(&mut world, "filename ZmlsbS5odG1s,filetype dGV4dC9odG1s");
    let answer = get(&mut world, &id).send().is(200).has("content-length", 11).has("accept-ranges", "bytes");
    let answer = answer.has("content-type", "application/octet-stream").has("x-content-type-options", "nosniff");
    let answer = answer.has("content-disposition", "attachment; filename=\"film.html\"").lacks("content-range");
    let answer = answer.has("content-security-policy", "script-src 'none'; form-action 'none'");
    assert_eq!(answer.has("cache-control", "private, no-cache").text(), "hello world");
    assert_eq!(world.path(), "Load Authorize Open");
    assert_eq!(world.log.asked, [(Operation::Download, Some(id))]);
}

#[test]
fn a_trusted_type_is_sent_as_the_application_wrote_it() {
    let mut world = world();
    for (metadata, kind) in [
        ("filetype aW1hZ2UvcG5n", "image/png"),
        ("type dGV4dC9wbGFpbg==", "text/plain"),
        // "Text/Plain; charset=x"
        ("filetype VGV4dC9QbGFpbjsgY2hhcnNldD14", "text/plain"),
    ] {
        let id = finished(&mut world, metadata);
        let answer = get(&mut world, &id).send().is(200).has("content-type", kind);
        answer.has("content-disposition", "inline").has("x-content-type-options", "nosniff");
    }
    let id = finished(&mut world, "filetype aW1hZ2Uvc3ZnK3htbA==");
    get(&mut world, &id).send().has("content-type", "application/octet-stream");
}

/// RFC 9110, 14.2: "If all of the preconditions are true, the server supports the Range header field for the
/// target resource, the received Range field-value contains a valid ranges-specifier [...] and that
/// ranges-specifier is satisfiable with respect to the selected representation, the server SHOULD send a 206
/// (Partial Content) response".
#[test]
fn a_range_can_be_downloaded() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    let answer = get(&mut world, &id).header("range", "bytes=6-").send().is(206);
    let answer = answer.has("content-range", "bytes 6-10/11").has("content-length", 5);
    assert_eq!(answer.text(), "world");
    let answer = get(&mut world, &id).header("range", "bytes=0-4,6-").send().is(200);
    assert_eq!(answer.text(), "hello world", "several at once are not offered");
    let answer = get(&mut world, &id).header("range", "bytes=11-").send();
    answer.says(416, "11 bytes").has("content-range", "bytes */11");
}

/// RFC 9110, 13.1.1: "An origin server MUST use the strong comparison function when comparing entity tags for If-Match";
/// "the origin server MUST NOT perform the requested method" where none matches. 13.2.2: it is looked at first.
#[test]
fn a_client_that_wants_another_file_gets_none() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    let tag = get(&mut world, &id).send().header("etag").unwrap().to_owned();
    for wanted in [tag.clone(), format!("\"x\", {tag}"), "*".into()] {
        get(&mut world, &id).header("if-match", wanted).header("range", "bytes=6-").send().is(206);
    }
    for wanted in ["\"x\"".to_owned(), format!("W/{tag}"), "\"x\", \"y\"".into(), String::new()] {
        let get = get(&mut world, &id).header("if-match", &wanted).header("range", "bytes=99-");
        let answer = get.header("if-none-match", &tag).send();
        answer.says(412, "the file is none of those that if-match names");
    }
}

#[test]
fn a_client_that_has_the_file_gets_not_modified() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    let tag = get(&mut world, &id).send().header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
        let answer = get(&mut world, &id).header("if-none-match", known).send().is(304).has("etag", &tag);
        assert_eq!(answer.text(), "");
    }
    get(&mut world, &id).header("if-none-match", "\"x\"").send().is(200);
    // RFC 9110, 13.1.5: "If the validator does not match, the server MUST ignore the Range header field".
    let part = |world: &mut World, known: &str| {
        get(world, &id).header("range", "bytes=6-").header("if-range", known).send().status()
    };
    assert_eq!((part(&mut world, &tag), part(&mut world, "\"x\"")), (206, 200));
}

#[test]
fn unfinished_uploads_cannot_be_downloaded() {
    let mut world = world();
    let part = world.partial(b"hello", 5);
    let ids = [
        world.upload(b"hel", 5),
        world.deferred(b"hel"),
        world.place(5, Some(5), None),
        world.concatenate(&[&part, &part]),
        world.partial(b"", 5),
        part,
    ];
    for id in ids {
        let finished = world.record(&id).phase == Phase::Notified;
        let answer = get(&mut world, &id).send();
        if finished {
            assert_eq!(answer.is(200).text(), "hellohello");
        } else {
            answer.says(404, "not finished").has("cache-control", "no-store");
        }
    }
    get(&mut world, &UploadId::from_random(99)).send().is(404);
    world.request(Method::GET, "/files").send().is(405);
}

#[test]
fn an_empty_upload_is_an_empty_file() {
    let mut world = world();
    let id = world.upload(b"", 0);
    for range in ["", "bytes=0-"] {
        get(&mut world, &id).header("range", range).send().is(200).has("content-length", 0);
    }
}

#[test]
fn a_storage_failure_is_reported_before_the_first_byte() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    for (failure, status) in [(Failure::Internal, 500), (Failure::NotFound, 404)] {
        world.fail("Open", failure);
        get(&mut world, &id).send().is(status).lacks("etag");
    }
}

/// RFC 9110, 13.2.1: "A server MUST ignore all received preconditions if its response to the same request without those
/// conditions, prior to processing the request content, would have been a status code other than a 2xx (Successful) or
/// 412".
#[test]
fn a_moved_file_is_gone_for_every_request() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    for (name, value) in [("x", ""), ("range", "bytes=6-"), ("range", "bytes=99-"), ("if-none-match", "*")] {
        world.fail("Open", Failure::Gone);
        get(&mut world, &id)
            .header(name, value)
            .send()
            .says(410, "the file was moved")
            .has("cache-control", "no-store");
    }
    let url = world.url(&id);
    world.fail("Open", Failure::Gone);
    world.request(Method::HEAD, &url).without("tus-resumable").send().is(410);
    world.head(&id).send().is(200).has("upload-offset", 11);
}

/// The application knows where the file is now.
#[test]
fn a_download_can_be_redirected() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    world.application.rejects = Box::new(|operation, _| operation == Operation::Download);
    world.application.rejection = Rejection::redirect("https://cdn.example/film.mp4".parse().unwrap());
    for method in [Method::GET, Method::HEAD] {
        let url = world.url(&id);
        let answer = world.request(method, &url).without("tus-resumable").send().is(307);
        answer.has("location", "https://cdn.example/film.mp4").has("cache-control", "no-store");
    }
}

/// RFC 9110, 9.3.2: "The server SHOULD send the same header fields in response to a HEAD request as it would have sent if
/// the request method had been GET."
#[test]
fn head_without_tus_resumable_is_answered_as_get_would_be() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    let url = world.url(&id);
    let unfinished = world.upload(b"hel", 5);
    let head = |world: &mut World, url: &str| world.request(Method::HEAD, url).without("tus-resumable").send();
    let got = get(&mut world, &id).send().is(200);
    let answer = head(&mut world, &url).is(200);
    assert!(answer.text().is_empty());
    for name in ["content-length", "content-type", "etag", "content-disposition", "accept-ranges"] {
        assert_eq!(answer.header(name), got.header(name), "{name}");
    }
    let tag = got.header("etag").unwrap().to_owned();
    let request = world.request(Method::HEAD, &url).without("tus-resumable");
    request.header("if-none-match", &tag).send().is(304);
    // RFC 9110, 14.2: "GET is the only method for which range handling is defined."
    let request = world.request(Method::HEAD, &url).without("tus-resumable");
    request.header("range", "bytes=0-1").send().is(200).has("content-length", 11);
    let url = world.url(&unfinished);
    head(&mut world, &url).is(404);
    world.application.rejects = Box::new(|operation, _| operation == Operation::Download);
    head(&mut world, &url).is(403);
    // If there is nothing to download, it is a request of tus.
    let mut world = World::new();
    let id = world.upload(b"hello", 5);
    let url = world.url(&id);
    head(&mut world, &url).is(412);
}

#[test]
fn download_requires_authorization() {
    let mut world = world();
    let id = finished(&mut world, "filename eA==");
    world.application.rejects = Box::new(|operation, _| operation == Operation::Download);
    get(&mut world, &id).send().is(403);
    get(&mut world, &UploadId::from_random(99)).send().is(403);
    world.head(&id).send().is(200);
}
