//! What follows when all bytes have been received: how the application is notified and what it answers, what is
//! recorded, and what is repeated after a failure.

use std::time::Duration;

use super::world::World;
use crate::{Config, Failure, Phase, Rejection};

#[test]
fn the_phase_of_a_complete_upload_names_the_remaining_work() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    assert_eq!(world.record(&id).phase, Phase::Receiving);
    world.fail("Notify", Failure::Internal);
    world.patch(&id).offset(3).body(b"lo").send().is(204).has("upload-offset", 5);
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Complete Finish Notify Respond");
    assert_eq!((world.record(&id).phase, world.notified.len()), (Phase::Complete, 0));
    // A server notifies the application again.
    assert!(world.recover(&id));
    assert_eq!(world.path(), "Finish Notify Record");
    assert_eq!((world.record(&id).phase, &world.notified), (Phase::Notified, &vec![id.clone()]));
    assert!(!world.recover(&id));
}

/// At least once: a notification that is not recorded is repeated.
#[test]
fn the_application_is_notified_again_if_recording_fails() {
    let mut world = World::new();
    world.fail("Record", Failure::Full);
    let id = world.post().length(5).body(b"hello").send().is(201).id();
    assert_eq!((world.record(&id).phase, &world.notified), (Phase::Complete, &vec![id.clone()]));
    assert!(world.recover(&id));
    assert_eq!((world.record(&id).phase, &world.notified), (Phase::Notified, &vec![id.clone(), id.clone()]));
}

#[test]
fn a_record_changed_during_notification_is_not_overwritten() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    let (key, later) = (id.clone(), Some(world.now + Duration::from_secs(60)));
    world.meanwhile("Record", move |uploads| uploads.edit(&key, |upload, _| upload.expires = later));
    world.patch(&id).offset(3).body(b"lo").send().is(204).has("upload-offset", 5);
    assert_eq!(world.notified, std::slice::from_ref(&id));
    assert_eq!((world.record(&id).phase, world.record(&id).expires), (Phase::Complete, later));
}

#[test]
fn an_upload_completed_by_another_process_is_complete() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    world.fail("Finish", Failure::Busy);
    world.patch(&id).offset(3).body(b"lo").send().is(204).has("upload-offset", 5);
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Complete Finish Respond");
    assert!(world.notified.is_empty() && world.record(&id).is_due());
}

#[test]
fn without_notification_nothing_follows_the_last_byte() {
    let mut world = World::with(Config::default().notify(false));
    let id = world.upload(b"hel", 5);
    world.patch(&id).offset(3).body(b"lo").send().is(204);
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Respond");
    assert_eq!(world.record(&id).phase, Phase::Notified);
    let empty = world.post().length(0).send().id();
    assert_eq!(world.path(), "Authorize Create Store Respond");
    assert_eq!(world.record(&empty).phase, Phase::Notified);
    let part = world.partial(b"hello", 5);
    assert_eq!(world.record(&part).phase, Phase::Complete);
    let concatenated = world.concatenate(&[&part, &part]);
    assert_eq!(world.path(), "Authorize LoadParts Authorize CountPending Create Store Complete Assemble Respond");
    assert_eq!((world.record(&concatenated).phase, world.bytes(&concatenated)), (Phase::Notified, &b"hellohello"[..]));
    assert!(world.finishing.is_empty() && world.notified.is_empty());
    assert!(!world.recover(&concatenated));
}

/// The storage was assembling it when the server was killed.
#[test]
fn a_starting_server_assembles_what_a_killed_one_left() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    world.uploads.edit(&id, |upload, bytes| {
        bytes.extend(b"lo");
        (upload.offset, upload.phase) = (5, Phase::Assembling);
    });
    world.fail("Assemble", Failure::Internal);
    assert!(world.recover(&id));
    assert_eq!((world.path().as_str(), world.record(&id).phase), ("Assemble", Phase::Assembling));
    assert!(world.recover(&id));
    assert_eq!(world.path(), "Assemble Finish Notify Record");
    assert_eq!((world.record(&id).phase, world.bytes(&id)), (Phase::Notified, &b"hello"[..]));
    assert_eq!(world.notified, [id]);
}

/// The application is not asked about parts.
#[test]
fn a_part_that_has_to_be_assembled_completes_its_final_upload() {
    for by_request in [true, false] {
        let mut world = World::new();
        let part = world.partial(b"hel", 5);
        let waiting = world.concatenate(&[&part]);
        world.uploads.edit(&part, |upload, bytes| {
            bytes.extend(b"lo");
            (upload.offset, upload.phase) = (5, Phase::Assembling);
        });
        match by_request {
            true => {
                world.patch(&part).offset(5).body(b"").send().is(204).has("upload-offset", 5);
                assert_eq!(world.path(), "Load Authorize Hold Receive Complete Assemble Wake Respond");
            }
            false => {
                assert!(world.recover(&part));
                assert_eq!(world.path(), "Assemble");
            }
        }
        assert_eq!(world.record(&part).phase, Phase::Complete);
        assert!(world.finishing.is_empty() && world.notified.is_empty());
        assert!(world.recover(&waiting));
        assert_eq!(world.bytes(&waiting), b"hello");
    }
}

#[test]
fn an_expired_upload_is_removed_unless_it_has_changed() {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let id = world.upload(b"hel", 5);
    assert!(!world.recover(&id));
    world.wait(Duration::from_secs(60));
    let key = id.clone();
    world.meanwhile("Remove", move |uploads| uploads.edit(&key, |upload, _| upload.expires = None));
    assert!(world.recover(&id));
    assert!(world.uploads.contains(&id), "another request continued it");
    let expired = world.now;
    world.uploads.edit(&id, |upload, _| upload.expires = Some(expired));
    assert!(world.recover(&id));
    assert!(world.uploads.is_empty());
}

/// Whoever completes the last part before the record of the final upload is there does not find it.
#[test]
fn a_final_upload_whose_last_part_became_complete_meanwhile_is_looked_after() {
    for step in ["CountPending", "Create", "Store"] {
        let mut world = World::new();
        let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
        let key = part.clone();
        world.meanwhile(step, move |uploads| {
            uploads.edit(&key, |upload, bytes| {
                (upload.offset, upload.phase) = (5, Phase::Complete);
                bytes.extend_from_slice(b"rld");
            });
        });
        let pending = world.concatenate(&[&complete, &part]);
        assert_eq!(world.log.woken, std::slice::from_ref(&pending), "{step}");
    }
}

#[test]
fn waiting_final_uploads_wake_on_their_last_part() {
    let mut world = World::new();
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    let pending = world.concatenate(&[&complete, &part]);
    assert!(!world.passed("Wake"));
    world.patch(&part).offset(2).body(b"r").send().is(204);
    assert!(!world.passed("Wake"));
    world.patch(&part).offset(3).body(b"ld").send().is(204);
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Wake Respond");
    assert_eq!(world.log.woken, std::slice::from_ref(&pending));
    assert!(world.recover(&pending));
    assert_eq!(world.path(), "LoadParts Assemble Finish Notify Record");
    // Nothing waits on a server without this extension.
    let config = Config::default().without(crate::TusExtension::ConcatenationUnfinished);
    world.config = config.into();
    world.partial(b"hello", 5);
    assert!(!world.passed("Wake"));
}

#[test]
fn the_application_may_veto_a_deletion() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    world.application.veto = Err(Rejection::new(http::StatusCode::CONFLICT, "it is being read"));
    let before = world.uploads.clone();
    world.delete(&id).send().says(409, "it is being read");
    assert_eq!(world.path(), "Load Authorize Hold Veto Respond");
    assert_eq!(world.uploads, before);
    // The application cannot keep an upload whose creation failed.
    world.post().length(3).stream(b"hello").send().is(413);
    assert_eq!(world.path(), "Authorize Create Store Receive Terminate Respond");
    assert_eq!(world.uploads, before);
    world.application.veto = Ok(());
    world.delete(&id).send().is(204);
    assert_eq!(world.path(), "Load Authorize Hold Veto Terminate Respond");
}
