//! tus 1.0.0, "Expiration".

use std::time::{Duration, SystemTime};

use super::{super::Interruption, world::World};
use crate::{Config, UploadId};

const HOUR: Duration = Duration::from_secs(3600);
const IN_AN_HOUR: &str = "Wed, 25 Jun 2014 16:00:00 GMT";

/// tus 1.0.0, "Expiration": "The Server MAY remove unfinished uploads once they expire. In order to indicate
/// this behavior to the Client, the Server MUST add `expiration` to the `Tus-Extension` header."
#[test]
fn expiration_is_announced_where_uploads_expire() {
    assert!(expiring().announces("expiration"));
    assert!(!World::new().announces("expiration"));
}

/// tus 1.0.0, "Expiration", "Example": "The unfinished upload is available until the time specified in
/// `Upload-Expires`." "After this date the upload can not be resumed."
#[test]
fn the_example_of_expiration() {
    let mut world = expiring();
    let id = world.upload(&[1; 70], 200);
    let answer = world.patch(&id).offset(70).body(&[2; 30]).send().is(204);
    answer.has("upload-expires", IN_AN_HOUR).has("tus-resumable", "1.0.0").has("upload-offset", 100);
    world.wait(HOUR - Duration::from_secs(1));
    world.head(&id).send().is(200);
    world.wait(Duration::from_secs(1));
    world.patch(&id).offset(100).body(&[3; 30]).send().is(410);
}

/// tus 1.0.0, "Upload-Expires": "This header MUST be included in every `PATCH` response if the upload is going
/// to expire."
#[test]
fn patch_responses_have_upload_expires() {
    let mut world = expiring();
    for id in [world.upload(b"", 100), world.deferred(b""), world.partial(b"", 100)] {
        world.patch(&id).offset(0).body(b"hello").send().is(204).has("upload-expires", IN_AN_HOUR);
        world.patch(&id).offset(5).send().is(204).has("upload-expires", IN_AN_HOUR);
        world.head(&id).send().is(200).has("upload-expires", IN_AN_HOUR);
    }
}

/// tus 1.0.0, "Upload-Expires": "This header MUST be included in every `PATCH` response if the upload is going
/// to expire."
///
/// Every response, also a refusal, if the upload exists and the client may know it.
#[test]
fn a_refused_patch_has_upload_expires() {
    let mut world = expiring();
    let id = world.upload(b"hello", 11);
    let refusals = [
        world.patch(&id).offset(0).body(b"hello").send().is(409),
        world.patch(&id).offset(5).length(12).send().is(400),
        world.patch(&id).offset(5).body(b" world!").send().is(413),
        world.patch(&id).offset(5).stream(b" world!").send().is(413),
        world.patch(&id).offset(5).sha1_of(b"a").body(b" world").send().is(460),
        world.patch(&id).offset(5).stream(b"").interrupted(Interruption::Disconnected).send().is(503),
        world.patch(&id).offset(5).stream(b"").interrupted(Interruption::TimedOut).send().is(503),
        world.patch(&id).offset(5).stream(b"").interrupted(Interruption::Superseded).send().is(423),
    ];
    for refusal in refusals {
        refusal.has("upload-expires", IN_AN_HOUR);
    }
    // A client that may not add to the upload does not learn its expiration.
    world.application.rejects = Box::new(|_, _| true);
    world.patch(&id).offset(5).send().is(403).lacks("upload-expires");
}

/// tus 1.0.0, "Upload-Expires": "If the expiration is known at the creation, the `Upload-Expires` header MUST
/// be included in the response to the initial `POST` request."
#[test]
fn creation_responses_have_upload_expires() {
    let mut world = expiring();
    world.post().length(5).send().is(201).has("upload-expires", IN_AN_HOUR);
    world.post().header("upload-defer-length", "1").send().is(201).has("upload-expires", IN_AN_HOUR);
    world.post().length(5).header("upload-concat", "partial").send().is(201).has("upload-expires", IN_AN_HOUR);
    world.post().length(5).body(b"hel").send().is(201).has("upload-expires", IN_AN_HOUR);
    let broken = world.post().length(5).stream(b"hel").interrupted(Interruption::Disconnected).send();
    broken.is(201).has("upload-expires", IN_AN_HOUR);
    let part = world.partial(b"", 5);
    world.post().concat(&[&part]).send().is(201).has("upload-expires", IN_AN_HOUR);
}

/// tus 1.0.0, "Upload-Expires": "Its value MAY change over time."
#[test]
fn every_change_extends_the_expiration() {
    let mut world = expiring();
    let id = world.upload(b"", 100);
    world.wait(HOUR / 2);
    world.head(&id).send().has("upload-expires", IN_AN_HOUR);
    world.patch(&id).offset(0).body(b"hello").send().has("upload-expires", "Wed, 25 Jun 2014 16:30:00 GMT");
    world.wait(HOUR / 2);
    world.head(&id).send().is(200).has("upload-expires", "Wed, 25 Jun 2014 16:30:00 GMT");
    world.patch(&id).offset(5).stream(b"!").interrupted(Interruption::Disconnected).send().is(503);
    world.head(&id).send().has("upload-expires", "Wed, 25 Jun 2014 17:00:00 GMT");
}

/// tus 1.0.0, "Upload-Expires": "The `Upload-Expires` response header indicates the time after which the
/// unfinished upload expires."
///
/// A finished upload does not expire; a part expires unless requests keep changing it (R35).
#[test]
fn a_finished_upload_does_not_expire_and_a_part_does() {
    let mut world = expiring();
    let part = world.partial(b"hello", 5);
    world.head(&part).send().has("upload-expires", IN_AN_HOUR);
    let concatenated = world.concatenate(&[&part]);
    let complete = world.post().length(5).body(b"hello").send().is(201).lacks("upload-expires").id();
    let empty = world.post().length(0).send().is(201).lacks("upload-expires").id();
    let by_patch = world.upload(b"hel", 5);
    world.patch(&by_patch).offset(3).body(b"lo").send().is(204).lacks("upload-expires");
    world.wait(HOUR * 24);
    for id in [concatenated, complete, empty, by_patch] {
        world.head(&id).send().is(200).lacks("upload-expires");
    }
    world.head(&part).send().is(410);
    // Not even before the application has accepted it: a complete upload stays.
    let untold = world.upload(b"hel", 5);
    world.application.reply = Err(crate::Rejection::forbidden("not now"));
    world.patch(&untold).offset(3).body(b"lo").send().is(403).lacks("upload-expires");
}

/// tus 1.0.0, "Upload-Expires": "If a Client does attempt to resume an upload which has since been removed by
/// the Server, the Server SHOULD respond with the`404 Not Found` or `410 Gone` status." "The latter one SHOULD
/// be used if the Server is keeping track of expired uploads."
#[test]
fn an_expired_upload_is_gone_and_one_that_was_removed_is_not_found() {
    let mut world = expiring();
    let id = world.upload(b"hello", 100);
    world.wait(HOUR);
    world.head(&id).send().says(410, "expired").lacks("upload-offset");
    assert_eq!(world.path(), "Load Authorize Respond");
    world.patch(&id).offset(5).body(b"!").send().says(410, "expired");
    world.delete(&id).send().says(410, "expired");
    assert_eq!(world.bytes(&id), b"hello");
    world.uploads.forget(&id);
    world.head(&id).send().is(404);
    world.patch(&id).offset(5).body(b"!").send().is(404);
}

/// tus 1.0.0, "Expiration", "Example": "After this date the upload can not be resumed."
#[test]
fn an_expired_part_cannot_be_concatenated() {
    let mut world = expiring();
    let part = world.partial(b"hello", 5);
    world.wait(HOUR);
    world.post().concat(&[&part]).send().is(410);
    assert_eq!(world.uploads.len(), 1);
    let id = world.upload(b"hello", 100);
    let key = id.clone();
    let now = world.now;
    world.meanwhile("Hold", move |uploads| uploads.edit(&key, |upload, _| upload.expires = Some(now)));
    world.patch(&id).offset(5).body(b"!").send().is(410);
}

/// tus 1.0.0, "Upload-Expires": "The value of the `Upload-Expires` header MUST be in [RFC
/// 9110](https://www.rfc-editor.org/rfc/rfc9110.html#name-date-time-formats) datetime format."
///
/// Such a time has no fraction of a second: it is rounded up, and the upload exists until then.
#[test]
fn upload_expires_is_an_http_date_rounded_up() {
    let mut world = World::with(Config::default().expire_after(Duration::from_millis(1500)));
    world.now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_775_700);
    let answer = world.post().length(5).send();
    let id: UploadId = answer.has("upload-expires", "Sun, 06 Nov 1994 08:49:38 GMT").id();
    world.now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_999);
    world.head(&id).send().is(200);
    world.wait(Duration::from_millis(1));
    world.head(&id).send().is(410);
}

fn expiring() -> World {
    World::with(Config::default().expire_after(HOUR))
}
