//! "Limits".

use std::time::Duration;

use super::*;
use crate::{Config, Phase};

fn limited() -> Config {
    let config = Config::default().max_size(100).max_append_size(20).min_append_size(4);
    config.expire_after(Duration::from_secs(60))
}

const LIMITS: &str = "max-size=100, max-append-size=20, min-append-size=4, max-age=60";

/// "When responding to an OPTIONS request without the Upload-Complete header field, if the resource that is the target of
/// the request supports the creation of a resumable upload resource, the server MUST include the Upload-Limit header
/// field with the corresponding limits in the response."
#[test]
fn options_announces_the_limits_together_with_tus() {
    let mut world = World::with(limited());
    for path in ["/files", "/files/", "/files/24e533e0"] {
        let answer = world.request(Method::OPTIONS, path).without("tus-resumable").send().is(204);
        let answer = answer.has("upload-limit", LIMITS).has("accept-patch", PARTIAL);
        answer.has("tus-version", "1.0.0").has("tus-max-size", 100);
        request(&mut world, DRAFT_12, Method::OPTIONS, path).send().is(204).has("upload-limit", LIMITS);
        let tus = world.request(Method::OPTIONS, path).send().is(204);
        tus.has("upload-limit", LIMITS).has("tus-resumable", "1.0.0");
    }
    let sixth = request(&mut world, 6, Method::OPTIONS, "/files").send().is(204);
    sixth.has("upload-limit", LIMITS.replace("max-age", "expires"));
}

/// "If a server is configured such that all of its resources support the creation of upload resources with identical
/// limits, it SHOULD include the Upload-Limit header field in response to an OPTIONS request for the target *".
#[test]
fn options_for_the_server_announces_the_limits() {
    let mut world = World::with(limited());
    world.request(Method::OPTIONS, "*").without("tus-resumable").send().is(204).has("upload-limit", LIMITS);
}

/// "If the server does not apply any limits, it MUST use min-size=0 instead of an empty header value."
#[test]
fn without_limits_the_smallest_size_is_0() {
    let mut world = World::new();
    world.options().send().has("upload-limit", "min-size=0");
    let created = post(&mut world, DRAFT_12, false, b"hello").send().has("upload-limit", "min-size=0");
    head(&mut world, DRAFT_12, &created.id()).send().has("upload-limit", "min-size=0");
}

/// "Throughout the lifetime of the upload resource, these limits SHOULD NOT change in a way that causes failures for
/// clients adhering to the initially discovered limits." "max-size and max-append-size SHOULD NOT decrease." "min-size
/// and min-append-size SHOULD NOT increase." "the end of the upload resource's lifetime as implied by max-age SHOULD NOT
/// decrease."
#[test]
fn the_limits_of_an_upload_stay_and_its_expiry_never_decreases() {
    let mut world = World::with(limited());
    world.application.shape = Box::new(|new| {
        new.max_size = Some(50);
        Ok(())
    });
    let limits = |size: u64, age: u64| format!("max-size={size}, max-append-size=20, min-append-size=4, max-age={age}");
    let id = post(&mut world, DRAFT_12, false, b"hello").send().has("upload-limit", limits(50, 60)).id();
    world.wait(Duration::from_secs(10));
    head(&mut world, DRAFT_12, &id).send().has("upload-limit", limits(50, 50));
    // The limit that the application allowed for this upload applies, whatever is configured later.
    world.config = Config::default().max_size(10).max_append_size(20).min_append_size(4).into();
    head(&mut world, DRAFT_12, &id).send().has("upload-limit", limits(50, 50));
    world.config = limited().into();
    patch(&mut world, DRAFT_12, &id, 5, false, b" world").send().has("upload-limit", limits(50, 60));
    let done = patch(&mut world, DRAFT_12, &id, 11, true, b"").send();
    done.has("upload-limit", "max-size=50, max-append-size=20, min-append-size=4");
}

/// "the limits announced in an OPTIONS response SHOULD NOT be less restrictive than the limits applied to an upload once
/// the upload resource has been created".
#[test]
fn options_announces_the_limits_that_apply() {
    let mut world = World::with(limited());
    let announced = world.options().send().header("upload-limit").unwrap().to_owned();
    post(&mut world, DRAFT_12, false, b"hello").send().is(201).has("upload-limit", announced);
}

/// "When a request is rejected because limits were violated, the response SHOULD include the Upload-Limit header field
/// carrying all limits of the corresponding upload if possible."
#[test]
fn a_rejection_by_a_limit_contains_the_limits() {
    let mut world = World::with(limited());
    let large = [0; 21];
    let id = begun_of(&mut world, DRAFT_12, b"hello", 90);
    let unknown = begun(&mut world, DRAFT_12, b"hello");
    for (status, refused) in [
        (413, post(&mut world, DRAFT_12, false, b"hello").length(101).send()),
        (413, post(&mut world, DRAFT_12, true, &large).send()),
        (413, post(&mut world, DRAFT_12, true, &large).without("content-length").send()),
        (400, post(&mut world, DRAFT_12, false, b"hel").send()),
        (413, patch(&mut world, DRAFT_12, &id, 5, false, &large).send()),
        (413, patch(&mut world, DRAFT_12, &id, 5, false, &large).without("content-length").send()),
        (400, patch(&mut world, DRAFT_12, &id, 5, false, b"hel").send()),
        (413, patch(&mut world, DRAFT_12, &unknown, 5, false, b" world").length(101).send()),
    ] {
        refused.is(status).has("upload-limit", LIMITS).complete(DRAFT_12, false).problem();
    }
    assert_eq!((world.uploads.len(), world.bytes(&id), world.bytes(&unknown)), (2, &b"hello"[..], &b"hello"[..]));
}

/// The length of the upload or `max-append-size`: whichever the content exceeds first.
#[test]
fn the_smaller_of_two_limits_decides() {
    for (length, max_append_size, status, phase) in
        [(10, 20, 400, Phase::Invalid), (10, 10, 400, Phase::Invalid), (20, 10, 413, Phase::Receiving)]
    {
        for piece in [30, 15, 1] {
            let mut world = World::with(Config::default().max_append_size(max_append_size));
            let id = begun_of(&mut world, DRAFT_12, b"", length);
            let append = patch(&mut world, DRAFT_12, &id, 0, false, &[0; 30]).without("content-length");
            let problem = append.in_pieces(piece).send().is(status).problem();
            assert_eq!(world.record(&id).phase, phase, "{length} {max_append_size} {piece}: {problem}");
        }
    }
}

/// "This limit does not apply to upload creation requests with no content, or to requests completing the upload by
/// including the Upload-Complete: ?1 header field."
#[test]
fn an_empty_creation_and_the_last_append_may_be_small() {
    let mut world = World::with(limited());
    let id = post(&mut world, DRAFT_12, false, b"").send().id();
    patch(&mut world, DRAFT_12, &id, 0, false, b"").send().is(400);
    patch(&mut world, DRAFT_12, &id, 0, true, b"a").send().is(201);
    post(&mut world, DRAFT_12, true, b"a").send().is(201);
}

/// "The server might also deactivate the upload resource if the offset exceeds the maximum size." This one refuses what
/// is too much, and the upload may still be completed.
#[test]
fn an_upload_never_exceeds_its_maximum_size() {
    let mut world = World::with(Config::default().max_size(8));
    let id = begun(&mut world, DRAFT_12, b"hello");
    let refused = patch(&mut world, DRAFT_12, &id, 5, false, b" world").send().is(413).has("upload-offset", 5);
    refused.has("upload-limit", "max-size=8");
    patch(&mut world, DRAFT_12, &id, 5, false, b" world").without("content-length").send().is(413);
    assert_eq!(world.bytes(&id), b"hello");
    patch(&mut world, DRAFT_12, &id, 5, true, b"!!!").send().is(201);
}
