//! tus 1.0.0, "Creation With Upload".

use super::{super::Interruption, world::World};
use crate::{Config, Location, TusExtension};

/// tus 1.0.0, "Creation With Upload": "If the Server supports this extension, it MUST advertise this by
/// including `creation-with-upload` in the `Tus-Extension` header." "Therefore, if the Server does not offer
/// the Creation extension, it MUST NOT offer the Creation With Upload extension either."
#[test]
fn creation_with_upload_is_announced_only_with_creation() {
    let announces = |config: Config| World::with(config).announces("creation-with-upload");
    assert!(announces(Config::default()));
    assert!(!announces(Config::default().without(TusExtension::CreationWithUpload)));
    assert!(!announces(Config::default().without(TusExtension::Creation)));
}

/// tus 1.0.0, "Creation With Upload", "Example": "A non-empty `POST` request is used to create a new upload
/// resource. The `Upload-Offset` header in the response indicates how much data has been accepted."
#[test]
fn the_example_of_creation_with_upload() {
    let below = Location::base("https://tus.example.org/files").unwrap();
    let mut world = World::with(Config::default().location(below));
    world.choose_id("24e533e02ec3bc40c387f1a0e460e216");
    let answer = world.post().length(100).body(b"hello").send().is(201);
    let url = "https://tus.example.org/files/24e533e02ec3bc40c387f1a0e460e216";
    let id = answer.has("location", url).has("tus-resumable", "1.0.0").has("upload-offset", 5).id();
    assert_eq!(world.path(), "Authorize Create Store Receive Commit Respond");
    assert_eq!(world.bytes(&id), b"hello");
    world.patch(&id).offset(5).body(b" world").send().is(204).has("upload-offset", 11);
}

/// tus 1.0.0, "Creation With Upload": "The Client MAY include either the entirety or a chunk of the upload
/// data in the body of the `POST` request." "The Server SHOULD accept as many bytes as possible and MUST
/// include the `Upload-Offset` header in the response and MUST set its value to the offset of the upload after
/// applying the accepted bytes."
#[test]
fn the_offset_includes_the_accepted_bytes() {
    let mut world = World::new();
    for bytes in [b"h".as_slice(), b"hel", b"hello"] {
        let id = world.post().length(5).body(bytes).send().is(201).has("upload-offset", bytes.len()).id();
        assert_eq!(world.bytes(&id), bytes);
        let id =
            world.post().header("upload-defer-length", "1").stream(bytes).send().has("upload-offset", bytes.len()).id();
        assert_eq!(world.bytes(&id), bytes);
    }
    let id = world.post().length(5).body(b"hello").send().id();
    assert_eq!(world.path(), "Authorize Create Store Receive Commit Complete Finish Notify Record Respond");
    assert_eq!(world.notified.last(), Some(&id));
    let nothing_yet = world.post().length(5).stream(b"").send().is(201);
    nothing_yet.has("upload-offset", 0);
}

/// tus 1.0.0, "Creation With Upload": "The Server SHOULD accept as many bytes as possible and MUST include the
/// `Upload-Offset` header in the response and MUST set its value to the offset of the upload after applying
/// the accepted bytes."
///
/// A client that learns the URL and the offset can resume; one that gets an error cannot.
#[test]
fn a_body_that_breaks_off_leaves_an_upload_that_can_be_resumed() {
    for why in [
        Interruption::Disconnected,
        Interruption::TimedOut,
        Interruption::Superseded,
        Interruption::ShuttingDown,
        Interruption::Failed { failure: crate::Failure::Full, stored: 5 },
    ] {
        let mut world = World::new();
        let answer = world.post().length(11).body(b"hello").header("content-length", "11").interrupted(why).send();
        let id = answer.is(201).has("upload-offset", 5).id();
        assert_eq!(world.bytes(&id), b"hello");
        world.patch(&id).offset(5).body(b" world").send().is(204);
        assert_eq!(world.notified, [id]);
    }
}

/// tus 1.0.0, "Creation With Upload": "In this case, similar rules as for the `PATCH` request and response
/// apply. The Client MUST include the `Content-Type: application/offset+octet-stream` header."
#[test]
fn a_body_of_another_media_type_is_415() {
    let mut world = World::new();
    for other in ["application/octet-stream", "text/plain", ""] {
        world.post().length(5).body(b"hello").header("content-type", other).send().says(415, "content-type");
    }
    world.post().length(5).body(b"hello").without("content-type").send().is(415);
    assert!(world.uploads.is_empty());
    // Without a body, the type does not matter.
    world.post().length(5).header("content-type", "text/plain").send().is(201).lacks("upload-offset");
    world.post().length(5).without("content-length").send().is(201).lacks("upload-offset");
}

/// tus 1.0.0, "Creation With Upload": "In this case, similar rules as for the `PATCH` request and response
/// apply."
///
/// A body that does not fit creates nothing, and one whose length is declared is not even read.
#[test]
fn a_body_beyond_the_end_of_the_upload_is_413_and_creates_nothing() {
    let mut world = World::with(Config::default().max_size(8));
    let declared = world.post().length(5).body(b"hello!").send();
    declared.says(413, "5 bytes");
    assert!(!world.passed("Store") && !world.passed("Receive"));
    let deferred = world.post().header("upload-defer-length", "1").body(b"too large").send();
    deferred.says(413, "8 bytes");
    assert!(!world.passed("Store") && !world.passed("Receive"));
    world.post().length(5).stream(b"hello!").send().says(413, "5 bytes").lacks("location");
    assert_eq!(world.path(), "Authorize Create Store Receive Terminate Respond");
    world.post().length(0).body(b"!").send().is(413);
    world.post().length(0).stream(b"!").send().is(413);
    assert!(world.uploads.is_empty() && world.notified.is_empty());
}

/// tus 1.0.0, "Creation With Upload": "In addition, the Client SHOULD include the `Expect: 100-continue` header
/// in the request to receive early feedback from the Server on whether it will accept the creation request,
/// before attempting to transfer the first chunk."
///
/// The server requests the body only after it has accepted the creation.
#[test]
fn a_refused_creation_does_not_request_the_body() {
    let mut world = World::with(Config::default().max_size(1000));
    world.post().length(1001).body(b"hello").send().is(413);
    assert!(!world.passed("Receive"));
    world.post().length(5).body(b"hello").header("upload-metadata", "a,a").send().is(400);
    assert!(!world.passed("Receive"));
    world.post().length(5).body(b"hello").header("upload-checksum", "sha0 AA==").send().is(400);
    assert!(!world.passed("Receive"));
    world.application.rejects = Box::new(|_, _| true);
    world.post().length(5).body(b"hello").send().is(403);
    assert!(!world.passed("Receive"));
}

/// tus 1.0.0, "Creation With Upload": "Therefore, if the Server does not offer the Creation extension, it MUST
/// NOT offer the Creation With Upload extension either."
#[test]
fn without_the_extension_a_body_is_refused() {
    let mut world = World::with(Config::default().without(TusExtension::CreationWithUpload));
    world.post().length(5).body(b"hello").send().says(400, "creation-with-upload");
    world.post().length(5).stream(b"hello").send().says(400, "creation-with-upload");
    assert!(world.uploads.is_empty());
    world.post().length(5).send().is(201);
}
