//! "Status Code 104" and "Draft Version Identification".

use super::*;
use crate::{Config, server::Interruption};

fn informed(world: &World) -> Vec<Vec<(String, String)>> {
    let text =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
    world.log.informed.iter().map(|response| response.headers().iter().map(text).collect()).collect()
}

fn header(name: &str, value: impl std::fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// "the server SHOULD announce the upload resource by sending an interim response with the 104 (Upload Resumption
/// Supported) status code [...]. When sent, it MUST include Location header field pointing to the upload resource and MUST
/// include the Upload-Limit header field with the corresponding limits if existing." "Server implementations of draft
/// versions of the protocol MUST also send a header field Upload-Draft-Interop-Version with the interop version as its
/// value".
#[test]
fn a_new_upload_is_announced() {
    for version in VERSIONS {
        for completes in [true, false] {
            let mut world = World::with(Config::default().max_size(1000));
            world.informs = true;
            let id = post(&mut world, version, completes, b"hello").send().id();
            assert_eq!(
                informed(&world)[0],
                [
                    header("upload-draft-interop-version", version),
                    header("location", world.url(&id)),
                    header("upload-limit", "max-size=1000"),
                ]
            );
            assert!(world.path().starts_with("Authorize Create Store Inform Receive "));
        }
    }
}

/// "Server implementations of draft versions of the protocol MUST NOT send a 104 (Upload Resumption Supported) interim
/// response when the interop version indicated by the Upload-Draft-Interop-Version header field in the request is missing
/// or mismatching."
#[test]
fn a_client_of_no_known_version_gets_no_interim_response() {
    let mut world = World::new();
    (world.informs, world.commits_checkpoints) = (true, true);
    for version in ["0", "2", "11", "99", "999999999999999", "-6", "6.0", "\"6\"", "6, 6"] {
        let request = post(&mut world, DRAFT_12, true, b"hello").header("upload-draft-interop-version", version);
        request.send().is(201).complete(DRAFT_12, true);
        assert!(world.log.informed.is_empty(), "{version}");
    }
    let none = post(&mut world, DRAFT_12, true, b"hello").without("upload-draft-interop-version");
    none.send().is(201).complete(DRAFT_12, true);
    assert!(world.log.informed.is_empty());
    assert!(!world.passed("Inform"));
}

/// Neither browsers nor Node.js show tus-js-client an interim response. If it does not know the URL of its upload, a success
/// must contain it.
#[test]
fn tus_js_client_gets_no_interim_response() {
    for (name, value) in [
        ("upload-metadata", "a YQ=="),
        ("content-type", PARTIAL),
        ("sec-fetch-mode", "cors"),
        ("origin", "http://nas.local"),
    ] {
        let mut world = World::new();
        world.informs = true;
        let cut = post(&mut world, 6, true, b"hello").header("content-length", "11").header(name, value);
        let created = cut.interrupted(Interruption::ShuttingDown).send().is(201).complete(6, false);
        assert!(world.log.informed.is_empty(), "{name}");
        assert_eq!(
            created.has("upload-offset", 5).header("location"),
            Some(&*world.url(world.uploads.ids().next().unwrap()))
        );
    }
}

/// "While the request content is being processed, the server SHOULD send interim responses with a 104 (Upload Resumption
/// Supported) status code and the Upload-Offset header field set to the current offset to inform the client about the
/// upload progress. These interim responses MUST NOT include the Location header field."
///
/// Since draft 03; "The Upload-Offset header field in responses serves as an acknowledgment", so that only what is durable
/// is reported.
#[test]
fn progress_is_reported_when_it_is_durable() {
    for version in VERSIONS {
        let mut world = World::new();
        (world.informs, world.commits_checkpoints) = (true, true);
        let id = begun(&mut world, version, b"hello");
        patch(&mut world, version, &id, 5, true, b" world").send();
        let reported =
            |offset: u64| vec![header("upload-draft-interop-version", version), header("upload-offset", offset)];
        assert_eq!(informed(&world), if version < 5 { vec![] } else { vec![reported(8), reported(11)] });
        world.commits_checkpoints = false;
        let id = begun(&mut world, version, b"hello");
        patch(&mut world, version, &id, 5, true, b" world").send();
        assert!(informed(&world).is_empty(), "nothing was durable before the end");
    }
}

/// Without content there is nothing to resume: the final response is sent immediately.
#[test]
fn an_upload_without_content_is_not_announced() {
    let mut world = World::new();
    world.informs = true;
    for completes in [true, false] {
        post(&mut world, DRAFT_12, completes, b"").send().is(201);
        assert!(world.log.informed.is_empty());
    }
}

/// A client of tus is never sent one, whatever URLSession adds to its request.
#[test]
fn tus_has_no_interim_responses() {
    let mut world = World::new();
    (world.informs, world.commits_checkpoints) = (true, true);
    let request = world.post().length(5).body(b"hello").header("upload-draft-interop-version", "6");
    request.header("upload-complete", "?1").send().is(201).lacks("upload-complete");
    assert!(world.log.informed.is_empty() && !world.passed("Inform"));
}

/// Some proxies mistake an interim response for the final one, so none is sent through a proxy unless enabled.
#[test]
fn a_proxy_gets_no_interim_response_unless_it_forwards_them() {
    for (name, value) in [
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "192.0.2.1"),
        ("via", "1.1 proxy"),
    ] {
        for through in [false, true] {
            let config = Config::default();
            let mut world = World::with(if through { config.interim_through_proxies() } else { config });
            world.informs = true;
            post(&mut world, 6, true, b"hello").header(name, value).send().is(201).complete(6, true);
            assert_eq!(world.log.informed.len(), usize::from(through), "{name}");
        }
    }
}
