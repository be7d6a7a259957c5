//! Which bytes of a body are kept, and when: checkpoints, interruptions, and commits that fail.

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
    assert_eq!(world.log.checkpoints, [8]);
    // The commit at the end completes the upload.
    world.patch(&id).offset(8).body(b"rld").send().is(204);
    assert_eq!(world.log.checkpoints, [8]);
    let deferred = world.deferred(b"");
    world.patch(&deferred).offset(0).length(8).body(b"hello wo").send().is(204);
    assert_eq!(world.log.checkpoints, [3, 6, 6]);
    world.post().length(8).stream(b"hello wo").send().is(201);
    assert_eq!(world.log.checkpoints, [3, 6, 6]);
}

#[test]
fn no_checkpoint_covers_bytes_that_a_checksum_covers() {
    let mut world = World::new();
    let id = world.upload(b"", 100);
    world.patch(&id).offset(0).body(b"hello").sha1_of(b"hello").send().is(204);
    assert_eq!(world.log.checkpoints, [0, 0]);
    world.patch(&id).offset(5).stream(b"hello").trailing_sha1_of(b"hello").send().is(204);
    assert_eq!(world.log.checkpoints, [5, 5]);
    world.post().length(100).body(b"hello").sha1_of(b"hello").send().is(201);
    assert_eq!(world.log.checkpoints, [0, 0]);
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
        assert!(world.notified.contains(&id));
        assert_eq!(world.record(&id).expires, None);
    }
}

#[test]
fn an_interruption_keeps_received_bytes() {
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
            assert_eq!(world.notified, [id]);
        }
    }
}

#[test]
fn an_interruption_discards_bytes_with_a_checksum() {
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
fn a_length_declared_with_an_interrupted_body_is_kept() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    let patch = world.patch(&id).offset(5).length(11).stream(b" wo").interrupted(Interruption::Disconnected);
    patch.send().is(503);
    world.head(&id).send().has("upload-offset", 8).has("upload-length", 11);
}

/// Nothing is missing: client and application see a complete upload.
#[test]
fn a_body_interrupted_after_its_last_byte_completes_the_upload() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    let patch = world.patch(&id).offset(5).stream(b" world").interrupted(Interruption::Disconnected);
    patch.send().is(204).has("upload-offset", 11);
    assert_eq!(world.bytes(&id), b"hello world");
    assert_eq!(world.notified, [id]);
}

#[test]
fn a_storage_failure_within_a_body_keeps_accepted_bytes() {
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
fn a_failed_checkpoint_ends_the_body() {
    let mut world = World::new();
    world.commits_checkpoints = true;
    let id = world.upload(b"", 100);
    let key = id.clone();
    // A lock was lost, and another process continues the upload.
    world.meanwhile("Receive", move |uploads| uploads.edit(&key, |upload, _| upload.offset = 1));
    world.patch(&id).offset(0).body(b"hello world").send().is(423);
    assert_eq!(world.log.checkpoints, [3]);
    assert_eq!(world.bytes(&id), b"");
}

#[test]
fn a_commit_fails_if_the_offset_changed_since_the_body_began() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let key = id.clone();
    world.meanwhile("Commit", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            upload.offset = 6;
            bytes.push(b'!');
        });
    });
    world.patch(&id).offset(5).body(b" world").send().says(423, "the upload has changed");
    assert_eq!(world.bytes(&id), b"hello!");
    assert!(world.notified.is_empty());
}

/// A client that doesn't learn the URL of a new upload can neither resume nor delete it.
#[test]
fn a_failed_commit_of_a_creation_leaves_nothing_behind() {
    for (failure, status) in [(Failure::Full, 507), (Failure::Internal, 500), (Failure::Busy, 423)] {
        let mut world = World::new();
        world.fail("Commit", failure);
        world.post().length(11).body(b"hello").send().is(status).lacks("location");
        assert!(world.uploads.is_empty(), "the upload exists, and no client knows it");
    }
}

#[test]
fn a_failed_creation_leaves_nothing_behind() {
    let mut world = World::new();
    world.post().length(3).stream(b"hello").send().is(413).lacks("location");
    world.post().length(9).body(b"hello").sha1_of(b"other").send().is(460).lacks("location");
    world.post().length(9).stream(b"hello").header("trailer", "upload-checksum").send().is(400).lacks("location");
    assert!(world.uploads.is_empty());
    world.commits_checkpoints = true;
    world.post().length(6).stream(b"hello world").send().is(413);
    assert!(world.uploads.is_empty() && world.notified.is_empty());
    // If even that fails, the client still learns what was wrong with its request.
    world.fail("Terminate", Failure::Internal);
    world.post().length(3).stream(b"hello").send().is(413);
}

#[test]
fn a_failed_concatenation_leaves_no_final_upload_behind() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let before = world.uploads.clone();
    world.fail("Assemble", Failure::Full);
    world.post().concat(&[&part]).send().is(507).lacks("location");
    assert_eq!(world.uploads, before);
    assert!(world.notified.is_empty());
}

#[test]
fn a_creation_rejected_before_finish_reports_the_location() {
    let mut world = World::new();
    world.application.reply = Err(crate::Rejection::new(http::StatusCode::UNPROCESSABLE_ENTITY, "not like this"));
    let refused = world.post().length(5).body(b"hello").send().is(422);
    assert!(refused.header("location").is_some());
    assert_eq!(world.uploads.len(), 1);
}

/// Another process completes the due upload first: what it has concatenated must not be deleted.
#[test]
fn a_concatenation_done_by_another_process_succeeds() {
    for failure in [Failure::Conflict, Failure::Busy] {
        let mut world = World::new();
        let part = world.partial(b"hello", 5);
        world.fail("Assemble", failure);
        let created = world.post().concat(&[&part]).send().is(201);
        assert!(created.header("location").is_some());
        assert!(!world.passed("Terminate"));
        assert_eq!(world.uploads.len(), 2);
    }
}

#[test]
fn older_requests_leave_for_an_authorized_one() {
    let mut world = World::new();
    let (id, complete) = (world.upload(b"hel", 5), world.upload(b"hello", 5));
    world.head(&id).send().is(200);
    assert_eq!((world.path().as_str(), &world.log.held[..]), ("Load Authorize Hold Respond", &[Access::Read][..]));
    world.patch(&id).offset(3).send().is(204);
    assert_eq!(world.log.held, [Access::Write]);
    // No request adds to a complete upload, so there is none to wait for.
    world.head(&complete).send().is(200);
    assert_eq!(world.path(), "Load Authorize Respond");
    world.delete(&id).send().is(204);
    assert_eq!(world.log.held, [Access::Write]);
}

#[test]
fn a_request_resumes_where_the_older_one_left() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    let commit_of_the_older = |id: &crate::UploadId| {
        let id = id.clone();
        move |uploads: &mut crate::testing::Uploads| {
            uploads.edit(&id, |upload, bytes| {
                bytes.push(b'l');
                upload.offset = 4;
            });
        }
    };
    world.meanwhile("Hold", commit_of_the_older(&id));
    world.head(&id).send().is(200).has("upload-offset", 4);
    let id = world.upload(b"hel", 5);
    world.meanwhile("Hold", commit_of_the_older(&id));
    world.patch(&id).offset(3).body(b"lo").send().says(409, "upload's offset is 4");
    world.patch(&id).offset(4).body(b"o").send().is(204);
    assert_eq!(world.bytes(&id), b"hello");
}
