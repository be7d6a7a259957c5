//! An id may be reused, but nothing that was authorized for one upload affects a later one with its id. Also:
//! requests for an upload that another process holds.

use super::{
    super::{Access, Interruption},
    world::World,
};
use crate::{Config, Failure, Incarnation, Kind, Phase, Upload, UploadId, testing::Uploads};

/// Another upload has the id now, with the same length and the same offset.
fn used_again(id: &UploadId) -> impl FnOnce(&mut Uploads) + use<> {
    let mut later = Upload::new(id.clone(), Incarnation::from_random(7), Kind::Single);
    (later.offset, later.length) = (5, Some(11));
    move |uploads| uploads.place(later, "other")
}

#[track_caller]
fn is_untouched(world: &World, id: &UploadId) {
    let mut expected = Uploads::default();
    used_again(id)(&mut expected);
    assert_eq!(world.record(id), &expected.get(id).unwrap().upload);
    assert_eq!(world.bytes(id), b"other");
}

#[test]
fn an_id_reused_before_the_upload_is_held_is_404() {
    let send = [
        |world: &mut World, id: &UploadId| world.head(id).send(),
        |world: &mut World, id: &UploadId| world.patch(id).offset(5).body(b" world").send(),
        |world: &mut World, id: &UploadId| world.delete(id).send(),
    ];
    for send in send {
        let mut world = World::new();
        let id = world.upload(b"hello", 11);
        world.meanwhile("Hold", used_again(&id));
        send(&mut world, &id).says(404, "no such upload").lacks("upload-offset");
        assert_eq!(world.path(), "Load Authorize Hold Respond");
        is_untouched(&world, &id);
    }
}

#[test]
fn an_id_reused_while_an_upload_is_held_gets_none_of_its_bytes() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    world.meanwhile("Commit", used_again(&id));
    world.patch(&id).offset(5).body(b" world").send().is(423);
    is_untouched(&world, &id);
    let id = world.upload(b"hello", 11);
    world.meanwhile("Terminate", used_again(&id));
    // The upload to delete is gone.
    world.delete(&id).send().is(204);
    is_untouched(&world, &id);
}

/// Bytes that another process has not committed don't exist yet. The storage decides whether it is taken over.
#[test]
fn an_upload_held_elsewhere_shows_its_committed_state() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    world.uploads.hold_elsewhere(&id, true);
    world.head(&id).send().is(200).has("upload-offset", 5);
    assert_eq!(world.log.held, [Access::Read]);
    let before = world.uploads.clone();
    let busy = Interruption::Failed { failure: Failure::Busy, stored: 0 };
    let patch = world.patch(&id).offset(5).body(b" world").interrupted(busy);
    patch.send().says(423, "in use").has("retry-after", 1);
    assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
    world.fail("Terminate", Failure::Busy);
    world.delete(&id).send().says(423, "in use").has("retry-after", 1);
    assert_eq!(world.path(), "Load Authorize Hold Veto Terminate Respond");
    assert_eq!(world.uploads, before);
    world.patch(&id).offset(5).body(b" wo").send().is(204).has("upload-offset", 8);
    world.delete(&id).send().is(204);
}

/// It would wait for the upload again only to report its expiry.
#[test]
fn a_request_that_did_not_get_the_upload_commits_nothing() {
    let mut world = World::with(Config::default().expire_after(std::time::Duration::from_secs(60)));
    let id = world.upload(b"hello", 11);
    let before = world.uploads.clone();
    let busy = Interruption::Failed { failure: Failure::Busy, stored: 0 };
    world.patch(&id).offset(5).body(b" world").interrupted(busy).send().is(423);
    assert!(!world.passed("Commit"));
    assert_eq!(world.uploads, before);
}

#[test]
fn an_invalid_upload_is_gone_and_can_be_deleted() {
    let mut world = World::new();
    let (id, part) = (world.upload(b"hello", 11), world.partial(b"hello", 5));
    for id in [&id, &part] {
        world.uploads.edit(id, |upload, _| upload.phase = Phase::Invalid);
    }
    let before = world.uploads.clone();
    world.head(&id).send().says(410, "never be completed").lacks("upload-offset");
    world.patch(&id).offset(5).body(b" world").send().says(410, "never be completed");
    world.post().concat(&[&part]).send().says(410, "never be completed");
    assert!(!world.recover(&id));
    assert_eq!(world.uploads, before);
    // An unauthorized client cannot distinguish it.
    world.application.rejects = Box::new(|_, _| true);
    world.head(&id).send().is(403);
    // It may become invalid while the request waits for an older one.
    world.application.rejects = Box::new(|_, _| false);
    let id = world.upload(b"hello", 11);
    let key = id.clone();
    world.meanwhile("Hold", move |uploads| uploads.edit(&key, |upload, _| upload.phase = Phase::Invalid));
    world.patch(&id).offset(5).body(b" world").send().is(410);
    world.application.rejects = Box::new(|_, _| false);
    world.delete(&id).send().is(204);
    assert!(!world.uploads.contains(&id));
}
