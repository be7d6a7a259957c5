//! Uploads at a resource of the application, whose own handler responds.

mod apart;
mod kept;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request as Head, Response, StatusCode, Version, request::Parts};

use super::*;
use crate::{
    Config, Download, Failure, Kind, Location, Phase,
    server::{Operation, Resource, announce_resource, may_resume, resumes},
};

const MIB: u64 = 1024 * 1024;

/// A server with a handler at its resources that reports how many bytes it received.
fn world() -> World {
    with(Config::default())
}

fn with(config: Config) -> World {
    let mut world = World::with(config);
    world.resource = Some(Resource::default());
    world.application.handler = Box::new(|_, content| {
        let mut response = Response::new(Some(format!("{} bytes", content.len()).into()));
        *response.status_mut() = StatusCode::ACCEPTED;
        response.headers_mut().insert("x-photo", "7".parse().unwrap());
        Ok(response)
    });
    world
}

/// The URL of the upload that a creation has made.
fn create(world: &mut World, version: u8, content: &[u8]) -> String {
    let post = request(world, version, Method::POST, "/photos?album=7").body(content).without("content-type");
    let created = complete(post, version, false).send().is(201).complete(version, false);
    created.has("upload-offset", content.len()).header("location").unwrap().to_owned()
}

fn append<'w>(
    world: &'w mut World,
    version: u8,
    url: &str,
    offset: u64,
    completes: bool,
    content: &[u8],
) -> Request<'w> {
    let patch = request(world, version, Method::PATCH, url).offset(offset).body(content);
    complete(patch.header("content-type", PARTIAL), version, completes)
}

fn id(url: &str) -> UploadId {
    url.rsplit('=').next().unwrap().parse().unwrap()
}

fn head_of(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let head =
        headers.iter().fold(Head::builder().method(method).uri(uri), |head, (name, value)| head.header(*name, *value));
    head.body(()).unwrap().into_parts().0
}

/// Which requests are handled, and which are forwarded to the handler untouched.
#[test]
fn only_resumable_uploads_are_handled() {
    let (config, resource) = (Config::default(), Resource::default());
    let takes = |method, uri, headers: &[(&str, &str)], informs| {
        let head = head_of(method, uri, headers);
        let taken = resumes(&config, &head, &resource, informs);
        let glance = may_resume(head.uri.query(), |name| head.headers.contains_key(name));
        assert!(glance || !taken, "what is taken is seen at a glance");
        assert!(!resumes(&Config::default().without_draft(), &head, &resource, informs));
        taken
    };
    let (v6, whole, begin) =
        (("upload-draft-interop-version", "6"), ("upload-complete", "?1"), ("upload-complete", "?0"));
    let (large, small) = (("content-length", "1048576"), ("content-length", "1048575"));
    for (headers, informs, taken) in [
        (&[] as &[_], true, false),
        (&[v6], true, false),
        // A request that starts an upload is handled, because it can be resumed.
        (&[begin], false, true),
        (&[begin, small], false, true),
        (&[("upload-incomplete", "?1"), ("upload-draft-interop-version", "3")], false, true),
        (&[("upload-incomplete", "?1")], false, false),
        // A request with all of the content is handled if its client can be informed and it is large enough.
        (&[whole, v6, large], true, true),
        (&[whole, v6], true, true),
        (&[whole, v6, small], true, false),
        (&[whole, v6, ("content-length", "x")], true, false),
        (&[whole, v6, large], false, false),
        (&[whole, large], true, false),
        (&[whole, large, ("upload-draft-interop-version", "99")], true, false),
        (&[whole, v6, large, ("via", "1.1 proxy")], true, false),
        (&[("upload-incomplete", "?0"), ("upload-draft-interop-version", "3"), large], true, true),
        // Meaningless values.
        (&[("upload-complete", "1"), large], true, false),
        // A client of tus on an iPhone.
        (&[whole, v6, large, ("tus-resumable", "1.0.0")], true, false),
    ] {
        for (method, may) in [("POST", true), ("PUT", true), ("PATCH", true), ("GET", false), ("DELETE", false)] {
            assert_eq!(takes(method, "/photos", headers, informs), taken && may, "{method} {headers:?}");
        }
    }
    // The handler may accept what the limits of an upload would refuse.
    let config = Config::default().max_append_size(1 << 20).max_metadata(20);
    for (headers, taken) in [
        (&[large] as &[_], true),
        (&[("content-length", "1048577")], false),
        (&[], false),
        (&[large, ("content-type", "image/heic")], true),
        (&[large, ("content-type", "image/vnd.adobe.photoshop")], false),
    ] {
        let head = head_of("POST", "/photos", &[&[whole, v6], headers].concat());
        assert_eq!(resumes(&config, &head, &resource, true), taken, "{headers:?}");
    }
    // An append that does not belong to an upload is left to the application.
    assert!(!takes("PATCH", "/photos", &[begin, ("content-type", PARTIAL)], true));
    for method in ["HEAD", "PATCH", "DELETE", "GET", "POST", "OPTIONS"] {
        assert!(takes(method, "/photos?a&resumable-upload=f00", &[], false), "{method}");
        assert!(!takes(method, "/photos?a&resumable=f00", &[], false), "{method}");
    }
    // A request with too large a head is forwarded, if possible.
    let long = "x".repeat(16 * 1024);
    assert!(!takes("POST", "/photos", &[whole, v6, large, ("x-long", &long)], true));
    assert!(takes("POST", "/photos", &[begin, v6, large, ("x-long", &long)], true));
    let mut old = head_of("POST", "/photos", &[whole, v6, large]);
    old.version = Version::HTTP_10;
    assert!(!resumes(&config, &old, &resource, true));
}

/// "the response that matches what the resource, that was targeted by the initial upload creation, would have generated
/// if it had processed the entire representation in the initial request".
#[test]
fn the_handler_gets_the_original_request_and_its_response_is_final() {
    for version in VERSIONS {
        let mut world = world();
        let post = request(&mut world, version, Method::PUT, "/photos?album=7").body(b"hello ");
        let created = complete(post, version, false)
            .header("content-type", "text/plain")
            .header("authorization", "Bearer old")
            .header("cookie", "old")
            .header("connection", "x-hop, close")
            .header("x-hop", "1")
            .header("expect", "100-continue")
            .header("x-many", "1")
            .also("x-many", "2")
            .header("content-digest", "id-sha-256=:AA==:")
            .send()
            .is(201);
        let url = created.header("location").unwrap().to_owned();
        assert!(url.starts_with("/photos?album=7&resumable-upload="), "{url}");
        let last = append(&mut world, version, &url, 6, true, b"world").header("authorization", "Bearer new");
        let done = last.header("x-trace", "patch").send().is(202).complete(version, true);
        assert_eq!((done.text(), done.header("x-photo"), done.header("location")), ("11 bytes", Some("7"), None));
        assert!(world.path().ends_with("Receive Commit Claim Call KeepResponse Relay"), "{}", world.path());
        let (head, content) = world.called.pop().unwrap();
        assert_eq!(
            (head.method, head.uri.to_string(), &*content),
            (Method::PUT, "/photos?album=7".to_owned(), &b"hello world"[..])
        );
        let mut seen: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ("authorization", "Bearer new"),
                ("content-length", "11"),
                ("content-type", "text/plain"),
                ("host", "tus.example.org"),
                ("x-many", "1"),
                ("x-many", "2"),
                ("x-trace", "patch"),
            ]
        );
        assert_eq!(world.record(&id(&url)).phase, Phase::Notified);
        assert!(world.finishing.is_empty() && world.notified.is_empty(), "the handler is called instead of the hooks");
    }
}

/// The request that completes the upload is the one that was authorized. The creation, which may be days old and
/// somebody else's, determines only the content and what the completing request does not contain.
#[test]
fn the_handler_sees_the_request_that_was_authorized() {
    let mut world = world();
    let mut post = request(&mut world, 9, Method::POST, "/photos").body(b"hello").without("content-type");
    for (name, value) in [
        ("authorization", "Bearer old"),
        ("proxy-authorization", "Basic old"),
        ("cookie", "old"),
        ("host", "old.example"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-user", "old"),
        ("x-real-ip", "192.0.2.1"),
        ("via", "1.1 old"),
        ("origin", "https://old.example"),
        ("referer", "https://old.example/"),
        ("sec-fetch-site", "same-origin"),
        ("x-tenant", "old"),
        ("x-role", "old"),
        ("x-kept", "old"),
        ("content-type", "image/png"),
        ("content-language", "de"),
        ("content-disposition", "inline"),
        ("repr-digest", "id-sha-256=:AA==:"),
    ] {
        post = post.header(name, value);
    }
    let created = complete(post.also("x-tenant", "older"), 9, false).send().is(201);
    let url = created.header("location").unwrap().to_owned();
    let patch = append(&mut world, 9, &url, 5, true, b"")
        .header("host", "new.example")
        .header("x-forwarded-for", "192.0.2.2")
        .header("x-tenant", "new")
        .also("x-tenant", "newer")
        // The server sees the values that are listed here nevertheless.
        .header("connection", "x-role, host")
        .header("x-role", "new")
        .header("te", "trailers")
        .header("content-language", "en")
        .header("content-digest", "id-sha-256=:AA==:")
        .header("upload-metadata", "a")
        .header("x-http-method-override", "PATCH");
    patch.send().is(202);
    let (head, _) = world.called.pop().unwrap();
    let mut seen: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            ("content-disposition", "inline"),
            ("content-language", "de"),
            ("content-length", "5"),
            ("content-type", "image/png"),
            ("host", "new.example"),
            ("repr-digest", "id-sha-256=:AA==:"),
            ("x-forwarded-for", "192.0.2.2"),
            ("x-kept", "old"),
            ("x-role", "new"),
            ("x-tenant", "new"),
            ("x-tenant", "newer"),
        ]
    );
}

#[test]
fn an_upload_may_consist_of_one_request() {
    let mut world = world();
    world.informs = true;
    let post = request(&mut world, 6, Method::POST, "/photos").stream(b"hello");
    let done = complete(post, 6, true).send().is(202).complete(6, true).has("upload-offset", 5);
    assert_eq!(done.text(), "5 bytes");
    let informed = world.log.informed[0].headers()["location"].to_str().unwrap().to_owned();
    assert!(informed.starts_with("/photos?resumable-upload="), "{informed}");
    // tus-js-client requires the location in every response to a creation.
    done.has("location", informed);
}

/// tus-js-client never completes an empty file.
#[test]
fn an_empty_upload_is_a_request_without_content() {
    for version in VERSIONS {
        let mut world = world();
        let url = create(&mut world, version, b"");
        append(&mut world, version, &url, 0, true, b"").send().is(202).complete(version, true);
        assert_eq!(
            (&*world.called[0].1, &world.called[0].0.headers["content-length"]),
            (&b""[..], &"0".parse().unwrap())
        );
    }
    let mut world = world();
    let post = request(&mut world, 6, Method::POST, "/photos").body(b"").length(0);
    let done = complete(post, 6, false).send().is(202).complete(6, true);
    assert!(done.header("location").is_some() && world.called.len() == 1);
}

/// "4xx (Client Error) or 5xx (Server Error) status codes indicate in this case an error occurred while processing the
/// representation, and therefore, resuming the upload would not resolve this error."
#[test]
fn the_handlers_own_errors_are_final() {
    for status in [303, 400, 401, 413, 422, 500, 503] {
        let mut world = world();
        world.application.handler = Box::new(move |_, _| {
            let mut response = Response::new(Some(Bytes::from_static(b"no")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        });
        let url = create(&mut world, 6, b"hello");
        for _ in 0..2 {
            append(&mut world, 6, &url, 5, true, b"").send().says(status, "no").complete(6, true);
        }
        assert_eq!(world.called.len(), 1);
    }
}

#[test]
fn a_handler_that_does_not_respond_is_called_again() {
    for version in VERSIONS {
        let mut world = world();
        let mut failures = 2;
        world.application.handler = Box::new(move |_, content| {
            failures -= 1;
            if failures >= 0 {
                Err(Failure::Internal)
            } else {
                Ok(Response::new(Some(Bytes::copy_from_slice(content))))
            }
        });
        let url = create(&mut world, version, b"hello");
        for offset in [5, 5] {
            let failed = append(&mut world, version, &url, offset, true, b"").send();
            failed.is(500).complete(version, false).has("upload-offset", 5).problem();
            let state = request(&mut world, version, Method::HEAD, &url).send();
            state.is(204).complete(version, false).has("upload-offset", 5);
        }
        assert_eq!(append(&mut world, version, &url, 5, true, b"").send().is(200).text(), "hello");
        assert_eq!(world.called.len(), 3);
    }
}

/// Whatever fails, and wherever the server is killed: the client requests the offset and continues, and the handler
/// gets exactly the bytes, at least once.
#[test]
fn a_failure_at_any_step_is_survived() {
    for failure in [Failure::Internal, Failure::Busy, Failure::Conflict, Failure::NotFound] {
        for creates in [true, false] {
            for step in 0..16 {
                let mut world = world();
                world.informs = true;
                let url = if creates { None } else { Some(create(&mut world, 6, b"hello ")) };
                world.fail_at(step, failure);
                let first = match &url {
                    None => {
                        let post = request(&mut world, 6, Method::POST, "/photos").stream(b"hello world");
                        complete(post, 6, true).send()
                    }
                    Some(url) => append(&mut world, 6, url, 6, true, b"world").send(),
                };
                let informed = world.log.informed.iter().find_map(|interim| interim.headers().get("location"));
                let url = url.or(informed.map(|url| url.to_str().unwrap().to_owned()));
                let state = url.as_ref().map(|url| request(&mut world, 6, Method::HEAD, url).send());
                let (url, offset) = match (url, state) {
                    (Some(url), Some(state)) if state.status() == 204 => {
                        (url, state.header("upload-offset").unwrap().parse().unwrap())
                    }
                    // It was never created: the client starts again.
                    _ if first.status() >= 300 => (create(&mut world, 6, b"hello "), 6),
                    _ => panic!("{first:?}"),
                };
                let rest = &b"hello world"[usize::try_from(offset).unwrap()..];
                let done = append(&mut world, 6, &url, offset, true, rest).send().is(202).complete(6, true);
                assert_eq!(done.text(), "11 bytes");
                assert!(!world.called.is_empty() && world.called.iter().all(|(_, content)| content == "hello world"));
            }
        }
    }
}

#[test]
fn one_process_at_a_time_calls_the_handler() {
    let mut world = world();
    let url = create(&mut world, 9, b"hello");
    world.fail("Claim", Failure::Busy);
    let busy = append(&mut world, 9, &url, 5, true, b"").send().is(503).complete(9, false);
    assert_eq!((busy.header("retry-after"), world.called.len()), (Some("1"), 0));
    // Another process responds between the request and the claim.
    let id = id(&url);
    world.meanwhile("Claim", move |uploads| {
        let stored = uploads.get(&id).unwrap().clone();
        let mut change = crate::Change::of(&stored.upload);
        change.phase = Phase::Notified;
        let mut response = Response::new(Bytes::from_static(b"another's"));
        *response.status_mut() = StatusCode::CREATED;
        change.verbatim = Some(Box::new(stored.upload.verbatim.with_response(Some(&response))));
        uploads.change(&stored, &change, &[]).unwrap();
    });
    let done = append(&mut world, 9, &url, 5, true, b"").send().is(201).complete(9, true);
    assert_eq!((done.text(), world.called.len()), ("another's", 0));
}

#[test]
fn limits_apply_before_the_handler_is_called() {
    let mut world = with(Config::default().max_size(8));
    let post = request(&mut world, 6, Method::POST, "/photos").body(b"hello world");
    complete(post, 6, false).send().is(413).complete(6, false);
    let url = create(&mut world, 6, b"hello");
    append(&mut world, 6, &url, 5, true, b" world").send().is(413).complete(6, false);
    append(&mut world, 6, &url, 5, true, b" w").send().is(202);
    let long = "x".repeat(17_000);
    let post = request(&mut world, 6, Method::POST, "/photos").header("x-long", long);
    complete(post, 6, false).send().says(431, "16384");
    assert_eq!(world.called.len(), 1);
}

#[test]
fn a_digest_is_verified_before_the_handler_is_called() {
    for (digest, status) in
        [("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", 202), ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", 400)]
    {
        let mut world = with(Config::default().checksums([crate::Algorithm::Sha256]));
        let post = request(&mut world, 9, Method::POST, "/photos").header("repr-digest", format!("sha-256=:{digest}:"));
        let created = complete(post.body(b"he"), 9, false).send().is(201);
        let url = created.header("location").unwrap().to_owned();
        append(&mut world, 9, &url, 2, true, b"llo").send().is(status);
        assert_eq!(world.called.len(), usize::from(status == 202));
    }
}

/// "the server MUST include the Upload-Limit header field".
#[test]
fn options_announces_the_limits() {
    let announced = |config: Config, min_size, status| {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let resource = Resource { min_size, ..Resource::default() };
        announce_resource(&config, &resource, &mut response);
        let limit = response.headers().get("upload-limit").map(|limit| limit.to_str().unwrap().to_owned());
        (response.status().as_u16(), limit)
    };
    let with_limits = || Config::default().max_size(7);
    assert_eq!(announced(Config::default(), MIB, 405), (204, Some("min-size=1048576".into())));
    assert_eq!(announced(with_limits(), MIB, 200), (200, Some("min-size=1048576, max-size=7".into())));
    assert_eq!(announced(with_limits(), 0, 200), (200, Some("max-size=7".into())));
    assert_eq!(announced(Config::default(), 0, 200), (200, Some("min-size=0".into())));
    assert_eq!(announced(Config::default().without_draft(), 0, 405), (405, None));
}

/// Content of unknown length that breaks off after its last byte may have been declared complete, but only its end
/// shows that.
#[test]
fn interrupted_content_does_not_reach_the_handler() {
    let mut world = world();
    let url = create(&mut world, 6, b"hello");
    let patch = request(&mut world, 6, Method::PATCH, &url).offset(5).stream(b" world");
    let patch = complete(patch.header("content-type", PARTIAL), 6, true);
    patch.interrupted(crate::server::Interruption::Disconnected).send().is(503);
    assert!(world.called.is_empty());
    request(&mut world, 6, Method::HEAD, &url).send().has("upload-offset", 11).complete(6, false);
    append(&mut world, 6, &url, 11, true, b"").send().is(202);
    assert_eq!(world.called[0].1, "hello world");
}
