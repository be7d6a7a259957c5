//! What a resource has apart from others and from the endpoint: its uploads, their URL, and what is asked about them.

use super::*;

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
