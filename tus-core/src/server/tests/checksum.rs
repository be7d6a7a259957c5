//! tus 1.0.0, "Checksum", in the head and as a trailer.

use super::world::World;
use crate::{Algorithm, Checksum, Config, Extension, UploadId};

/// tus 1.0.0, "Checksum": "If supported, the Server MUST add `checksum` to the `Tus-Extension` header." "If the
/// Server can handle trailers, this behavior MUST be announced by adding `checksum-trailer` to the
/// `Tus-Extension` header."
#[test]
fn checksums_are_announced() {
    let announced = |config: Config| {
        let mut world = World::with(config);
        (world.announces("checksum"), world.announces("checksum-trailer"))
    };
    assert_eq!(announced(Config::default()), (true, true));
    assert_eq!(announced(Config::default().without(Extension::ChecksumTrailer)), (true, false));
    assert_eq!(announced(Config::default().without(Extension::Checksum)), (false, false));
}

/// tus 1.0.0, "Checksum", "Example": "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
///
/// The example leaves the media type out, which "PATCH" asks for.
#[test]
fn the_example_of_checksum() {
    let mut world = World::new();
    world.choose_id("17f44dbe1c4bace0e18ab850cf2b3a83");
    let answer = world.options().send().is(204).has("tus-resumable", "1.0.0").has("tus-version", "1.0.0");
    assert!(answer.header("tus-checksum-algorithm").unwrap().split(',').any(|name| name == "sha1"));
    let id = world.upload(b"", 11);
    let patch = world.patch(&id).offset(0).body(b"hello world");
    let answer = patch.header("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").send();
    answer.is(204).has("tus-resumable", "1.0.0").has("upload-offset", 11);
    assert_eq!(world.bytes(&id), b"hello world");
}

/// tus 1.0.0, "Checksum": "Once the entire request has been received, the Server MUST verify the uploaded chunk
/// against the provided checksum using the specified algorithm." "`204 No Content` if the checksums match and
/// the processing of the data succeeded."
#[test]
fn a_body_that_matches_is_stored() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new();
        let id = world.upload(b"hello", 11);
        let checksum = Checksum::of(*algorithm, b" world").to_header();
        let answer = world.patch(&id).offset(5).body(b" world").header("upload-checksum", checksum).send();
        answer.is(204).has("upload-offset", 11);
        assert_eq!(world.bytes(&id), b"hello world");
    }
}

/// tus 1.0.0, "Checksum": "`460 Checksum Mismatch` if the checksums mismatch" "In the first two cases the
/// uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated."
#[test]
fn a_body_that_does_not_match_is_discarded() {
    for algorithm in Algorithm::ALL {
        let mut world = world_that_expires();
        let id = world.upload(b"hello", 11);
        let checksum = Checksum::of(*algorithm, b" World").to_header();
        unchanged_by(&mut world, &id, |world, id| {
            let patch = world.patch(id).offset(5).body(b" world");
            patch.header("upload-checksum", &checksum).send().says(460, "upload-checksum");
            assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
            let trailing = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
            trailing.trailer("upload-checksum", &checksum).send().says(460, "upload-checksum");
        });
    }
}

/// tus 1.0.0, "Checksum": "In the first two cases the uploaded chunk MUST be discarded, and the upload and its
/// offset MUST NOT be updated."
#[test]
fn neither_does_a_length_that_came_with_a_mismatch_count() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    unchanged_by(&mut world, &id, |world, id| {
        world.patch(id).offset(5).length(11).sha1_of(b"other").body(b" world").send().is(460);
        world.patch(id).offset(5).length(5).sha1_of(b"other").send().is(460);
    });
    assert!(world.finished.is_empty());
}

/// tus 1.0.0, "Checksum": "`400 Bad Request` if the checksum algorithm is not supported by the server" "In the
/// first two cases the uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated."
#[test]
fn an_algorithm_that_is_not_supported_is_400() {
    let mut world = world_that_expires();
    let id = world.upload(b"hello", 11);
    unchanged_by(&mut world, &id, |world, id| {
        for unknown in ["sha3 AAAA", "SHA1 AAAA", "sha-1 AAAA", "crc32c AAAA", " AAAA"] {
            let patch = world.patch(id).offset(5).body(b" world").header("upload-checksum", unknown);
            patch.send().says(400, "tus-checksum-algorithm");
            assert_eq!(world.path(), "Respond");
            let trailing = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
            trailing.trailer("upload-checksum", unknown).send().says(400, "tus-checksum-algorithm");
            assert_eq!(world.path(), "Load Authorize Hold Receive Respond");
        }
    });
}

/// tus 1.0.0, "Checksum": "The Server MUST support at least the SHA1 checksum algorithm identified by `sha1`."
/// "The names of the checksum algorithms MUST only consist of ASCII characters with the modification that
/// uppercase characters are excluded." "The `Tus-Checksum-Algorithm` header MUST be included in the response to
/// an `OPTIONS` request."
/// tus 1.0.0, "Tus-Checksum-Algorithm": "The `Tus-Checksum-Algorithm` response header MUST be a comma-separated
/// list of the checksum algorithms supported by the server."
#[test]
fn the_algorithms_are_listed_and_each_works() {
    let mut world = World::new();
    let answer = world.options().send();
    let names: Vec<_> = answer.header("tus-checksum-algorithm").unwrap().split(',').collect();
    assert!(names.contains(&"sha1"));
    for name in &names {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()), "{name}");
        // Known: a digest of nothing is a mismatch, and not an algorithm that is not supported.
        let id = world.upload(b"", 5);
        world.patch(&id).offset(0).body(b"hello").header("upload-checksum", format!("{name} ")).send().is(460);
    }
    assert_eq!(names.len(), Algorithm::ALL.len());
    World::with(Config::default().without(Extension::Checksum)).options().send().lacks("tus-checksum-algorithm");
}

/// tus 1.0.0, "Upload-Checksum": "The header MUST consist of the name of the used checksum algorithm and the
/// Base64 encoded checksum separated by a space."
#[test]
fn a_checksum_that_cannot_be_read_is_400() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    unchanged_by(&mut world, &id, |world, id| {
        for wrong in ["", "sha1", "sha1:Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1  Kq5s", "sha1 Kq5", "sha1 _-8=", "sha1 ä"]
        {
            let patch = world.patch(id).offset(5).body(b" world").header("upload-checksum", wrong);
            patch.send().says(400, "upload-checksum");
            assert!(!world.passed("Receive"), "{wrong:?}");
        }
    });
}

/// tus 1.0.0, "Checksum": "If the hash cannot be calculated at the beginning of the upload, it MAY be included
/// as a trailer." "Trailers, also known as trailing headers, are headers which are sent after the request's
/// body has been transmitted already."
#[test]
fn a_checksum_may_follow_the_body() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new();
        let id = world.upload(b"hello", 11);
        let checksum = Checksum::of(*algorithm, b" world").to_header();
        let patch = world.patch(&id).offset(5).stream(b" world").header("trailer", "Expires, Upload-Checksum");
        patch.trailer("upload-checksum", checksum).send().is(204).has("upload-offset", 11);
        assert_eq!(world.bytes(&id), b"hello world");
    }
}

/// tus 1.0.0, "Checksum": "Once the entire request has been received, the Server MUST verify the uploaded chunk
/// against the provided checksum using the specified algorithm."
///
/// A checksum that was announced and did not come verifies nothing.
#[test]
fn a_trailer_that_does_not_come_is_400() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    unchanged_by(&mut world, &id, |world, id| {
        let announced = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
        announced.send().says(400, "upload-checksum");
        let announced = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
        announced.trailer("other", "value").send().says(400, "upload-checksum");
    });
}

/// tus 1.0.0, "Creation With Upload": "In this case, similar rules as for the `PATCH` request and response
/// apply."
#[test]
fn a_creation_with_a_body_is_verified_too() {
    let mut world = World::new();
    let id = world.post().length(11).body(b"hello").sha1_of(b"hello").send().has("upload-offset", 5).id();
    assert_eq!(world.bytes(&id), b"hello");
    let id = world.post().length(5).stream(b"hello").trailing_sha1_of(b"hello").send().has("upload-offset", 5).id();
    assert_eq!(world.finished, [id]);
    let before = world.uploads.clone();
    world.post().length(5).body(b"hello").sha1_of(b"other").send().is(460).lacks("location");
    world.post().length(5).stream(b"hello").trailing_sha1_of(b"other").send().is(460).lacks("location");
    assert_eq!(world.path(), "Authorize Create Store Receive Terminate Respond");
    assert_eq!((world.uploads, world.finished.len()), (before, 1));
}

fn world_that_expires() -> World {
    World::with(Config::default().expire_after(std::time::Duration::from_secs(3600)))
}

/// Whatever is done a second later, the upload's record and bytes are as they were.
#[track_caller]
fn unchanged_by(world: &mut World, id: &UploadId, act: impl FnOnce(&mut World, &UploadId)) {
    world.wait(std::time::Duration::from_secs(1));
    let before = world.uploads.clone();
    act(world, id);
    assert_eq!(world.uploads, before);
}
