//! Uploads at a resource of the application, whose own handler responds.

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

/// "The server can choose to replay the final response to the client if the request to append to the completed upload is
/// valid."
#[test]
fn a_lost_response_is_replayed() {
    for version in VERSIONS {
        let mut world = world();
        let url = create(&mut world, version, b"hello");
        append(&mut world, version, &url, 5, true, b"").send().is(202);
        request(&mut world, version, Method::HEAD, &url).send().is(204).complete(version, true).has("upload-offset", 5);
        for _ in 0..2 {
            let again = append(&mut world, version, &url, 5, true, b"").send().is(202).complete(version, true);
            assert_eq!((again.text(), again.header("x-photo")), ("5 bytes", Some("7")));
        }
        assert_eq!(world.called.len(), 1);
        append(&mut world, version, &url, 5, true, b"!").send().is(409);
        append(&mut world, version, &url, 4, true, b"").send().is(409);
        append(&mut world, version, &url, 5, false, b"").send().is(409);
        assert_eq!(world.called.len(), 1);
    }
}

/// Cookies belong to the client that was connected when the handler responded.
#[test]
fn cookies_are_not_replayed() {
    let mut world = world();
    world.application.handler = Box::new(|_, _| {
        let mut response = Response::new(Some(Bytes::from_static(b"hello")));
        for (name, value) in
            [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("set-cookie2", "c=3"), ("www-authenticate", "Basic")]
        {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        Ok(response)
    });
    let url = create(&mut world, 9, b"hello");
    let done = append(&mut world, 9, &url, 5, true, b"").send().is(200);
    assert_eq!(done.0.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!((done.header("set-cookie2"), done.header("www-authenticate")), (Some("c=3"), Some("Basic")));
    let again = append(&mut world, 9, &url, 5, true, b"").send().is(200).lacks("set-cookie").lacks("set-cookie2");
    assert_eq!((again.text(), again.header("www-authenticate")), ("hello", Some("Basic")));
    assert_eq!(world.called.len(), 1);
}

/// 64 KiB are stored.
#[test]
fn a_response_too_large_to_store_is_not_replayed() {
    let long = "x".repeat(65_000);
    for (content, headers, kept) in [
        (Some(vec![b'\n'; 65_536]), "", true),
        (Some(vec![0; 65_537]), "", false),
        (Some(vec![0; 1000]), &*long, false),
        (None, "", false),
    ] {
        let mut world = world();
        let (body, header) = (content.clone().map(Bytes::from), headers.to_owned());
        world.application.handler = Box::new(move |_, _| {
            let mut response = Response::new(body.clone());
            if !header.is_empty() {
                response.headers_mut().insert("x-long", header.parse().unwrap());
            }
            Ok(response)
        });
        let url = create(&mut world, 9, b"hello");
        append(&mut world, 9, &url, 5, true, b"").send().is(200).complete(9, true);
        request(&mut world, 9, Method::HEAD, &url).send().complete(9, true);
        let again = append(&mut world, 9, &url, 5, true, b"").send();
        match kept {
            true => assert_eq!(again.is(200).0.into_body(), content.unwrap()),
            false => drop(again.says(409, "too large to store")),
        }
        assert_eq!(world.called.len(), 1);
    }
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

/// An upload is available only at its own resource: an authorization at one resource says nothing about another.
#[test]
fn each_resource_has_its_own_uploads() {
    let mut world = with(Config::default().download(Download::attachment()));
    let url = create(&mut world, 6, b"hello");
    let id = id(&url);
    for other in ["/videos?resumable-upload=", "/photos?resumable-upload=", "/photos?album=8&resumable-upload="] {
        let other = format!("{other}{id}");
        for method in [Method::HEAD, Method::DELETE, Method::GET] {
            request(&mut world, 6, method, &other).send().is(404);
        }
        append(&mut world, 6, &other, 5, true, b"").send().is(404);
    }
    // Nor do they belong to the endpoint, or the endpoint's uploads to a resource.
    let resource = world.resource.take();
    for (method, path) in [(Method::HEAD, format!("/files/{id}")), (Method::GET, format!("/files/{id}"))] {
        world.request(method.clone(), &path).send().is(404);
        request(&mut world, 6, method, &path).send().is(404);
    }
    let others = begun(&mut world, 6, b"hello");
    let part = world.partial(b"x", 1);
    world.post().header("upload-concat", format!("final;/files/{part} /files/{id}")).send().is(400);
    world.resource = resource;
    request(&mut world, 6, Method::HEAD, &format!("/photos?resumable-upload={others}")).send().is(404);
    assert_eq!(world.record(&id).kind, Kind::Single);
    assert!(world.called.is_empty());
}

#[test]
fn each_request_of_an_upload_is_authorized() {
    let mut world = world();
    let url = create(&mut world, 6, b"hello");
    world.application.rejects = Box::new(|_, _| true);
    for method in [Method::HEAD, Method::DELETE, Method::GET] {
        request(&mut world, 6, method, &url).send().is(403);
    }
    append(&mut world, 6, &url, 5, true, b"").send().is(403);
    complete(request(&mut world, 6, Method::POST, "/photos"), 6, false).send().is(403);
    assert!(world.called.is_empty());
    world.application.rejects = Box::new(|operation, _| operation == Operation::Append);
    request(&mut world, 6, Method::DELETE, &url).send().is(204);
    assert!(world.uploads.get(&id(&url)).is_none());
}

/// The endpoint's downloads do not apply to resources: GET requests the offset.
#[test]
fn a_request_without_a_dialect_uses_the_draft() {
    let mut world = world();
    let url = create(&mut world, 6, b"hello");
    for method in [Method::HEAD, Method::GET] {
        let state = world.request(method, &url).without("tus-resumable").send();
        state.is(204).complete(6, false).has("upload-offset", 5);
    }
    world.request(Method::HEAD, &url).send().is(403);
    let options = world.request(Method::OPTIONS, &url).without("tus-resumable").send().is(204);
    options.lacks("tus-version").has("accept-patch", PARTIAL);
    world.request(Method::DELETE, &url).without("tus-resumable").send().is(204);
}

/// The content is for the handler, whatever the protocol of a request.
#[test]
fn resources_have_no_downloads() {
    let mut world = with(Config::default().download(Download::attachment()));
    let url = create(&mut world, 6, b"hello");
    for completed in [false, true] {
        if completed {
            append(&mut world, 6, &url, 5, true, b"").send().is(202);
        }
        for method in [Method::GET, Method::HEAD] {
            let answer = world.request(method.clone(), &url).send().is(403).lacks("etag");
            assert!(!world.passed("Open") && !answer.text().contains("hello"));
            for plain in [true, false] {
                let request = match plain {
                    true => world.request(method.clone(), &url).without("tus-resumable"),
                    false => request(&mut world, 6, method.clone(), &url),
                };
                request.send().is(204).complete(6, completed);
                assert!(!world.passed("Open"));
            }
        }
    }
}

/// The client sees the resource at the URL of the proxy or of its own request. The base belongs to the endpoint.
#[test]
fn the_url_of_an_upload_is_the_public_url_of_the_resource() {
    for (config, before) in [
        (Config::default(), ""),
        (Config::default().location(Location::Host), "http://tus.example.org"),
        (Config::default().trust_forwarded(true), "/public"),
        (Config::default().location(Location::base("https://b.example/files").unwrap()), ""),
    ] {
        let mut world = with(config);
        let post = request(&mut world, 6, Method::POST, "/photos?album=7").header("x-forwarded-prefix", "/public");
        let created = complete(post, 6, false).send().is(201);
        let url = created.header("location").unwrap().to_owned();
        let path = url.strip_prefix(before).unwrap();
        assert!(path.starts_with("/photos?album=7&resumable-upload="), "{url}");
        append(&mut world, 6, path, 0, true, b"").send().is(202);
    }
}

/// The handler is never called without a client. Uploads that no client asks for expire.
#[test]
fn uploads_that_no_client_asks_for_expire() {
    let mut world = with(Config::default().expire_after(Duration::from_secs(100)));
    world.application.handler = Box::new(|_, _| Err(Failure::Internal));
    let url = create(&mut world, 6, b"hello");
    append(&mut world, 6, &url, 5, true, b"").send().is(500);
    assert!(!world.recover(&id(&url)) && world.called.len() == 1);
    world.wait(Duration::from_secs(99));
    request(&mut world, 6, Method::HEAD, &url).send().is(204);
    world.wait(Duration::from_secs(1));
    request(&mut world, 6, Method::HEAD, &url).send().is(410);
    assert!(world.recover(&id(&url)) && world.uploads.get(&id(&url)).is_none());

    let mut world = self::world();
    let url = create(&mut world, 6, b"hello");
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(3599));
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(410);
    assert!(world.recover(&id(&url)) && world.uploads.get(&id(&url)).is_none());
}

/// A request may take longer than a response is kept.
#[test]
fn a_response_is_kept_from_the_time_it_was_made() {
    let minute = Duration::from_secs(60);
    let mut world = world();
    world.application.handler_takes = minute * 70;
    let (url, began) = (create(&mut world, 6, b"hello"), world.now);
    append(&mut world, 6, &url, 5, true, b"").send().is(202).complete(6, true);
    assert_eq!(world.record(&id(&url)).expires, Some(began + minute * 130));
    world.wait(minute * 60 - Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(410);
    assert_eq!(world.called.len(), 1);
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
    for (digest, status) in [("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", 202), ("AAAA", 400)] {
        let mut world = world();
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
