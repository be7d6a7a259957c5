//! tus 1.0.0, "Creation", "Upload-Defer-Length" and what "POST" says about it.

use super::world::World;
use crate::{Config, TusExtension};

/// tus 1.0.0, "POST": "If the Server supports deferring length, it MUST add `creation-defer-length` to the
/// `Tus-Extension` header."
#[test]
fn deferring_the_length_is_announced() {
    let announces = |config: Config| World::with(config).announces("creation-defer-length");
    assert!(announces(Config::default()));
    assert!(!announces(Config::default().without(TusExtension::CreationDeferLength)));
    assert!(!announces(Config::default().without(TusExtension::Creation)));
}

/// tus 1.0.0, "Upload-Defer-Length": "Its value MUST be `1`."
/// tus 1.0.0, "POST": "If the `Upload-Defer-Length` header contains any other value than `1` the server should
/// return a `400 Bad Request` status."
#[test]
fn any_value_other_than_1_is_400() {
    let mut world = World::new();
    for wrong in ["0", "2", "01", "1.0", "true", "", "-1", "1,1", "\u{661}"] {
        world.post().header("upload-defer-length", wrong).send().says(400, "upload-defer-length");
        world.post().length(5).header("upload-defer-length", wrong).send().says(400, "upload-defer-length");
    }
    world.post().header("upload-defer-length", "1").also("upload-defer-length", "1").send().is(400);
    assert!(world.uploads.is_empty());
}

/// tus 1.0.0, "Upload-Defer-Length": "If the length of an upload is not deferred, this header MUST be omitted."
#[test]
fn upload_defer_length_is_omitted_when_the_length_is_known() {
    let mut world = World::new();
    let declared_later = world.deferred(b"hel");
    world.patch(&declared_later).offset(3).length(5).send().is(204);
    for id in [world.upload(b"hel", 5), world.upload(b"", 0), world.partial(b"", 5), declared_later] {
        world.head(&id).send().is(200).lacks("upload-defer-length");
    }
    // The length of a final upload is that of its parts; its client cannot declare it later.
    let unknown = world.post().header("upload-defer-length", "1").header("upload-concat", "partial").send().id();
    let pending = world.concatenate(&[&unknown]);
    world.head(&pending).send().is(200).lacks("upload-defer-length").lacks("upload-length");
}

/// tus 1.0.0, "POST": "As long as the length of the upload is not known, the Server MUST set
/// `Upload-Defer-Length: 1` in all responses to `HEAD` requests."
#[test]
fn head_reports_a_deferred_length_until_it_is_declared() {
    let mut world = World::new();
    let id = world.deferred(b"");
    world.head(&id).send().has("upload-defer-length", 1).lacks("upload-length");
    world.patch(&id).offset(0).body(b"hello").send().is(204);
    world.head(&id).send().has("upload-defer-length", 1).lacks("upload-length").has("upload-offset", 5);
    world.patch(&id).offset(5).length(100).body(b" world").send().is(204);
    world.head(&id).send().lacks("upload-defer-length").has("upload-length", 100).has("upload-offset", 11);
}

/// tus 1.0.0, "POST": "If the length was deferred using `Upload-Defer-Length: 1`, the Client MUST set the
/// `Upload-Length` header in the next `PATCH` request, once the length is known."
#[test]
fn the_length_comes_with_any_patch_even_an_empty_one() {
    let mut world = World::new();
    let first = world.deferred(b"");
    world.patch(&first).offset(0).length(5).body(b"hello").send().is(204).has("upload-offset", 5);
    let last = world.deferred(b"hello");
    world.patch(&last).offset(5).length(5).send().is(204);
    let empty = world.deferred(b"");
    world.patch(&empty).offset(0).length(0).send().is(204);
    assert_eq!(world.notified, [first, last, empty]);
}

/// tus 1.0.0, "POST": "Once set the length MUST NOT be changed."
#[test]
fn a_length_cannot_be_changed() {
    let mut world = World::new();
    let deferred = world.deferred(b"");
    world.patch(&deferred).offset(0).length(5).body(b"hel").send().is(204);
    for id in [deferred, world.upload(b"hel", 5)] {
        for other in [0, 3, 4, 6] {
            world.patch(&id).offset(3).length(other).send().says(400, "upload-length");
            assert!(!world.passed("Receive"));
        }
        world.patch(&id).offset(3).header("upload-defer-length", "1").body(b"l").send().is(204);
        assert_eq!(world.record(&id).length, Some(5));
        world.patch(&id).offset(4).length(5).body(b"o").send().is(204);
    }
}

/// tus 1.0.0, "Upload-Length": "The `Upload-Length` request and response header indicates the size of the
/// entire upload in bytes."
#[test]
fn a_late_length_cannot_be_less_than_the_stored_bytes() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    world.patch(&id).offset(5).length(4).send().says(400, "upload-length");
    world.patch(&id).offset(5).length(6).body(b" world").send().is(413);
    world.patch(&id).offset(5).length(6).stream(b" world").send().is(413);
    assert_eq!(world.record(&id).length, None);
    assert_eq!(world.bytes(&id), b"hello");
    world.patch(&id).offset(5).length(5).send().is(204);
}

/// tus 1.0.0, "POST": "If the length of the upload exceeds the maximum, which MAY be specified using the
/// `Tus-Max-Size` header, the Server MUST respond with the `413 Request Entity Too Large` status."
#[test]
fn a_late_length_cannot_exceed_the_maximum() {
    let mut world = World::with(Config::default().max_size(6));
    let id = world.deferred(b"hello");
    world.patch(&id).offset(5).length(7).send().says(413, "6 bytes");
    world.patch(&id).offset(5).body(b" world").send().says(413, "6 bytes");
    assert!(!world.passed("Receive"));
    world.patch(&id).offset(5).stream(b" world").send().says(413, "6 bytes");
    assert_eq!((world.bytes(&id), world.record(&id).length), (b"hello".as_slice(), None));
    world.patch(&id).offset(5).body(b"!").send().is(204);
    assert!(world.notified.is_empty());
    world.patch(&id).offset(6).length(6).send().is(204);
    assert_eq!(world.notified, [id]);
}
