//! tus 1.0.0, "Creation". `Upload-Metadata` is in `metadata`, `Upload-Defer-Length` in `defer_length`.

use super::world::World;
use crate::{Config, Failure, Location, MAX_LENGTH, Rejection, TusExtension};

/// tus 1.0.0, "Creation": "The Client and the Server SHOULD implement the upload creation extension." "If the
/// Server supports this extension, it MUST add `creation` to the `Tus-Extension` header."
#[test]
fn creation_is_announced() {
    let mut world = World::new();
    assert!(world.announces("creation"));
    world.post().length(100).send().is(201);
    assert_eq!(world.path(), "Authorize Create Store Respond");
}

/// tus 1.0.0, "Creation", "Example": "An empty `POST` request is used to create a new upload resource." "The
/// new resource has an implicit offset of `0` allowing the Client to use the core protocol for performing the
/// actual upload."
#[test]
fn the_example_of_creation() {
    let below = Location::base("https://tus.example.org/files").unwrap();
    let mut world = World::with(Config::default().location(below));
    world.choose_id("24e533e02ec3bc40c387f1a0e460e216");
    let metadata = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential";
    let answer = world.post().length(100).header("upload-metadata", metadata).send().is(201);
    let url = "https://tus.example.org/files/24e533e02ec3bc40c387f1a0e460e216";
    let id = answer.has("location", url).has("tus-resumable", "1.0.0").lacks("upload-offset").id();
    let record = world.record(&id);
    assert_eq!((record.offset, record.length), (0, Some(100)));
    assert_eq!(record.metadata.text("filename"), Some("world_domination_plan.pdf"));
    world.head(&id).send().has("upload-offset", 0).has("upload-length", 100).has("upload-metadata", metadata);
}

/// tus 1.0.0, "POST": "The request MUST include one of the following headers: a) `Upload-Length` to indicate
/// the size of an entire upload in bytes. b) `Upload-Defer-Length: 1` if upload size is not known at the time."
#[test]
fn creation_needs_a_length_or_defers_it() {
    let mut world = World::new();
    world.post().send().says(400, "upload-length");
    world.post().length(5).header("upload-defer-length", "1").send().says(400, "upload-defer-length");
    assert!(world.uploads.is_empty());
    world.post().length(5).send().is(201);
    world.post().header("upload-defer-length", "1").send().is(201);
    assert_eq!(world.uploads.len(), 2);
}

/// tus 1.0.0, "POST": "The `Upload-Length` header MAY be set to 0, indicating that the Client wants to upload
/// an empty file. Such an upload is immediately complete after its creation without transferring data using
/// `PATCH` requests."
#[test]
fn an_empty_upload_is_complete_at_once() {
    let mut world = World::new();
    let id = world.post().length(0).send().id();
    assert_eq!(world.path(), "Authorize Create Store Complete Finish Notify Record Respond");
    assert!(world.notified.contains(&id));
    world.head(&id).send().has("upload-offset", 0).has("upload-length", 0);
}

/// tus 1.0.0, "POST": "If the length of the upload exceeds the maximum, which MAY be specified using the
/// `Tus-Max-Size` header, the Server MUST respond with the `413 Request Entity Too Large` status."
#[test]
fn an_upload_beyond_the_maximum_is_413() {
    let mut world = World::with(Config::default().max_size(1000));
    for length in [1001, MAX_LENGTH] {
        world.post().length(length).send().says(413, "1000 bytes");
        assert!(!world.passed("Store"));
    }
    assert!(world.uploads.is_empty());
    world.post().length(1000).send().is(201);
}

/// An application that counts what it allows must learn what was not created after all.
#[test]
fn the_application_learns_of_failed_creations() {
    let mut world = World::with(Config::default().max_size(10));
    world.post().length(11).send().is(413);
    assert_eq!(world.path(), "Authorize Create Abandon Respond");
    world.fail("Store", Failure::Full);
    world.post().length(5).send().is(507);
    assert_eq!(world.path(), "Authorize Create Store Abandon Respond");
    world.choose_id("known");
    world.post().length(5).send().is(201);
    world.choose_id("known");
    world.post().length(5).send().is(409);
    assert_eq!(world.abandoned.len(), 3);
    let known = world.record(&"known".parse().unwrap()).incarnation;
    assert!(!world.abandoned.contains(&known), "the upload that is there is another one");
    // It knows what it rejected itself.
    world.application.shape = Box::new(|_| Err(Rejection::forbidden("no")));
    world.post().length(5).send().is(403);
    assert_eq!(world.abandoned.len(), 3);
}

/// tus 1.0.0, "POST": "If the length of the upload exceeds the maximum, which MAY be specified using the
/// `Tus-Max-Size` header, the Server MUST respond with the `413 Request Entity Too Large` status."
///
/// The application may set another maximum for this client (R34).
#[test]
fn the_application_may_raise_or_lower_the_maximum_of_an_upload() {
    let mut world = World::with(Config::default().max_size(1000));
    for (limit, fits) in [(Some(10), 10), (Some(5000), 5000), (None, MAX_LENGTH)] {
        world.application.shape = Box::new(move |new| {
            assert_eq!(new.max_size, Some(1000));
            new.max_size = limit;
            Ok(())
        });
        let id = world.post().length(fits).send().id();
        assert_eq!(world.record(&id).max_size, limit);
        if let Some(limit) = limit {
            world.post().length(limit + 1).send().says(413, &format!("{limit} bytes"));
        }
    }
}

/// tus 1.0.0, "POST": "The Server MUST acknowledge a successful upload creation with the `201 Created`
/// status." "The Server MUST set the `Location` header to the URL of the created resource." "This URL MAY be
/// absolute or relative."
#[test]
fn creation_is_201_with_the_url_of_the_upload() {
    let base = Location::base("https://example.org/public/").unwrap();
    for (style, prefix) in [
        (Location::Path, "/files/"),
        (Location::Host, "http://tus.example.org/files/"),
        (base, "https://example.org/public/"),
    ] {
        let mut world = World::with(Config::default().location(style));
        let answer = world.post().length(5).send().is(201);
        let id = world.uploads.ids().next().unwrap().clone();
        answer.has("location", format!("{prefix}{id}"));
        world.head(&id).send().is(200);
    }
}

/// tus 1.0.0, "POST": "The Server MUST set the `Location` header to the URL of the created resource."
///
/// What a proxy reports about the URL counts if the proxy is trusted, and the scheme is http or https (R44).
#[test]
fn the_url_behind_a_proxy_is_the_public_one() {
    let location = |trusted, proto: &str| {
        let mut world = World::with(Config::default().location(Location::Host).trust_forwarded(trusted));
        world.choose_id("a");
        let post = world.post().length(5).header("x-forwarded-proto", proto).header("x-forwarded-host", "example.org");
        post.send().header("location").unwrap().to_owned()
    };
    assert_eq!(location(true, "https"), "https://example.org/files/a");
    assert_eq!(location(true, "javascript"), "http://example.org/files/a");
    assert_eq!(location(false, "https"), "http://tus.example.org/files/a");
}

/// tus 1.0.0, "Core Protocol": "This specification does not describe the structure of URLs, as that is left
/// for the specific implementation to decide."
#[test]
fn the_endpoint_may_be_anywhere() {
    for mount in ["/files", "/api/v1/files", "/a%20b", "/"] {
        let mut world = World::new();
        world.mount = mount.to_owned();
        let part = world.post().length(5).body(b"hello").header("upload-concat", "partial").send();
        let url = part.header("location").unwrap().to_owned();
        assert!(url.starts_with(mount), "{url}");
        world.request(http::Method::HEAD, &url).send().is(200).has("upload-offset", 5);
        let final_upload = world.post().header("upload-concat", format!("final;{url}")).send().id();
        assert_eq!(world.bytes(&final_upload), b"hello");
    }
}

/// tus 1.0.0, "POST": "The Server MUST acknowledge a successful upload creation with the `201 Created`
/// status."
///
/// Each request creates an upload of its own.
#[test]
fn two_requests_create_two_uploads() {
    let mut world = World::new();
    let (first, second) = (world.post().length(5).send().id(), world.post().length(5).send().id());
    assert_ne!(first, second);
    world.patch(&first).offset(0).body(b"hello").send().is(204);
    world.head(&second).send().has("upload-offset", 0);
}

/// tus 1.0.0, "POST": "The Client MUST send a `POST` request against a known upload creation URL to request a
/// new upload resource."
#[test]
fn uploads_are_created_at_the_endpoint_and_nowhere_else() {
    let mut world = World::new();
    let post = |world: &mut World, path: &str| world.request(http::Method::POST, path).length(5).send().status();
    assert_eq!(post(&mut world, "/files"), 201);
    assert_eq!(post(&mut world, "/files/"), 201);
    assert_eq!(post(&mut world, "/files/24e533e0"), 405);
    assert_eq!(post(&mut world, "/files/a/b"), 404);
    assert_eq!(post(&mut world, "/filesystem"), 404);
    assert_eq!(world.uploads.len(), 2);
}

/// tus 1.0.0, "Creation": "The Client and the Server SHOULD implement the upload creation extension."
#[test]
fn without_creation_post_is_not_allowed() {
    let mut world = World::with(Config::default().without(TusExtension::Creation));
    world.post().length(5).send().says(405, "POST").has("allow", "OPTIONS");
    assert_eq!(world.path(), "Respond");
}
