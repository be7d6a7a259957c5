//! Differences between the interop versions.

use super::*;

/// Draft 01, "Upload-Incomplete": "indicates whether the upload is incomplete"; since draft 02 "Replace Upload-Incomplete
/// header with Upload-Complete".
#[test]
fn version_3_declares_incompleteness() {
    let mut world = World::new();
    let id = begun(&mut world, 3, b"hel");
    head(&mut world, 3, &id).send().is(204).has("upload-incomplete", "?1").lacks("upload-complete");
    patch(&mut world, 3, &id, 3, true, b"lo").send().has("upload-incomplete", "?0").lacks("upload-complete");
    // The other name has no meaning here.
    post(&mut world, 3, true, b"hello").without("upload-incomplete").header("upload-complete", "?1").send().is(400);
    let request = post(&mut world, 4, true, b"hello").without("upload-complete").header("upload-incomplete", "?0");
    request.send().is(400);
}

/// Since draft 04: "Require application/partial-upload for appending to uploads."
#[test]
fn an_append_has_a_media_type_since_version_6() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = begun(&mut world, version, b"hel");
        let untyped = patch(&mut world, version, &id, 3, true, b"lo").without("content-type").send();
        untyped.is(if version < 6 { 201 } else { 415 });
    }
}

/// Drafts 01 to 05: an append without a completeness is the last one. Since draft 06: "Require Upload-Complete".
#[test]
fn an_append_without_completeness_is_the_last_one_until_version_6() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = begun(&mut world, version, b"hel");
        let request = patch(&mut world, version, &id, 3, true, b"lo").without("upload-complete");
        let answer = request.without("upload-incomplete").send();
        if version <= 6 {
            answer.is(201).complete(version, true);
        } else {
            answer.is(400).complete(version, false).problem();
            assert_eq!(world.bytes(&id), b"hel");
        }
    }
}

/// Drafts 01 to 05, "Offset Retrieval" and "Upload Cancellation": "The server MUST reject requests with either of these
/// fields by responding with a 400 (Bad Request) status code."
#[test]
fn head_and_delete_with_state_are_rejected_until_version_6() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = begun(&mut world, version, b"hel");
        let status = if version <= 6 { 400 } else { 204 };
        head(&mut world, version, &id).offset(3).send().is(status);
        complete(head(&mut world, version, &id), version, true).send().is(status);
        // A value of the wrong type counts as absent.
        head(&mut world, version, &id).header("upload-offset", "x").send().is(204);
        assert!(world.uploads.contains(&id));
        delete(&mut world, version, &id).offset(3).send().is(status);
        assert_eq!(world.uploads.contains(&id), version <= 6);
    }
}

/// Drafts 01 to 05: "201 (Created)" for an append that is not the last.
#[test]
fn an_incomplete_append_is_201_until_version_6() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = begun(&mut world, version, b"hel");
        let answer = patch(&mut world, version, &id, 3, false, b"l").send().complete(version, false);
        answer.is(if version <= 6 { 201 } else { 204 }).has("upload-offset", 4);
    }
}

/// tus-js-client creates an empty file with a length of 0, declares it as incomplete, and stops.
#[test]
fn an_empty_file_of_length_0_is_complete_until_version_6() {
    for version in VERSIONS {
        let mut world = World::new();
        let answer = post(&mut world, version, false, b"").length(0).send().is(201).complete(version, version <= 6);
        assert_eq!(world.notified.len(), usize::from(version <= 6));
        let id = answer.id();
        if version > 6 {
            patch(&mut world, version, &id, 0, true, b"").send().is(201).complete(version, true);
        }
    }
}

/// tus-js-client in Node declares the last piece of a file as not the last one, and stops, too.
#[test]
fn an_upload_at_its_declared_length_is_complete_until_version_6() {
    for version in VERSIONS {
        for commits_checkpoints in [false, true] {
            let mut world = World::new();
            world.commits_checkpoints = commits_checkpoints;
            let id = begun_of(&mut world, version, b"hello", 11);
            let last = patch(&mut world, version, &id, 5, false, b" world").send().complete(version, version <= 6);
            last.has("upload-offset", 11);
            assert_eq!(world.notified.len(), usize::from(version <= 6));
            // A client that completes it with a separate request gets the same response.
            patch(&mut world, version, &id, 11, true, b"").send().is(201).complete(version, true);
            assert_eq!(world.notified, [id]);
            let complete = post(&mut world, version, false, b"hello").length(5).send().is(201);
            complete.complete(version, version <= 6);
            // One of unknown length waits for its client.
            let unknown = begun(&mut world, version, b"hello");
            patch(&mut world, version, &unknown, 5, false, b"!").send().complete(version, false);
        }
    }
}

/// Since draft 06: "Rename expires limit to max-age."
#[test]
fn the_lifetime_is_expires_until_version_6_and_max_age_since() {
    for version in VERSIONS {
        let minute = std::time::Duration::from_secs(60);
        let mut world = World::with(crate::Config::default().expire_after(minute));
        let limit = if version <= 6 { "expires=60" } else { "max-age=60" };
        let id = post(&mut world, version, false, b"hel").send().has("upload-limit", limit).id();
        head(&mut world, version, &id).send().has("upload-limit", limit);
    }
}

/// An unknown version, or none, gets the newest rules, as the future RFC will.
#[test]
fn an_unknown_version_gets_the_newest_rules() {
    let mut world = World::new();
    for version in ["2", "11", "99"] {
        let request = post(&mut world, 10, false, b"hel").header("upload-draft-interop-version", version);
        let id = request.send().is(201).complete(10, false).id();
        assert_eq!(world.record(&id).dialect, crate::Dialect::Draft(10));
        let request = patch(&mut world, 10, &id, 3, false, b"l").header("upload-draft-interop-version", version);
        request.send().is(204);
    }
    let id = post(&mut world, 10, false, b"hel").without("upload-draft-interop-version").send().is(201).id();
    patch(&mut world, 10, &id, 3, true, b"lo").without("upload-draft-interop-version").send().is(201);
    assert_eq!(world.bytes(&id), b"hello");
}

/// What an iPhone does (URLSession of iOS 18.1 and later): one ordinary request, an interim response, a cut, the
/// offset, the rest.
#[test]
fn an_iphone_resumes() {
    let mut world = World::new();
    (world.informs, world.commits_checkpoints) = (true, true);
    let request = post(&mut world, 6, true, b"hello wor").header("content-length", "11");
    let request = request.header("content-type", "image/heic").header("user-agent", "CFNetwork/1568.200.51");
    request.interrupted(crate::server::Interruption::Disconnected).send();
    let interim = world.log.informed[0].clone();
    assert_eq!(interim.status(), 104);
    assert_eq!(interim.headers()["upload-draft-interop-version"], "6");
    let url = interim.headers()["location"].to_str().unwrap().to_owned();
    // It repeats the application's own headers.
    let again = request_again(&mut world, Method::HEAD, &url);
    let answer = again.header("content-digest", "md5=:AA==:").send().is(204).complete(6, false);
    let offset: u64 = answer.has("upload-length", 11).header("upload-offset").unwrap().parse().unwrap();
    assert_eq!(offset, 9);
    let rest = request_again(&mut world, Method::PATCH, &url).body(b"ld").offset(offset);
    let done = rest.header("content-type", PARTIAL).header("upload-complete", "?1").send();
    let id = done.is(201).complete(6, true).id();
    assert_eq!((world.bytes(&id), &world.notified), (&b"hello world"[..], &vec![id.clone()]));
    assert_eq!(world.record(&id).metadata.text("filetype"), Some("image/heic"));
}

fn request_again<'w>(world: &'w mut World, method: Method, url: &str) -> Request<'w> {
    request(world, 6, method, url).header("user-agent", "CFNetwork/1568.200.51")
}
