//! tus 1.0.0, "Expiration".

use std::time::{Duration, SystemTime};

use super::{super::Interruption, world::World};
use crate::{Config, UploadId};

const HOUR: Duration = Duration::from_secs(3600);
const IN_AN_HOUR: &str = "Wed, 25 Jun 2014 16:00:00 GMT";

/// tus 1.0.0, "Expiration": "The Server MAY remove unfinished uploads once they expire. In order to indicate
/// this behavior to the Client, the Server MUST add `expiration` to the `Tus-Extension` header."
#[test]
fn expiration_is_announced_if_uploads_expire() {
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
/// Every response, including rejections, if the upload exists and the client may know it.
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
    // An empty request is no progress.
    world.wait(HOUR / 2);
    world.patch(&id).offset(6).body(b"").send().is(204);
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
    let without_expiry = world.upload(b"hel", 5);
    world.application.reply = Err(crate::Rejection::forbidden("not now"));
    world.patch(&without_expiry).offset(3).body(b"lo").send().is(403).lacks("upload-expires");
}

/// tus 1.0.0, "Upload-Expires": "If a Client does attempt to resume an upload which has since been removed by
/// the Server, the Server SHOULD respond with the`404 Not Found` or `410 Gone` status." "The latter one SHOULD
/// be used if the Server is keeping track of expired uploads."
#[test]
fn an_expired_upload_is_gone_and_a_removed_one_is_not_found() {
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
/// An HTTP date has no fraction of a second: it is rounded up, and the upload exists until then.
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

/// Progress of a part keeps its siblings and the final upload that waits for them.
#[test]
fn parts_in_progress_keep_their_siblings_and_their_final_upload() {
    let mut world = expiring();
    let (done, slow) = (world.partial(b"hello", 5), world.partial(b"", 100));
    let waiting = world.concatenate(&[&done, &slow]);
    let alone = world.partial(b"hello", 5);
    for minutes in 1..=5 {
        // A server sweeps shortly before anything expires.
        world.wait(HOUR - Duration::from_secs(30));
        world.patch(&slow).offset(minutes - 1).body(b"!").send().is(204);
        for id in [&done, &waiting] {
            assert!(world.recover(id) && world.passed("Keep"), "{}", world.path());
            assert_eq!(world.record(id).expires, world.record(&slow).expires);
        }
        for id in [&done, &slow, &waiting] {
            world.head(id).send().is(200);
        }
    }
    assert!(world.recover(&alone) && world.passed("Remove"), "nothing waits for it");
    // When nothing arrives any more, all of them expire.
    world.wait(HOUR);
    for id in [&done, &slow, &waiting] {
        assert!(world.recover(id) && world.passed("Remove"), "{}", world.path());
    }
    assert!(world.uploads.is_empty());
}

/// A server that was down for long assembles complete final uploads.
#[test]
fn a_final_upload_whose_parts_are_complete_is_assembled_and_not_removed() {
    let mut world = expiring();
    let part = world.partial(b"hel", 5);
    let waiting = world.concatenate(&[&part]);
    world.patch(&part).offset(3).body(b"lo").send().is(204);
    world.wait(HOUR * 100);
    assert!(!world.recover(&part), "it may be being assembled: {}", world.path());
    assert!(world.recover(&waiting));
    assert_eq!((world.bytes(&waiting), world.record(&waiting).is_complete()), (&b"hello"[..], true));
    // A final upload without its part can never be complete.
    let part = world.partial(b"hel", 5);
    let waiting = world.concatenate(&[&part]);
    world.uploads.forget(&part);
    world.wait(HOUR * 100);
    assert!(world.recover(&waiting) && world.passed("Remove"));
}

/// Only uploads in progress keep a part: not if the storage cannot be asked, and not a later upload.
#[test]
fn nothing_is_removed_if_related_uploads_cannot_be_loaded() {
    let mut world = expiring();
    let part = world.partial(b"hel", 5);
    let waiting = world.concatenate(&[&part]);
    world.wait(HOUR);
    for (step, id) in [("LoadFinals", &part), ("LoadParts", &part), ("LoadParts", &waiting)] {
        world.fail(step, crate::Failure::Internal);
        assert!(!world.recover(id) && world.uploads.contains(id));
    }
    assert!(world.recover(&part) && world.passed("Remove"));
}

/// Bytes with a checksum do not count before the end, but keep their upload from expiring.
#[test]
fn an_upload_does_not_expire_while_a_body_arrives() {
    use crate::server::{End, Mount, Step, begin};
    let mut world = expiring();
    let id = world.upload(b"", 100);
    let request = world.patch(&id).offset(0).sha1_of(&[0; 100]).body(&[0; 100]);
    let (head, config, now) = (request.into_head(), world.config.clone(), world.now);
    let mut step = begin(&config, &head, &Mount::at("/files"), now);
    let mut receive = loop {
        step = match step {
            Step::Load(load) => load.done(Ok(world.uploads.get(&id).cloned())),
            Step::Authorize(authorize) => authorize.done(Ok(())),
            Step::Hold(hold) => hold.done(Ok(world.uploads.get(&id).cloned())),
            Step::Receive(receive) => break receive,
            other => panic!("{other:?}"),
        };
    };
    let before = world.record(&id).expires.unwrap();
    assert_eq!(receive.checkpoint(now + HOUR / 4 * 3).expires, Some(before), "nothing has come");
    receive = receive.data(&[0; 50]).unwrap();
    assert_eq!(receive.checkpoint(now + HOUR / 4).expires, Some(before), "it has time");
    for quarter in 3..=20 {
        let now = now + HOUR / 4 * quarter;
        let change = receive.checkpoint(now);
        assert!(change.offset == 0 && change.expires.unwrap() > now + HOUR / 4, "{quarter}: {change:?}");
    }
    let _ = receive.end(End::Complete(None), now);
}
