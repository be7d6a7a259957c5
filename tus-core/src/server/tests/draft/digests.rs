//! RFC 9530: digests of one request's content, and of the complete representation.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::{Algorithm, Checksum, Config, Failure, Phase, TusExtension, server::Interruption};

/// A server that verifies the digests of these tests.
fn world() -> World {
    World::with(verifying())
}

fn verifying() -> Config {
    Config::default().checksums([Algorithm::Sha256])
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Checksum::of(Algorithm::Sha256, bytes).digest()))
}

/// RFC 9530, section 2: "the Content-Digest field [...] is the digest of the actual message content". Content that does
/// not match is not appended.
#[test]
fn content_that_does_not_match_its_digest_is_discarded() {
    for commits_checkpoints in [false, true] {
        let mut world = world();
        world.commits_checkpoints = commits_checkpoints;
        let id = begun(&mut world, DRAFT_12, b"hello");
        let wrong = patch(&mut world, DRAFT_12, &id, 5, true, b" world").header("content-digest", digest(b" WORLD"));
        let problem = wrong.send().is(400).complete(DRAFT_12, false).problem();
        assert!(problem["detail"].as_str().unwrap().contains("content-digest"));
        assert_eq!((world.bytes(&id), world.record(&id).phase), (&b"hello"[..], Phase::Receiving));
        let right = patch(&mut world, DRAFT_12, &id, 5, true, b" world").header("content-digest", digest(b" world"));
        right.send().is(201).complete(DRAFT_12, true);
        assert_eq!(world.bytes(&id), b"hello world");
        let created = post(&mut world, DRAFT_12, true, b"hello").header("content-digest", digest(b"other")).send();
        created.is(400).lacks("location");
        assert_eq!(world.uploads.len(), 1);
    }
}

/// What is stored of a request is bounded.
#[test]
fn a_digest_of_another_length_is_refused() {
    let mut world = world();
    for field in ["content-digest", "repr-digest"] {
        let digest = format!("sha-256=:{}:", "AAAA".repeat(100_000));
        post(&mut world, DRAFT_12, false, b"hello").header(field, digest).send().says(400, "32 bytes");
    }
    assert_eq!(world.uploads.len(), 0);
}

/// Without content there is still a digest to verify.
#[test]
fn the_digest_of_an_empty_creation_is_verified() {
    let mut world = world();
    let empty = |world: &mut World, of| {
        post(world, DRAFT_12, false, b"").header("content-length", "0").header("content-digest", digest(of)).send()
    };
    empty(&mut world, b"hello").is(400).lacks("location");
    empty(&mut world, b"").is(201);
    assert_eq!(world.uploads.len(), 1);
}

/// An upload that does not match its digest is removed when it expires.
#[test]
fn an_upload_with_a_wrong_digest_expires() {
    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    let mut world = World::with(verifying().expire_after(HOUR));
    let id = post(&mut world, DRAFT_12, false, b"hello").header("repr-digest", digest(b"other")).send().is(201).id();
    patch(&mut world, DRAFT_12, &id, 5, true, b"!").send().is(400);
    assert_eq!(world.record(&id).phase, Phase::Invalid);
    assert!(world.record(&id).expires.is_some());
    world.wait(HOUR);
    assert!(world.recover(&id), "removed");
}

/// Content that a digest covers counts all together or not at all.
#[test]
fn interrupted_content_with_a_digest_is_discarded() {
    let mut world = world();
    let id = begun(&mut world, DRAFT_12, b"hello");
    let cut = patch(&mut world, DRAFT_12, &id, 5, true, b" wor").header("content-digest", digest(b" world"));
    cut.header("content-length", "6").interrupted(Interruption::Disconnected).send().is(503);
    head(&mut world, DRAFT_12, &id).send().has("upload-offset", 5);
}

/// RFC 9530, section 2: "A recipient MAY ignore any or all digests." Unknown algorithms are never refused.
#[test]
fn unknown_algorithms_and_wrong_types_are_ignored() {
    let mut world = world();
    for other in ["md5=:AA==:", "unixsum=:AA==:", "sha-256=wrong", "sha-256=(:AA==:)", "", "x"] {
        let request = post(&mut world, DRAFT_12, true, b"hello").header("content-digest", other);
        let id = request.header("repr-digest", other).send().is(201).complete(DRAFT_12, true).id();
        head(&mut world, DRAFT_12, &id).header("repr-digest", other).header("content-digest", other).send().is(204);
    }
}

/// RFC 9530, section 3: "Repr-Digest [...] the digest of the selected representation data". It is verified over all bytes
/// before the upload is complete, whichever requests brought them.
#[test]
fn an_upload_that_does_not_match_its_digest_is_never_complete() {
    for (with_creation, commits_checkpoints, notify) in
        [(true, false, true), (false, true, true), (true, true, false), (false, false, false)]
    {
        let mut world = World::with(verifying().notify(notify));
        world.commits_checkpoints = commits_checkpoints;
        let upload = |world: &mut World, of: &[u8]| {
            let mut request = post(world, DRAFT_12, false, b"hello");
            if with_creation {
                request = request.header("repr-digest", digest(of));
            }
            let id = request.send().is(201).id();
            let mut request = patch(world, DRAFT_12, &id, 5, true, b" world");
            if !with_creation {
                request = request.header("repr-digest", digest(of));
            }
            (id, request.send())
        };
        let (id, refused) = upload(&mut world, b"hello World");
        let problem = refused.is(400).complete(DRAFT_12, false).lacks("upload-offset").problem();
        assert!(problem["detail"].as_str().unwrap().contains("repr-digest"));
        assert_eq!(world.record(&id).phase, Phase::Invalid);
        assert!(world.finishing.is_empty());
        head(&mut world, DRAFT_12, &id).send().is(410);
        let (id, complete) = upload(&mut world, b"hello world");
        complete.is(201).complete(DRAFT_12, true);
        assert_eq!((world.bytes(&id), world.record(&id).phase), (&b"hello world"[..], Phase::Notified));
        assert_eq!(world.notified.len(), usize::from(notify));
    }
}

#[test]
fn the_digest_of_an_upload_in_one_request_is_verified_too() {
    let mut world = world();
    for content in [&b"hello"[..], b""] {
        let right = post(&mut world, DRAFT_12, true, content).header("repr-digest", digest(content)).send();
        right.is(201).complete(DRAFT_12, true);
        assert!(world.path().ends_with("Complete Verify Record Finish Notify Record Respond"), "{}", world.path());
        let wrong = post(&mut world, DRAFT_12, true, content).header("repr-digest", digest(b"other")).send();
        wrong.is(400).complete(DRAFT_12, false).problem();
    }
    assert_eq!(world.notified.len(), 2);
}

/// Interrupted content is kept although its upload has a digest; it is verified later.
#[test]
fn verification_may_be_repeated() {
    for (step, failure) in [("Verify", Failure::Internal), ("Verify", Failure::Busy), ("Record", Failure::Internal)] {
        let mut world = world();
        world.informs = true;
        let cut = post(&mut world, DRAFT_12, true, b"hello").header("content-length", "11");
        let cut = cut.header("repr-digest", digest(b"hello world")).interrupted(Interruption::Disconnected).send();
        let id = cut.is(201).has("upload-offset", 5).id();
        world.fail(step, failure);
        let refused = patch(&mut world, DRAFT_12, &id, 5, true, b" world").send();
        assert!(refused.status() >= 500, "{refused:?}");
        assert!(world.notified.is_empty());
        head(&mut world, DRAFT_12, &id).send().is(204).has("upload-offset", 11).complete(DRAFT_12, false);
        patch(&mut world, DRAFT_12, &id, 11, true, b"").send().is(201).complete(DRAFT_12, true);
        assert_eq!(world.notified, [id]);
    }
}

/// A verification may take longer than a client waits. A change of the record by its next request would make the result
/// useless.
#[test]
fn a_repeated_request_does_not_disturb_the_verification() {
    let mut world = World::with(verifying().expire_after(std::time::Duration::from_secs(3600)));
    let id = begun(&mut world, DRAFT_12, b"hello");
    let last = |world: &mut World, offset, bytes| {
        world.fail("Verify", Failure::Busy);
        patch(world, DRAFT_12, &id, offset, true, bytes).header("repr-digest", digest(b"hello world")).send().is(503);
    };
    last(&mut world, 5, b" world");
    let before = world.record(&id).clone();
    world.wait(std::time::Duration::from_secs(60));
    last(&mut world, 11, b"");
    assert!(!world.passed("Commit"), "{}", world.path());
    assert_eq!(*world.record(&id), before);
}

/// Up to version 6, an upload is also complete at its length, but not before its digest has been verified.
#[test]
fn an_upload_that_is_complete_at_its_length_is_verified() {
    for (of, is_right) in [(&b"hello world"[..], true), (b"hello World", false)] {
        let mut world = world();
        world.commits_checkpoints = true;
        let id = post(&mut world, 6, false, b"hello").length(11).header("repr-digest", digest(of)).send().id();
        let last = patch(&mut world, 6, &id, 5, false, b" world").send();
        last.is(if is_right { 201 } else { 400 }).complete(6, is_right);
        assert_eq!(world.record(&id).phase, if is_right { Phase::Notified } else { Phase::Invalid });
    }
}

/// What a server verifies is the application's choice, as in tus: it does not depend on what else is compiled in.
#[test]
fn only_chosen_algorithms_are_verified() {
    let sha512 = format!("sha-512=:{}:", BASE64_STANDARD.encode(Checksum::of(Algorithm::Sha512, b"x").digest()));
    let (no_checksums, other) = (verifying().without(TusExtension::Checksum), digest(b"other"));
    for (config, sent) in [(Config::default(), &other), (verifying(), &sha512), (no_checksums, &other)] {
        let mut world = World::with(config);
        let created = post(&mut world, DRAFT_12, false, b"hello").header("content-digest", sent);
        let id = created.header("repr-digest", sent).send().is(201).id();
        let last = patch(&mut world, DRAFT_12, &id, 5, true, b" world").header("content-digest", sent);
        last.header("repr-digest", sent).send().is(201).complete(DRAFT_12, true);
        assert!(!world.passed("Verify"), "{}", world.path());
        assert_eq!(world.bytes(&id), b"hello world");
    }
}

/// The digest that came with the creation is read back when the upload is complete.
#[test]
fn a_digest_of_the_creation_is_verified_only_as_long_as_its_algorithm_is_chosen() {
    let mut world = world();
    let id = post(&mut world, DRAFT_12, false, b"hello").header("repr-digest", digest(b"other")).send().id();
    world.config = std::sync::Arc::new(Config::default());
    patch(&mut world, DRAFT_12, &id, 5, true, b" world").send().is(201).complete(DRAFT_12, true);
}
