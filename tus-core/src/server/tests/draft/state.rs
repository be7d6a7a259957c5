//! "State": offset, completeness, length.

use super::*;
use crate::{Config, Phase};

/// "Upload Resource": "An upload resource SHOULD be unique. Reuse of a URI for a different upload resource SHOULD be
/// avoided".
#[test]
fn each_creation_makes_a_new_upload() {
    let mut world = World::new();
    let (first, second) = (begun(&mut world, DRAFT_12, b"a"), begun(&mut world, DRAFT_12, b"b"));
    assert_ne!(first, second);
    assert_eq!((world.bytes(&first), world.bytes(&second)), (&b"a"[..], &b"b"[..]));
}

/// "Offset": "the offset MUST NOT decrease. If the server loses any part of the state, it MUST deactivate the upload
/// resource and reject further interaction with it."
#[test]
fn an_upload_that_lost_bytes_is_invalid() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    let key = id.clone();
    world.meanwhile("Load", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            let change = upload.after_loss(3);
            change.apply(upload);
            assert_eq!(upload.offset, 5, "it never decreases");
            bytes.truncate(5);
        });
    });
    head(&mut world, DRAFT_12, &id).send().is(410).lacks("upload-offset");
    let refused = patch(&mut world, DRAFT_12, &id, 3, false, b"lo").send().is(410).lacks("upload-offset");
    refused.complete(DRAFT_12, false).problem();
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(410);
    assert!(world.notified.is_empty());
}

/// "Offset": "Its value is a non-negative Integer [...] Other values MUST cause the entire header field to be ignored."
#[test]
fn an_offset_of_the_wrong_type_is_ignored() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    for other in ["-5", "5.0", "\"5\"", "5, 5", "five", "1000000000000000", ""] {
        let refused = patch(&mut world, DRAFT_12, &id, 5, false, b"!").header("upload-offset", other).send();
        let problem = refused.is(400).problem();
        assert!(problem["detail"].as_str().unwrap().contains("upload-offset"), "{other}");
    }
    patch(&mut world, DRAFT_12, &id, 5, false, b"!").header("upload-offset", "5;a=b").send().is(204);
    assert_eq!(world.bytes(&id), b"hello!");
}

/// "Completeness": "Its value is a Boolean [...] Other values MUST cause the entire header field to be ignored."
#[test]
fn a_completeness_of_the_wrong_type_is_ignored() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    for other in ["1", "true", "?2", "?1, ?1", ""] {
        let refused = post(&mut world, DRAFT_12, true, b"hello").header("upload-complete", other).send();
        assert!(refused.is(400).problem()["detail"].as_str().unwrap().contains("upload-complete"), "{other}");
        patch(&mut world, DRAFT_12, &id, 5, true, b"!").header("upload-complete", other).send().is(400);
        // Without it, and without a version, a request does not use the draft.
        let plain = post(&mut world, DRAFT_12, true, b"hello").without("upload-draft-interop-version");
        plain.header("upload-complete", other).send().is(412);
    }
    assert_eq!((world.uploads.len(), world.bytes(&id)), (1, &b"hello"[..]));
}

/// "Length": "Its value is a non-negative Integer [...] Other values MUST cause the entire header field to be ignored."
#[test]
fn a_length_of_the_wrong_type_is_ignored() {
    let mut world = World::new();
    for other in ["-5", "5.0", "\"5\"", "5, 5", "five", "1000000000000000"] {
        let id = post(&mut world, DRAFT_12, false, b"hello").header("upload-length", other).send().id();
        assert_eq!(world.record(&id).length, None, "{other}");
        patch(&mut world, DRAFT_12, &id, 5, true, b"!").header("upload-length", other).send().is(201);
        assert_eq!(world.record(&id).length, Some(6), "{other}");
    }
}

/// "Completeness": "An upload is marked as completed either when a request for creating the upload resource or appending
/// to it includes the Upload-Complete header field with a true value and the request content was fully processed".
#[test]
fn an_upload_is_complete_when_declared_and_processed() {
    let mut world = World::new();
    let created = post(&mut world, DRAFT_12, true, b"hello").send().is(201).complete(DRAFT_12, true).id();
    let appended = begun(&mut world, DRAFT_12, b"hel");
    assert_eq!(world.record(&appended).phase, Phase::Receiving);
    patch(&mut world, DRAFT_12, &appended, 3, true, b"lo").send().complete(DRAFT_12, true);
    let streamed = begun(&mut world, DRAFT_12, b"hel");
    let stream = patch(&mut world, DRAFT_12, &streamed, 3, true, b"lo").without("content-length");
    stream.send().complete(DRAFT_12, true);
    for id in [created, appended, streamed] {
        let record = world.record(&id);
        assert_eq!((record.phase, record.offset, record.length), (Phase::Notified, 5, Some(5)));
        assert!(world.notified.contains(&id));
        head(&mut world, DRAFT_12, &id).send().is(204).complete(DRAFT_12, true);
    }
}

/// "Length": "the length and offset values do not determine whether an upload is complete. [...] The offset could match
/// the length, but the upload can still be incomplete."
#[test]
fn an_upload_at_its_length_may_be_incomplete() {
    for commits_checkpoints in [false, true] {
        let mut world = World::new();
        world.commits_checkpoints = commits_checkpoints;
        let id = begun_of(&mut world, DRAFT_12, b"hello", 5);
        head(&mut world, DRAFT_12, &id)
            .send()
            .has("upload-offset", 5)
            .has("upload-length", 5)
            .complete(DRAFT_12, false);
        assert!(world.notified.is_empty());
        // An empty append changes nothing but that.
        patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(201).complete(DRAFT_12, true);
        assert_eq!((world.record(&id).phase, world.notified.len()), (Phase::Notified, 1));
    }
}

/// "Length": "If indicators (1) and (2) are both present in the same request, their indicated lengths MUST match."
#[test]
fn two_lengths_of_one_request_must_match() {
    let mut world = World::new();
    let refused = post(&mut world, DRAFT_12, true, b"hello").length(6).send().is(400).complete(DRAFT_12, false);
    assert_eq!(refused.problem_type(), "inconsistent-upload-length");
    assert!(world.uploads.is_empty());
    let id = begun(&mut world, DRAFT_12, b"hello");
    let refused = patch(&mut world, DRAFT_12, &id, 5, true, b"!").length(7).send().is(400);
    assert_eq!(refused.problem_type(), "inconsistent-upload-length");
    assert_eq!(world.bytes(&id), b"hello");
    // If the content is streamed, this is known at its end; nothing is left of a creation.
    let refused = post(&mut world, DRAFT_12, true, b"hello").without("content-length").length(6).send().is(400);
    assert_eq!(refused.problem_type(), "inconsistent-upload-length");
    assert_eq!(world.uploads.len(), 1);
    let streamed = patch(&mut world, DRAFT_12, &id, 5, true, b"!").without("content-length").length(7).send().is(400);
    assert_eq!(streamed.has("upload-offset", 6).problem_type(), "inconsistent-upload-length");
    head(&mut world, DRAFT_12, &id).send().has("upload-offset", 6).complete(DRAFT_12, false);
    patch(&mut world, DRAFT_12, &id, 6, true, b"!").length(7).send().is(201).complete(DRAFT_12, true);
    assert_eq!(world.bytes(&id), b"hello!!");
}

/// "Length": "The representation's length, if known, MUST stay consistent across subsequent requests."
#[test]
fn a_known_length_does_not_change() {
    let mut world = World::new();
    let id = begun_of(&mut world, DRAFT_12, b"hello", 11);
    for refused in [
        patch(&mut world, DRAFT_12, &id, 5, false, b" ").length(12).send(),
        patch(&mut world, DRAFT_12, &id, 5, true, b" worl").send(),
        patch(&mut world, DRAFT_12, &id, 5, true, b" world!").send(),
        patch(&mut world, DRAFT_12, &id, 5, true, b"").send(),
        patch(&mut world, DRAFT_12, &id, 5, false, b" world!").send(),
    ] {
        assert_eq!(
            refused.is(400).complete(DRAFT_12, false).has("upload-offset", 5).problem_type(),
            "inconsistent-upload-length"
        );
    }
    patch(&mut world, DRAFT_12, &id, 5, false, b" ").length(11).send().is(204);
    patch(&mut world, DRAFT_12, &id, 6, true, b"world").send().is(201);
    assert_eq!(world.bytes(&id), b"hello world");
    // Fewer bytes than exist cannot be complete.
    let id = begun(&mut world, DRAFT_12, b"hello");
    patch(&mut world, DRAFT_12, &id, 5, false, b"").length(4).send().is(400);
}

/// An Integer has at most 15 digits (RFC 9651, section 3.3.1), so that no upload of the draft can be larger.
#[test]
fn no_upload_is_larger_than_an_integer() {
    let mut world = World::with(Config::default());
    let huge = post(&mut world, DRAFT_12, true, b"").header("content-length", "1000000000000000").send();
    huge.is(413).has("upload-limit", "max-size=999999999999999");
    let id = begun(&mut world, DRAFT_12, b"hello");
    let beyond = patch(&mut world, DRAFT_12, &id, 5, true, b"").header("content-length", "999999999999995").send();
    beyond.is(413);
    assert_eq!(world.bytes(&id), b"hello");
}
