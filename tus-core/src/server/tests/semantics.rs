//! What this server does beyond the letter of the specification: the order of steps, completion, lost
//! replies, what a killed server left.

use super::{super::Reply, world::World};
use crate::{Config, Extension, Failure, Kind, Rejection};

#[test]
fn each_request_takes_its_documented_path() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    world.head(&id).send();
    assert_eq!(world.path(), "Load Authorize Hold Respond");
    world.patch(&id).offset(3).body(b"l").send();
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Respond");
    world.patch(&id).offset(4).body(b"o").send();
    assert_eq!(world.path(), "Load Authorize Hold Receive Commit Finish Respond");
    world.delete(&id).send();
    assert_eq!(world.path(), "Load Authorize Hold Terminate Respond");
    world.post().length(5).send();
    assert_eq!(world.path(), "Authorize Create Store Respond");
    world.post().length(5).body(b"hello").send();
    assert_eq!(world.path(), "Authorize Create Store Receive Commit Finish Respond");
    let (a, b) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    world.join(&[&a, &a]);
    assert_eq!(world.path(), "Authorize LoadPartials Authorize Create Store Join Finish Respond");
    let pending = world.join(&[&a, &b]);
    assert_eq!(world.path(), "Authorize LoadPartials Authorize Authorize Create Store Respond");
    world.head(&pending).send();
    assert_eq!(world.path(), "Load Authorize LoadPartials Respond");
}

/// The reply to the last PATCH got lost, and the client asks again.
#[test]
fn an_empty_patch_at_the_end_is_204_and_the_application_is_told_once() {
    let mut world = World::new();
    let id = world.upload(b"hello", 5);
    assert_eq!(world.finished.len(), 1);
    for _ in 0..2 {
        world.patch(&id).offset(5).send().is(204).has("upload-offset", 5);
        assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
        world.patch(&id).offset(5).stream(b"").length(5).send().is(204);
        assert_eq!(world.finished.len(), 1);
    }
}

#[test]
fn the_application_is_told_again_where_it_was_not_recorded() {
    let mut world = World::new();
    world.reply = Err(Rejection::new(http::StatusCode::BAD_GATEWAY, "not now"));
    let id = world.upload(b"", 5);
    world.patch(&id).offset(0).body(b"hello").send().says(502, "not now");
    assert_eq!(world.bytes(&id), b"hello");
    world.reply = Ok(Reply::default());
    world.patch(&id).offset(5).send().is(204).has("upload-offset", 5);
    assert_eq!(world.finished, [id.clone(), id.clone()]);
    world.patch(&id).offset(5).send().is(204);
    assert_eq!(world.finished.len(), 2);
}

#[test]
fn the_application_may_add_to_the_reply_of_the_request_that_finished_the_upload() {
    let mut world = World::new();
    let headers = || [("x-file".parse().unwrap(), "42".parse().unwrap())].into_iter().collect();
    world.reply = Ok(Reply { headers: headers(), body: "{}".into() });
    let id = world.upload(b"hel", 5);
    let answer = world.patch(&id).offset(3).body(b"lo").send().is(200);
    assert_eq!(answer.has("x-file", 42).has("upload-offset", 5).has("tus-resumable", "1.0.0").text(), "{}");
    let answer = world.post().length(5).body(b"hello").send().is(201);
    assert_eq!(answer.has("x-file", 42).has("upload-offset", 5).text(), "{}");
    world.reply = Ok(Reply { headers: headers(), body: "".into() });
    let id = world.upload(b"hel", 5);
    world.patch(&id).offset(3).body(b"l").send().is(204).lacks("x-file");
    world.patch(&id).offset(4).body(b"o").send().is(204).has("x-file", 42);
}

#[test]
fn a_server_that_starts_tells_of_what_a_killed_one_finished() {
    let mut world = World::new();
    let (whole, part) = (world.place(5, Some(5), None), world.partial(b"hello", 5));
    let (unfinished, deferred) = (world.upload(b"hel", 5), world.deferred(b"hel"));
    for nothing_left in [&part, &unfinished, &deferred] {
        assert!(!world.record(nothing_left).is_due());
        assert!(world.resume(nothing_left).is_none());
    }
    assert!(world.record(&whole).is_due());
    world.resume(&whole).unwrap();
    assert_eq!(world.path(), "Finish Respond");
    assert!(world.finished.contains(&whole));
    assert!(!world.record(&whole).is_due());
    assert!(world.resume(&whole).is_none());
}

#[test]
fn a_server_that_starts_joins_what_a_killed_one_left_apart() {
    let mut world = World::new();
    let (a, b) = (world.partial(b"hello", 5), world.partial(b" wo", 6));
    let id = world.join(&[&a, &b]);
    assert!(world.record(&id).is_due());
    world.resume(&id).unwrap();
    assert_eq!(world.path(), "LoadPartials Respond");
    world.patch(&b).offset(3).body(b"rld").send().is(204);
    world.fail("Join", Failure::Internal);
    world.resume(&id).unwrap();
    assert!(world.record(&id).is_due(), "a final upload that waited for its parts goes on waiting");
    assert!(world.finished.is_empty());
    world.resume(&id).unwrap();
    assert_eq!(world.path(), "LoadPartials Join Finish Respond");
    assert_eq!(world.bytes(&id), b"hello world");
    assert!(world.finished.contains(&id));
    assert!(world.resume(&id).is_none());
    // Joined, and killed before the application was told.
    world.uploads.get_mut(&id).unwrap().0.finished = false;
    world.resume(&id).unwrap();
    assert_eq!(world.path(), "Finish Respond");
}

#[test]
fn parts_that_are_gone_or_outgrew_the_maximum_are_not_joined() {
    let mut world = World::with(Config::default().max_size(10));
    let (a, b) = (world.partial(b"hello", 5), world.partial(b"", 5));
    let gone = world.join(&[&a, &b]);
    world.uploads.remove(&b);
    world.resume(&gone).unwrap();
    assert_eq!(world.path(), "LoadPartials Respond");
    let unknown = world.post().header("upload-concat", "partial").header("upload-defer-length", "1").send().id();
    let outgrown = world.join(&[&a, &unknown]);
    world.patch(&unknown).offset(0).length(6).body(b" world").send().is(204);
    world.resume(&outgrown).unwrap().is(413);
    assert!(!world.passed("Join") && world.uploads.contains_key(&outgrown));
}

#[test]
fn a_final_upload_is_made_of_partial_uploads_only() {
    let mut world = World::new();
    let (part, alone) = (world.partial(b"hello", 5), world.upload(b"hello", 5));
    let whole = world.join(&[&part]);
    let uploads = world.uploads.len();
    for other in [alone, whole] {
        world.post().concat(&[&part, &other]).send().says(400, other.as_str());
    }
    assert_eq!(world.uploads.len(), uploads);
}

#[test]
fn a_final_upload_is_held_to_the_maximum_size() {
    let mut world = World::with(Config::default().max_size(9));
    let part = world.partial(b"hello", 5);
    world.post().concat(&[&part, &part]).send().says(413, "9 bytes");
    let waiting = world.partial(b"", 5);
    world.post().concat(&[&part, &waiting]).send().says(413, "9 bytes");
    assert_eq!(world.uploads.len(), 2);
    let rest = world.partial(b"four", 4);
    let fits = world.join(&[&part, &rest]);
    assert_eq!(world.bytes(&fits), b"hellofour");
}

#[test]
fn an_id_that_is_taken_is_409_and_the_upload_that_has_it_stays() {
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
    world.shape = Box::new(|new| {
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
    world.config = Config::default().max_size(100).without(Extension::CreationDeferLength).into();
    world.patch(&id).offset(5).body(b" world").send().says(413, "6 bytes");
    world.config = Config::default().max_size(1).into();
    world.patch(&id).offset(5).length(6).body(b"!").send().is(204);
}
