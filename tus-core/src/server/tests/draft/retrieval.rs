//! "Offset Retrieval", "Server Behavior".

use super::*;
use crate::{Config, Download, Rejection, server::Access};

/// "A successful response to a HEAD or GET request against an upload resource MUST include the offset in the
/// Upload-Offset header field, MUST include the Upload-Complete header field [...], MUST include the representation's
/// length in the Upload-Length header field, unless the client has not supplied the representation's length [...], MUST
/// indicate the limits in the Upload-Limit header field, and SHOULD include the Cache-Control header field with the value
/// no-store".
#[test]
fn head_and_get_return_the_state() {
    for version in VERSIONS {
        let mut world = World::with(Config::default().max_size(1000));
        let (unknown, known) = (begun(&mut world, version, b"hel"), begun_of(&mut world, version, b"hel", 5));
        let complete = completed(&mut world, version, b"hello");
        for method in [Method::HEAD, Method::GET] {
            for (id, offset, length, is_complete) in
                [(&unknown, 3, None, false), (&known, 3, Some("5"), false), (&complete, 5, Some("5"), true)]
            {
                let path = world.url(id);
                let answer = request(&mut world, version, method.clone(), &path).send().is(204);
                let answer = answer.has("upload-offset", offset).complete(version, is_complete);
                let answer = answer.has("cache-control", "no-store").has("upload-limit", "max-size=1000");
                assert_eq!(answer.header("upload-length"), length);
                assert!(answer.lacks("tus-resumable").text().is_empty());
            }
        }
    }
}

/// "MUST include the Upload-Complete header field indicating whether a final response was produced from processing the
/// uploaded representation".
#[test]
fn an_upload_that_awaits_approval_is_incomplete() {
    let mut world = World::new();
    world.application.reply = Err(Rejection::new(http::StatusCode::SERVICE_UNAVAILABLE, "the scanner is down"));
    let id = begun(&mut world, DRAFT_12, b"hello");
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(503).complete(DRAFT_12, false);
    head(&mut world, DRAFT_12, &id).send().is(204).has("upload-offset", 5).complete(DRAFT_12, false);
    world.application.reply = Ok(Default::default());
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(201).complete(DRAFT_12, true);
    head(&mut world, DRAFT_12, &id).send().is(204).complete(DRAFT_12, true);
}

/// "indicating whether a final response was produced": what the application does after that, it does beside the response,
/// and however long it takes, nothing of it is waited for.
#[test]
fn an_upload_is_complete_while_the_application_is_notified() {
    for shapes in [false, true] {
        let mut world = World::with(Config::default().shapes_responses(shapes));
        let id = completed(&mut world, DRAFT_12, b"hello");
        // The state while the application is being notified, or has yet to be because its server was killed.
        world.uploads.edit(&id, |upload, _| upload.phase = crate::Phase::Complete);
        head(&mut world, DRAFT_12, &id).send().is(204).has("upload-offset", 5).complete(DRAFT_12, !shapes);
        // Another process is notifying.
        world.fail("Finish", crate::Failure::Busy);
        let again = patch(&mut world, DRAFT_12, &id, 5, true, b"").send();
        again.is(if shapes { 503 } else { 201 }).complete(DRAFT_12, !shapes);
    }
    // Not while a storage is sealing it.
    let mut world = World::with(Config::default().shapes_responses(false));
    let id = completed(&mut world, DRAFT_12, b"hello");
    world.uploads.edit(&id, |upload, _| upload.phase = crate::Phase::Assembling);
    head(&mut world, DRAFT_12, &id).send().complete(DRAFT_12, false);
}

/// "The server SHOULD NOT generate a response with the 301 (Moved Permanently), 302 (Found), or 303 (See Other) status
/// codes because clients might follow the redirect without preserving the HEAD method."
#[test]
fn redirects_of_the_application_keep_the_method() {
    for (status, instead) in [(301, 308), (302, 307), (303, 307), (307, 307), (308, 308)] {
        let mut world = World::new();
        let id = begun(&mut world, DRAFT_12, b"hello");
        let (deleted, key) = (id.clone(), id.clone());
        world.application.veto = Err(Rejection::new(http::StatusCode::from_u16(status).unwrap(), ""));
        delete(&mut world, DRAFT_12, &deleted).send().is(instead).complete(DRAFT_12, false);
        world.application.shape =
            Box::new(move |_| Err(Rejection::new(http::StatusCode::from_u16(status).unwrap(), "")));
        post(&mut world, DRAFT_12, true, b"hello").send().is(instead).complete(DRAFT_12, false);
        // The final response belongs to the target.
        world.application.reply = Err(Rejection::new(http::StatusCode::from_u16(status).unwrap(), ""));
        patch(&mut world, DRAFT_12, &key, 5, true, b"").send().is(status).complete(DRAFT_12, true);
    }
}

/// "Concurrency": "This means that the offset sent by the server MUST be accepted in a subsequent request to append
/// representation data if no other request to append representation data or cancel was received in the meantime."
#[test]
fn the_reported_offset_is_accepted() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hel");
    let key = id.clone();
    // An older request is still receiving: it commits what it has, and leaves.
    world.meanwhile("Hold", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            bytes.push(b'l');
            upload.offset = 4;
        });
    });
    head(&mut world, DRAFT_12, &id).send().is(204).has("upload-offset", 4);
    assert_eq!(world.log.held, [Access::Read]);
    patch(&mut world, DRAFT_12, &id, 4, true, b"o").send().is(201);
    assert_eq!(world.bytes(&id), b"hello");
}

#[test]
fn a_missing_upload_is_a_problem() {
    let mut world = World::with(Config::default().expire_after(std::time::Duration::from_secs(60)));
    let missing = UploadId::from_random(0);
    head(&mut world, DRAFT_12, &missing).send().is(404).complete(DRAFT_12, false).lacks("upload-offset").problem();
    assert_eq!(world.path(), "Load Authorize Respond");
    let id = begun(&mut world, DRAFT_12, b"hello");
    world.wait(std::time::Duration::from_secs(60));
    head(&mut world, DRAFT_12, &id).send().is(410).lacks("upload-offset").problem();
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(410).lacks("upload-offset");
}

/// "serving response content for a GET request is unexpected. Its meaning is not defined by this protocol." It is a
/// download, where downloads are on; the state comes along.
#[test]
fn a_finished_upload_is_downloaded_like_any_other() {
    let mut world = World::with(Config::default().download(Download::attachment()));
    let (id, unfinished) = (completed(&mut world, DRAFT_12, b"hello"), begun(&mut world, DRAFT_12, b"hel"));
    let path = world.url(&id);
    let plain = world.request(Method::GET, &path).without("tus-resumable").send().is(200);
    let plain = plain.has("upload-offset", 5).complete(10, true).lacks("tus-resumable");
    assert_eq!(plain.text(), "hello");
    let part = world.request(Method::GET, &path).without("tus-resumable").header("range", "bytes=1-2").send().is(206);
    assert_eq!(part.text(), "el");
    assert_eq!(
        world.request(Method::GET, &path).send().is(200).text(),
        "hello",
        "a client of tus may download it, too"
    );
    let head = world.request(Method::HEAD, &path).without("tus-resumable").send().is(204).complete(10, true);
    head.has("upload-offset", 5).has("cache-control", "no-store");
    // A client of the draft requests the offset.
    request(&mut world, DRAFT_12, Method::GET, &path).send().is(204).has("upload-offset", 5);
    let path = world.url(&unfinished);
    world.request(Method::GET, &path).without("tus-resumable").send().is(204).has("upload-offset", 3);
}
