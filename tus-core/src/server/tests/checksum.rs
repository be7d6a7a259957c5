//! tus 1.0.0, "Checksum", in the head and as a trailer.

use super::{
    super::{Mount, Step, begin},
    world::World,
};
use crate::{Algorithm, Checksum, Config, Incarnation, TusExtension, UploadId};

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
    assert_eq!(announced(Config::default().without(TusExtension::ChecksumTrailer)), (true, false));
    assert_eq!(announced(Config::default().without(TusExtension::Checksum)), (false, false));
}

/// tus 1.0.0, "Checksum", "Example": "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
///
/// The example omits the media type, which "PATCH" requires.
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
        let mut world = world_of_every_algorithm();
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
fn a_length_declared_with_a_mismatched_body_is_discarded() {
    let mut world = World::new();
    let id = world.deferred(b"hello");
    unchanged_by(&mut world, &id, |world, id| {
        world.patch(id).offset(5).length(11).sha1_of(b"other").body(b" world").send().is(460);
        world.patch(id).offset(5).length(5).sha1_of(b"other").send().is(460);
    });
    assert!(world.notified.is_empty());
}

/// tus 1.0.0, "Checksum": "`400 Bad Request` if the checksum algorithm is not supported by the server" "In the
/// first two cases the uploaded chunk MUST be discarded, and the upload and its offset MUST NOT be updated."
#[test]
fn an_unsupported_algorithm_is_400() {
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
    let mut world = world_of_every_algorithm();
    let answer = world.options().send();
    let names: Vec<_> = answer.header("tus-checksum-algorithm").unwrap().split(',').collect();
    assert!(names.contains(&"sha1"));
    for name in &names {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()), "{name}");
        // The algorithm is known: the digest of no bytes is a mismatch, not an unsupported algorithm.
        let id = world.upload(b"", 5);
        world.patch(&id).offset(0).body(b"hello").header("upload-checksum", format!("{name} ")).send().is(460);
    }
    assert_eq!(names.len(), Algorithm::ALL.len());
    World::with(Config::default().without(TusExtension::Checksum)).options().send().lacks("tus-checksum-algorithm");
}

/// tus 1.0.0, "Upload-Checksum": "The header MUST consist of the name of the used checksum algorithm and the
/// Base64 encoded checksum separated by a space."
#[test]
fn an_invalid_checksum_is_400() {
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
        let mut world = world_of_every_algorithm();
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
/// An announced checksum that is missing verifies nothing.
#[test]
fn a_missing_trailer_is_400() {
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
    assert_eq!(world.notified, [id]);
    let before = world.uploads.clone();
    world.post().length(5).body(b"hello").sha1_of(b"other").send().is(460).lacks("location");
    // Without a body, whether the request says so or not.
    world.post().length(5).sha1_of(b"other").send().is(460).lacks("location");
    world.post().length(5).header("content-length", "0").sha1_of(b"other").send().is(460).lacks("location");
    world.post().length(5).stream(b"hello").without("content-type").sha1_of(b"hello").send().is(415).lacks("location");
    world.post().length(5).stream(b"hello").trailing_sha1_of(b"other").send().is(460).lacks("location");
    assert_eq!(world.path(), "Authorize Create Store Receive Terminate Respond");
    assert_eq!((&world.uploads, world.notified.len()), (&before, 1));
}

/// Other crates may have compiled in algorithms that this server does not offer.
#[test]
fn only_sha1_is_offered_by_default() {
    assert!(Algorithm::ALL.len() > 1);
    let mut world = World::new();
    world.options().send().has("tus-checksum-algorithm", "sha1");
    let id = world.upload(b"hello", 11);
    for algorithm in &Algorithm::ALL[1..] {
        let checksum = Checksum::of(*algorithm, b" world").to_header();
        unchanged_by(&mut world, &id, |world, id| {
            let patch = world.patch(id).offset(5).body(b" world").header("upload-checksum", &checksum);
            patch.send().says(400, "tus-checksum-algorithm");
            assert_eq!(world.path(), "Respond");
            let trailing = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
            trailing.trailer("upload-checksum", &checksum).send().says(400, "tus-checksum-algorithm");
        });
    }
}

#[test]
fn the_application_chooses_the_algorithms_besides_sha1() {
    let on_offer = |config: Config| {
        let answer = World::with(config).options().send();
        answer.header("tus-checksum-algorithm").unwrap().to_owned()
    };
    let chosen = [Algorithm::Crc32, Algorithm::Sha256, Algorithm::Crc32, Algorithm::Sha1];
    assert_eq!(on_offer(Config::default().checksums(chosen)), "sha1,crc32,sha256");
    assert_eq!(on_offer(Config::default().checksums([])), "sha1");
    let mut world = World::with(Config::default().checksums([Algorithm::Crc32]));
    let id = world.upload(b"", 5);
    let checksum = Checksum::of(Algorithm::Crc32, b"hello").to_header();
    world.patch(&id).offset(0).body(b"hello").header("upload-checksum", checksum).send().is(204);
}

/// The algorithm of a trailer is known only when the trailer arrives, and each offered algorithm costs time.
#[test]
fn a_trailer_is_verified_by_the_offered_algorithms_only() {
    let digests = |config: Config| {
        let request = http::Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", "5");
        let request = request.header("content-type", "application/offset+octet-stream").header("content-length", "5");
        let head = request.header("trailer", "upload-checksum").body(()).unwrap().into_parts().0;
        let mut step = begin(&config.into(), &head, &Mount::at("/files"), std::time::UNIX_EPOCH);
        loop {
            step = match step {
                Step::Authorize(ask) => ask.done(Ok(())),
                Step::Create(create) => create.done(Ok((UploadId::from_random(1), Incarnation::from_random(1)))),
                Step::Store(store) => store.done(Ok(1.into())),
                Step::Receive(receive) => return format!("{receive:?}").matches("Hasher(").count(),
                other => panic!("{other:?}"),
            };
        }
    };
    assert_eq!(digests(Config::default()), 1);
    assert_eq!(digests(Config::default().checksums([Algorithm::Md5])), 2);
    assert_eq!(digests(every_algorithm()), Algorithm::ALL.len());
}

/// A framework may drop request trailers.
#[test]
fn trailers_are_not_offered_if_the_framework_drops_them() {
    let mut world = World::new();
    world.trailers = false;
    assert!(world.announces("checksum") && !world.announces("checksum-trailer"));
    let id = world.upload(b"hello", 11);
    unchanged_by(&mut world, &id, |world, id| {
        let patch = world.patch(id).offset(5).stream(b" world").header("trailer", "upload-checksum");
        patch.send().says(400, "checksum-trailer");
        assert_eq!(world.path(), "Respond");
        world.post().length(5).stream(b"hello").header("trailer", "upload-checksum").send().is(400);
    });
    world.patch(&id).offset(5).body(b" world").sha1_of(b" world").send().is(204);
}

fn world_that_expires() -> World {
    World::with(every_algorithm().expire_after(std::time::Duration::from_secs(3600)))
}

fn world_of_every_algorithm() -> World {
    World::with(every_algorithm())
}

fn every_algorithm() -> Config {
    Config::default().checksums(Algorithm::ALL.iter().copied())
}

/// After this request a second later, the upload's record and bytes are unchanged.
#[track_caller]
fn unchanged_by(world: &mut World, id: &UploadId, act: impl FnOnce(&mut World, &UploadId)) {
    world.wait(std::time::Duration::from_secs(1));
    let before = world.uploads.clone();
    act(world, id);
    assert_eq!(world.uploads, before);
}
