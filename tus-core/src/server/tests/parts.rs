//! What becomes of final uploads whose parts are not what they were, and of uploads that can never be complete.

use std::time::Duration;

use super::world::World;
use crate::{Config, Failure, Kind, Phase, UploadId};

/// A final upload that waits for a part, whose id is another upload's by now.
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
        // Nor is anything of it shown.
        world.head(&waiting).send().is(200).lacks("upload-length").lacks("upload-offset");
        world.application.rejects = Box::new(|_, _| true);
        assert!(world.recover(&waiting));
        assert!(!world.passed("Assemble"), "{}", world.path());
        assert_eq!((world.bytes(&waiting), world.record(&waiting).phase), (&b""[..], Phase::Invalid));
    }
}

/// A part that is gone never comes back, and one that outgrew the limit does not shrink: nothing is left to be done.
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

/// The application may have chosen the id, or told its client of it before the response.
#[test]
fn a_failed_creation_leaves_alone_what_another_request_has_added() {
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
    // Nobody knows one whose bytes could not be stored.
    world.choose_id("unknown");
    world.fail("Commit", Failure::Full);
    world.post().length(10).stream(b"hello").send().is(507);
    assert!(!world.uploads.contains(&"unknown".parse().unwrap()));
}

/// tus 1.0.0, "Upload-Expires": "This header MUST be included in every `PATCH` response if the upload is going to
/// expire."
#[test]
fn a_patch_that_is_refused_while_it_waits_says_when_the_upload_expires() {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let id = world.upload(b"hel", 5);
    world.fail("Hold", Failure::Busy);
    let refused = world.patch(&id).offset(3).body(b"lo").send().is(423);
    assert!(refused.header("upload-expires").is_some());
}

/// A server without hooks may serve the same store as one with them.
#[test]
fn a_server_with_nobody_to_notify_leaves_that_to_others_and_serves_the_file() {
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
    world.request(http::Method::GET, &url).send().is(200);
    world.config = with_hooks;
    assert!(world.recover(&id));
    assert_eq!((world.record(&id).phase, &world.notified[..]), (Phase::Notified, &[id][..]));
}
