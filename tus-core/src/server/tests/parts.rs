//! Final uploads whose parts have changed, and uploads that can never be complete.

use std::time::Duration;

use super::world::World;
use crate::{Config, Failure, Kind, Phase, UploadId};

/// A final upload that waits for a part whose id belongs to another upload by now.
fn with_a_part_replaced(later: impl FnOnce(&mut World) -> UploadId) -> (World, UploadId) {
    let mut world = World::new();
    world.choose_id("part");
    let part = world.partial(b"", 6);
    world.application.shape = Box::new(|_| Ok(()));
    let waiting = world.concatenate(&[&part]);
    world.delete(&part).send().is(204);
    world.choose_id("part");
    assert_eq!(later(&mut world), part);
    (world, waiting)
}

/// What was authorized is one incarnation of a part. A later upload with its id, a part or not, is somebody else's.
#[test]
fn a_final_upload_never_gets_the_bytes_of_a_later_upload_with_the_id_of_its_part() {
    for later in [|world: &mut World| world.upload(b"SECRET", 6), |world: &mut World| world.partial(b"SECRET", 6)] {
        let (mut world, waiting) = with_a_part_replaced(later);
        // Nor does a response show any of it.
        world.head(&waiting).send().is(200).lacks("upload-length").lacks("upload-offset");
        world.application.rejects = Box::new(|_, _| true);
        assert!(world.recover(&waiting));
        assert!(!world.passed("Assemble"), "{}", world.path());
        assert_eq!((world.bytes(&waiting), world.record(&waiting).phase), (&b""[..], Phase::Invalid));
    }
}

/// A missing part never comes back, and parts that exceed the limit do not shrink: nothing remains to be done.
#[test]
fn a_final_upload_that_can_never_be_complete_is_invalid_and_can_be_deleted() {
    let mut world = World::with(Config::default().max_size(6));
    let deferred = |world: &mut World| {
        world.post().header("upload-concat", "partial").header("upload-defer-length", "1").send().id()
    };
    let grown = deferred(&mut world);
    let too_large = world.concatenate(&[&grown, &grown]);
    world.patch(&grown).offset(0).length(4).body(b"abcd").send().is(204);
    let gone = deferred(&mut world);
    let without = world.concatenate(&[&gone]);
    world.delete(&gone).send().is(204);
    for id in [too_large, without] {
        assert!(world.recover(&id));
        assert_eq!(world.record(&id).phase, Phase::Invalid);
        assert!(!world.record(&id).is_due() && !world.recover(&id));
        world.head(&id).send().is(410);
        world.patch(&id).offset(0).send().is(410);
        world.delete(&id).send().is(204);
        assert!(!world.uploads.contains(&id));
    }
    let waiting = world.concatenate(&[&grown]);
    assert!(matches!(&world.record(&waiting).kind, Kind::Final(parts) if parts[0].id == grown));
}

/// tus 1.0.0, "PATCH": a reply may be lost; the same empty request gets it again, for a part, too.
#[test]
fn an_empty_patch_at_the_end_of_a_part_changes_nothing() {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let part = world.partial(b"hello", 5);
    let before = world.record(&part).clone();
    world.wait(Duration::from_secs(5));
    world.patch(&part).offset(5).send().is(204).has("upload-offset", 5);
    assert!(!world.passed("Commit"));
    assert_eq!(*world.record(&part), before);
}

/// The application may have chosen the id, or sent it to its client before the response.
#[test]
fn a_failed_creation_keeps_bytes_of_another_request() {
    let mut world = World::new();
    world.choose_id("known");
    let id: UploadId = "known".parse().unwrap();
    let key = id.clone();
    world.meanwhile("Commit", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            bytes.extend(b"abc");
            upload.offset = 3;
        });
    });
    world.post().length(10).stream(b"hello").send().is(423);
    assert_eq!(world.bytes(&id), b"abc");
    // Nobody knows an upload whose bytes could not be stored.
    world.choose_id("unknown");
    world.fail("Commit", Failure::Full);
    world.post().length(10).stream(b"hello").send().is(507);
    assert!(!world.uploads.contains(&"unknown".parse().unwrap()));
}

/// tus 1.0.0, "Upload-Expires": "This header MUST be included in every `PATCH` response if the upload is going to
/// expire."
#[test]
fn a_patch_rejected_while_waiting_has_upload_expires() {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let id = world.upload(b"hel", 5);
    world.fail("Hold", Failure::Busy);
    let refused = world.patch(&id).offset(3).body(b"lo").send().is(423);
    assert!(refused.header("upload-expires").is_some());
}

/// A server without hooks may serve the same store as one with them.
#[test]
fn a_server_without_hooks_leaves_notification_and_download_to_others() {
    let mut world = World::with(Config::default().download(crate::Download::attachment()));
    let id = world.upload(b"hel", 5);
    world.fail("Notify", Failure::Internal);
    world.patch(&id).offset(3).body(b"lo").send().is(204);
    assert_eq!(world.record(&id).phase, Phase::Complete);
    let with_hooks = world.config.clone();
    world.config = std::sync::Arc::new(Config::clone(&with_hooks).notify(false));
    assert!(world.recover(&id));
    world.patch(&id).offset(5).send().is(204);
    assert_eq!((world.record(&id).phase, world.notified.len()), (Phase::Complete, 0));
    let url = world.url(&id);
    // The application, which the other process asks, may still reject it.
    world.request(http::Method::GET, &url).send().is(404);
    world.config = with_hooks;
    assert!(world.recover(&id));
    assert_eq!((world.record(&id).phase, &world.notified[..]), (Phase::Notified, &[id][..]));
}

/// The known parts suffice.
#[test]
fn a_final_upload_that_exceeds_its_limit_does_not_wait_for_the_last_part() {
    let mut world = World::with(Config::default().max_size(6));
    let unknown = world.post().header("upload-concat", "partial").header("upload-defer-length", "1").send().id();
    let open = world.partial(b"", 3);
    let waiting = world.concatenate(&[&unknown, &unknown, &open]);
    world.patch(&unknown).offset(0).length(4).body(b"abcd").send().is(204);
    assert!(world.recover(&waiting));
    assert_eq!(world.record(&waiting).phase, Phase::Invalid);
    // Nor for one that can never be complete.
    let open = world.partial(b"", 3);
    let waiting = world.concatenate(&[&open]);
    world.uploads.edit(&open, |upload, _| upload.phase = Phase::Invalid);
    assert!(world.recover(&waiting));
    assert_eq!(world.record(&waiting).phase, Phase::Invalid);
}

/// A response contains no offset that is not the upload's.
#[test]
fn a_creation_that_lost_its_upload_does_not_report_its_offset() {
    for (failure, status) in [(Failure::Conflict, 423), (Failure::Busy, 201)] {
        let mut world = World::new();
        world.choose_id("known");
        world.meanwhile("Receive", |uploads| {
            uploads.edit(&"known".parse().unwrap(), |upload, bytes| {
                bytes.extend(b"abc");
                upload.offset = 3;
            });
        });
        let why = crate::server::Interruption::Failed { failure, stored: 0 };
        world.post().length(10).stream(b"hello").interrupted(why).send().is(status).lacks("upload-offset");
    }
}

/// The application decides about what was authorized: it cannot change the parts.
#[test]
fn the_application_does_not_change_what_the_client_asked_for() {
    let mut world = World::new();
    let (part, other) = (world.partial(b"hello", 5), world.partial(b"secret", 6));
    let foreign = Kind::Final(vec![world.record(&other).into()]);
    world.application.shape = Box::new(move |upload| {
        *upload = crate::NewUpload::new(foreign.clone(), Some(99));
        upload.owner = Some("anna".to_owned());
        Ok(())
    });
    let id = world.concatenate(&[&part]);
    assert_eq!((world.bytes(&id), world.record(&id).owner.as_deref()), (&b"hello"[..], Some("anna")));
    let id = world.post().length(5).send().is(201).id();
    assert_eq!((world.record(&id).kind.clone(), world.record(&id).length), (Kind::Single, Some(5)));
}

/// A client that missed the response names the parts again. After that they expire.
#[test]
fn the_parts_of_an_assembled_upload_expire_an_hour_later() {
    let hour = Duration::from_secs(3600);
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let made = world.concatenate(&[&part]);
    assert_eq!(world.record(&part).expires, Some(world.now + hour));
    world.concatenate(&[&part, &part]);
    world.wait(hour);
    assert!(world.recover(&part) && !world.uploads.contains(&part));
    assert_eq!(world.bytes(&made), b"hello");
    let mut world = World::with(Config::default().keep_parts(None));
    let part = world.partial(b"hello", 5);
    world.concatenate(&[&part]);
    assert_eq!(world.record(&part).expires, None);
}

#[test]
fn finished_uploads_are_removed_after_the_time_that_the_application_sets() {
    let day = Duration::from_secs(24 * 3600);
    for notifies in [true, false] {
        let mut world = World::with(Config::default().remove_finished_after(day).notify(notifies));
        let id = world.upload(b"hel", 5);
        world.fail("Notify", Failure::Internal);
        world.patch(&id).offset(3).body(b"lo").send().is(204).lacks("upload-expires");
        if notifies {
            // Not before the application has been notified.
            world.wait(10 * day);
            assert!(world.recover(&id) && world.uploads.contains(&id));
        }
        assert_eq!(world.record(&id).expires, Some(world.now + day));
        world.wait(day);
        assert!(world.recover(&id) && !world.uploads.contains(&id));
    }
    let mut world = World::new();
    let id = world.upload(b"hello", 5);
    assert_eq!(world.record(&id).expires, None);
}
