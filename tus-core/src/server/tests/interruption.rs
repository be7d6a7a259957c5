//! What counts of a body, and when: checkpoints, interruptions, and commits that fail.

use super::{
    super::{Access, Interruption},
    world::World,
};
use crate::{Config, Failure};

const INTERRUPTIONS: [Interruption; 5] = [
    Interruption::Disconnected,
    Interruption::TimedOut,
    Interruption::Superseded,
    Interruption::ShuttingDown,
    Interruption::Failed { failure: Failure::Internal, stored: 5 },
];

#[test]
fn a_checkpoint_covers_all_bytes_so_far_but_never_the_last_one() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    world.patch(&id).offset(5).body(b" wo").send().is(204);
    assert_eq!(world.checkpoints, [Some(8)]);
    // The commit at the end makes the upload whole.
    world.patch(&id).offset(8).body(b"rld").send().is(204);
    assert_eq!(world.checkpoints, [None]);
    let deferred = world.deferred(b"");
    world.patch(&deferred).offset(0).length(8).body(b"hello wo").send().is(204);
    assert_eq!(world.checkpoints, [Some(3), Some(6), None]);
    world.post().length(8).stream(b"hello wo").send().is(201);
    assert_eq!(world.checkpoints, [Some(3), Some(6), None]);
}

#[test]
fn there_is_no_checkpoint_in_a_body_that_a_checksum_covers() {
    let mut world = World::new();
    let id = world.upload(b"", 100);
    world.patch(&id).offset(0).body(b"hello").sha1_of(b"hello").send().is(204);
    assert_eq!(world.checkpoints, [None, None]);
    world.patch(&id).offset(5).stream(b"hello").trailing_sha1_of(b"hello").send().is(204);
    assert_eq!(world.checkpoints, [None, None]);
    world.post().length(100).body(b"hello").sha1_of(b"hello").send().is(201);
    assert_eq!(world.checkpoints, [None, None]);
}

#[test]
fn checkpoints_and_the_commit_at_the_end_add_up() {
    let mut world = World::with(Config::default().expire_after(std::time::Duration::from_secs(60)));
    world.commits_checkpoints = true;
    let id = world.upload(b"", 22);
    world.patch(&id).offset(0).body(b"hello world").send().is(204).has("upload-offset", 11);
    assert_eq!(world.bytes(&id), b"hello world");
    let deferred = world.deferred(b"");
    world.patch(&deferred).offset(0).length(11).stream(b"hello world").send().is(204);
    let created = world.post().length(11).body(b"hello world").send().has("upload-offset", 11).id();
    for id in [deferred, created] {
        assert_eq!(world.bytes(&id), b"hello world");
        assert!(world.finished.contains(&id));
        assert_eq!(world.record(&id).expires, None);
    }
}

#[test]
fn an_interruption_keeps_what_was_received() {
    for why in INTERRUPTIONS {
        for commits_checkpoints in [false, true] {
            let mut world = World::new();
            world.commits_checkpoints = commits_checkpoints;
            let id = world.upload(b"hello", 11);
            let answer = world.patch(&id).offset(5).body(b" worl").header("content-length", "6").interrupted(why);
            assert!(answer.send().status() >= 400);
            assert_eq!(world.bytes(&id), b"hello worl");
            world.head(&id).send().has("upload-offset", 10);
            world.patch(&id).offset(10).body(b"d").send().is(204);
            assert_eq!(world.finished, [id]);
        }
    }
}

#[test]
fn an_interruption_keeps_nothing_that_a_checksum_covers() {
    for why in INTERRUPTIONS {
        let mut world = World::new();
        let id = world.upload(b"hello", 11);
        let before = world.uploads.clone();
        assert!(world.patch(&id).offset(5).body(b" worl").sha1_of(b" world").interrupted(why).send().status() >= 400);
        let trailing = world.patch(&id).offset(5).stream(b" worl").header("trailer", "upload-checksum");
        assert!(trailing.interrupted(why).send().status() >= 400);
        assert_eq!(world.uploads, before);
        let created = world.post().length(11).body(b" worl").sha1_of(b" world").interrupted(why).send();
        let id = created.is(201).has("upload-offset", 0).id();
        assert_eq!(world.bytes(&id), b"");
    }
}

#[test]
fn a_length_that_came_with_an_interrupted_body_is_known() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    let patch = world.patch(&id).offset(5).length(11).stream(b" wo").interrupted(Interruption::Disconnected);
    patch.send().is(400);
    world.head(&id).send().has("upload-offset", 8).has("upload-length", 11);
}

/// Nothing is missing: client and application hear of a whole upload.
#[test]
fn a_body_that_breaks_off_after_its_last_byte_makes_the_upload_whole() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    let patch = world.patch(&id).offset(5).stream(b" world").interrupted(Interruption::Disconnected);
    patch.send().is(204).has("upload-offset", 11);
    assert_eq!(world.bytes(&id), b"hello world");
    assert_eq!(world.finished, [id]);
}

#[test]
fn a_storage_that_fails_within_a_body_keeps_what_it_took() {
    for (failure, status) in [(Failure::Full, 507), (Failure::Internal, 500), (Failure::Busy, 423)] {
        for stored in 0..=6 {
            let mut world = World::new();
            let id = world.upload(b"hello", 11);
            let why = Interruption::Failed { failure, stored };
            world.patch(&id).offset(5).stream(b" world").interrupted(why).send().is(if stored == 6 {
                204
            } else {
                status
            });
            assert_eq!(world.bytes(&id), &b"hello world"[..5 + stored as usize]);
            assert_eq!(world.record(&id).offset, 5 + stored);
        }
        let mut world = World::new();
        let id = world.upload(b"", 11);
        let too_much = Interruption::Failed { failure, stored: u64::MAX };
        world.patch(&id).offset(0).stream(b"hello").interrupted(too_much).send().is(status);
        assert_eq!(world.bytes(&id), b"hello");
    }
}

#[test]
fn a_checkpoint_that_fails_ends_the_body() {
    let mut world = World::new();
    world.commits_checkpoints = true;
    let id = world.upload(b"", 100);
    let key = id.clone();
    // A lock was lost, and somebody else goes on with the upload.
    world.meanwhile("Receive", move |uploads| uploads.get_mut(&key).unwrap().0.offset = 1);
    world.patch(&id).offset(0).body(b"hello world").send().is(409);
    assert_eq!(world.checkpoints, [Some(3)]);
    assert_eq!(world.bytes(&id), b"");
}

#[test]
fn a_commit_is_refused_where_the_offset_is_not_that_at_which_the_body_began() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let key = id.clone();
    world.meanwhile("Commit", move |uploads| {
        let (upload, bytes) = uploads.get_mut(&key).unwrap();
        upload.offset = 6;
        bytes.push(b'!');
    });
    world.patch(&id).offset(5).body(b" world").send().says(409, "changed meanwhile");
    assert_eq!(world.bytes(&id), b"hello!");
    assert!(world.finished.is_empty());
}

/// A client that doesn't learn the URL of a new upload cannot go on with it, nor delete it.
#[test]
fn a_commit_that_fails_within_a_creation_leaves_nothing_behind() {
    for (failure, status) in [(Failure::Full, 507), (Failure::Internal, 500), (Failure::Busy, 423)] {
        let mut world = World::new();
        world.fail("Commit", failure);
        world.post().length(11).body(b"hello").send().is(status).lacks("location");
        assert!(world.uploads.is_empty(), "the upload is there, and no client knows of it");
    }
}

#[test]
fn a_creation_that_comes_to_nothing_leaves_nothing_behind() {
    let mut world = World::new();
    world.post().length(3).stream(b"hello").send().is(413).lacks("location");
    world.post().length(9).body(b"hello").sha1_of(b"other").send().is(460).lacks("location");
    world.post().length(9).stream(b"hello").header("trailer", "upload-checksum").send().is(400).lacks("location");
    assert!(world.uploads.is_empty());
    world.commits_checkpoints = true;
    world.post().length(6).stream(b"hello world").send().is(413);
    assert!(world.uploads.is_empty() && world.finished.is_empty());
    // Where even that fails, the client is told what was wrong with its request.
    world.fail("Terminate", Failure::Internal);
    world.post().length(3).stream(b"hello").send().is(413);
}

#[test]
fn a_join_that_fails_leaves_no_final_upload_behind() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let before = world.uploads.clone();
    world.fail("Join", Failure::Full);
    world.post().concat(&[&part]).send().is(507).lacks("location");
    assert_eq!(world.uploads, before);
    assert!(world.finished.is_empty());
}

#[test]
fn a_creation_that_the_application_does_not_take_tells_where_the_upload_is() {
    let mut world = World::new();
    world.reply = Err(crate::Rejection::new(http::StatusCode::UNPROCESSABLE_ENTITY, "not like this"));
    let refused = world.post().length(5).body(b"hello").send().is(422);
    assert!(refused.header("location").is_some());
    assert_eq!(world.uploads.len(), 1);
}

/// Another process takes up what is due, and was faster: what it has joined must not be deleted.
#[test]
fn a_join_that_another_process_does_is_a_success() {
    for failure in [Failure::Conflict, Failure::Busy] {
        let mut world = World::new();
        let part = world.partial(b"hello", 5);
        world.fail("Join", failure);
        let created = world.post().concat(&[&part]).send().is(201);
        assert!(created.header("location").is_some());
        assert!(!world.passed("Terminate"));
        assert_eq!(world.uploads.len(), 2);
    }
}

#[test]
fn older_requests_leave_for_one_that_was_authorized() {
    let mut world = World::new();
    let (id, whole) = (world.upload(b"hel", 5), world.upload(b"hello", 5));
    world.head(&id).send().is(200);
    assert_eq!((world.path().as_str(), &world.held[..]), ("Load Authorize Hold Respond", &[Access::Read][..]));
    world.patch(&id).offset(3).send().is(204);
    assert_eq!(world.held, [Access::Write]);
    // Nobody adds to an upload that is whole: there is nobody to wait for.
    world.head(&whole).send().is(200);
    assert_eq!(world.path(), "Load Authorize Respond");
    world.delete(&id).send().is(204);
    assert_eq!(world.held, [Access::Write]);
}

#[test]
fn a_request_goes_on_from_where_the_older_one_left() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    let commit_of_the_older = |id: &crate::UploadId| {
        let id = id.clone();
        move |uploads: &mut super::world::Storage| {
            let (upload, bytes) = uploads.get_mut(&id).unwrap();
            bytes.push(b'l');
            upload.offset = 4;
        }
    };
    world.meanwhile("Hold", commit_of_the_older(&id));
    world.head(&id).send().is(200).has("upload-offset", 4);
    let id = world.upload(b"hel", 5);
    world.meanwhile("Hold", commit_of_the_older(&id));
    world.patch(&id).offset(3).body(b"lo").send().says(409, "stands at 4");
    world.patch(&id).offset(4).body(b"o").send().is(204);
    assert_eq!(world.bytes(&id), b"hello");
}
