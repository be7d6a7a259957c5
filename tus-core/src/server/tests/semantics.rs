//! Behaviour beyond the specification: the order of steps, completion, lost responses, and recovery from a killed
//! server.

use super::{super::FinishReply, world::World};
use crate::{Config, Failure, Kind, Phase, Rejection, TusExtension};

#[test]
fn each_request_takes_its_documented_path() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    world.head(&id).send();
    assert_eq!(world.path(), "Load Authorize Hold Respond");
    world.patch(&id).offset(3).body(b"l").send();
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Respond");
    world.patch(&id).offset(4).body(b"o").send();
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Complete Finish Notify Record Respond");
    world.delete(&id).send();
    assert_eq!(world.path(), "Load Authorize Hold Veto Terminate Respond");
    world.post().length(5).send();
    assert_eq!(world.path(), "Authorize Create Store Respond");
    world.post().length(5).body(b"hello").send();
    assert_eq!(world.path(), "Authorize Create Store Receive Commit Complete Finish Notify Record Respond");
    let (a, b) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    world.concatenate(&[&a, &a]);
    assert_eq!(
        world.path(),
        "Authorize LoadParts Authorize CountPending Create Store Complete Assemble Finish Notify Record Respond"
    );
    let pending = world.concatenate(&[&a, &b]);
    assert_eq!(world.path(), "Authorize LoadParts Authorize Authorize CountPending Create Store LoadParts Respond");
    world.head(&pending).send();
    assert_eq!(world.path(), "Load Authorize LoadParts Respond");
}

/// The response to the last PATCH is lost, and the client asks again.
#[test]
fn an_empty_patch_at_the_end_is_204_and_notifies_once() {
    let mut world = World::new();
    let id = world.upload(b"hello", 5);
    assert_eq!(world.notified.len(), 1);
    for _ in 0..2 {
        world.patch(&id).offset(5).send().is(204).has("upload-offset", 5);
        assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
        world.patch(&id).offset(5).stream(b"").length(5).send().is(204);
        assert_eq!(world.notified.len(), 1);
    }
}

#[test]
fn an_unrecorded_notification_is_repeated() {
    let mut world = World::new();
    world.application.reply = Err(Rejection::new(http::StatusCode::BAD_GATEWAY, "not now"));
    let id = world.upload(b"", 5);
    world.patch(&id).offset(0).body(b"hello").send().says(502, "not now");
    assert_eq!(world.bytes(&id), b"hello");
    world.application.reply = Ok(FinishReply::default());
    world.patch(&id).offset(5).send().is(204).has("upload-offset", 5);
    assert_eq!(world.finishing, [id.clone(), id.clone()]);
    assert_eq!(world.notified, std::slice::from_ref(&id));
    world.patch(&id).offset(5).send().is(204);
    assert_eq!((world.finishing.len(), world.notified.len()), (2, 1));
}

#[test]
fn the_application_may_add_to_the_finishing_response() {
    let mut world = World::new();
    let headers = || [("x-file".parse().unwrap(), "42".parse().unwrap())].into_iter().collect();
    world.application.reply = Ok(FinishReply { headers: headers(), body: "{}".into(), ..FinishReply::default() });
    let id = world.upload(b"hel", 5);
    let answer = world.patch(&id).offset(3).body(b"lo").send().is(200);
    assert_eq!(answer.has("x-file", 42).has("upload-offset", 5).has("tus-resumable", "1.0.0").text(), "{}");
    let answer = world.post().length(5).body(b"hello").send().is(201);
    assert_eq!(answer.has("x-file", 42).has("upload-offset", 5).text(), "{}");
    world.application.reply = Ok(FinishReply { headers: headers(), ..FinishReply::default() });
    let id = world.upload(b"hel", 5);
    world.patch(&id).offset(3).body(b"l").send().is(204).lacks("x-file");
    world.patch(&id).offset(4).body(b"o").send().is(204).has("x-file", 42);
}

#[test]
fn a_starting_server_notifies_of_uploads_of_a_killed_one() {
    let mut world = World::new();
    let (complete, part) = (world.place(5, Some(5), None), world.partial(b"hello", 5));
    let (unfinished, deferred) = (world.upload(b"hel", 5), world.deferred(b"hel"));
    for nothing_left in [&part, &unfinished, &deferred] {
        assert!(!world.record(nothing_left).is_due());
        assert!(!world.recover(nothing_left));
    }
    assert!(world.record(&complete).is_due());
    assert!(world.recover(&complete));
    assert_eq!(world.path(), "Finish Notify Record");
    assert!(world.notified.contains(&complete));
    assert!(!world.record(&complete).is_due());
    assert!(!world.recover(&complete));
}

#[test]
fn a_starting_server_concatenates_what_a_killed_one_left() {
    let mut world = World::new();
    let (a, b) = (world.partial(b"hello", 5), world.partial(b" wo", 6));
    let id = world.concatenate(&[&a, &b]);
    assert!(world.record(&id).is_due());
    assert!(world.recover(&id));
    assert_eq!(world.path(), "LoadParts");
    world.patch(&b).offset(3).body(b"rld").send().is(204);
    world.fail("Assemble", Failure::Internal);
    assert!(world.recover(&id));
    assert!(world.record(&id).is_due(), "a final upload keeps waiting for its parts");
    assert!(world.notified.is_empty());
    assert!(world.recover(&id));
    assert_eq!(world.path(), "LoadParts Assemble Finish Notify Record");
    assert_eq!(world.bytes(&id), b"hello world");
    assert!(world.notified.contains(&id));
    assert!(!world.recover(&id));
    // Concatenated, and killed before the application was notified.
    world.uploads.edit(&id, |upload, _| upload.phase = Phase::Complete);
    assert!(world.recover(&id));
    assert_eq!(world.path(), "Finish Notify Record");
}

#[test]
fn missing_or_oversized_parts_are_not_concatenated() {
    let mut world = World::with(Config::default().max_size(10));
    let (a, b) = (world.partial(b"hello", 5), world.partial(b"", 5));
    let gone = world.concatenate(&[&a, &b]);
    world.uploads.forget(&b);
    assert!(world.recover(&gone));
    assert_eq!(world.path(), "LoadParts Record");
    let unknown = world.post().header("upload-concat", "partial").header("upload-defer-length", "1").send().id();
    let outgrown = world.concatenate(&[&a, &unknown]);
    world.patch(&unknown).offset(0).length(6).body(b" world").send().is(204);
    assert!(world.recover(&outgrown));
    assert_eq!(world.path(), "LoadParts Record");
    assert_eq!(world.record(&outgrown).phase, Phase::Invalid);
}

#[test]
fn a_final_upload_is_made_of_partial_uploads_only() {
    let mut world = World::new();
    let (part, alone) = (world.partial(b"hello", 5), world.upload(b"hello", 5));
    let final_upload = world.concatenate(&[&part]);
    let uploads = world.uploads.len();
    for other in [alone, final_upload] {
        world.post().concat(&[&part, &other]).send().says(400, other.as_str());
    }
    assert_eq!(world.uploads.len(), uploads);
}

#[test]
fn a_final_upload_cannot_exceed_the_maximum_size() {
    let mut world = World::with(Config::default().max_size(9));
    let part = world.partial(b"hello", 5);
    world.post().concat(&[&part, &part]).send().says(413, "9 bytes");
    let waiting = world.partial(b"", 5);
    world.post().concat(&[&part, &waiting]).send().says(413, "9 bytes");
    assert_eq!(world.uploads.len(), 2);
    let rest = world.partial(b"four", 4);
    let fits = world.concatenate(&[&part, &rest]);
    assert_eq!(world.bytes(&fits), b"hellofour");
}

#[test]
fn an_id_in_use_is_409_and_its_upload_is_unchanged() {
    let mut world = World::new();
    world.choose_id("mine");
    let id = world.upload(b"hello", 11);
    world.post().length(5).body(b"other").send().is(409);
    assert_eq!(world.bytes(&id), b"hello");
    assert_eq!(world.record(&id).length, Some(11));
}

#[test]
fn the_application_sees_what_the_client_asked_for() {
    let mut world = World::new();
    world.application.shape = Box::new(|new| {
        assert_eq!((new.length(), new.kind()), (Some(5), &Kind::Partial));
        assert_eq!(new.metadata.text("name"), Some("a"));
        Err(Rejection::forbidden("seen"))
    });
    let post = world.post().length(5).header("upload-concat", "partial").header("upload-metadata", "name YQ==");
    post.send().says(403, "seen");
}

#[test]
fn an_upload_keeps_its_own_maximum_when_the_configuration_changes() {
    let mut world = World::with(Config::default().max_size(6));
    let id = world.deferred(b"hello");
    world.config = Config::default().max_size(100).without(TusExtension::CreationDeferLength).into();
    world.patch(&id).offset(5).body(b" world").send().says(413, "6 bytes");
    world.config = Config::default().max_size(1).into();
    world.patch(&id).offset(5).length(6).body(b"!").send().is(204);
}
