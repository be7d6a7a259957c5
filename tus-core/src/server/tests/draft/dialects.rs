//! Both dialects at one endpoint: the dialect of a request.

use super::*;
use crate::{Config, Cors, Dialect, Download};

/// The headers that URLSession adds to every upload task, including those of a tus client.
const URL_SESSION: [(&str, &str); 2] = [("upload-draft-interop-version", "6"), ("upload-complete", "?1")];

fn with_all<'w>(request: Request<'w>, version: &str) -> Request<'w> {
    with_urlsession(request).header("upload-draft-interop-version", version).header("upload-incomplete", "?0")
}

fn with_urlsession(request: Request<'_>) -> Request<'_> {
    URL_SESSION.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn a_tus_request_with_the_drafts_headers_is_a_tus_request() {
    for version in ["3", "5", "6", "9", "10", "99"] {
        let mut world = World::with(Config::default().download(Download::attachment()));
        let created =
            with_all(world.post().length(11).body(b"hello"), version).send().is(201).has("tus-resumable", "1.0.0");
        let id = created.lacks("upload-complete").lacks("upload-limit").id();
        assert_eq!(world.record(&id).dialect, Dialect::Tus);
        let head = with_all(world.head(&id), version).send().is(200).has("upload-offset", 5).has("upload-length", 11);
        head.lacks("upload-complete");
        let conflict =
            with_all(world.patch(&id).offset(3).body(b"lo"), version).send().is(409).has("tus-resumable", "1.0.0");
        conflict.lacks("upload-complete").has("content-type", "text/plain; charset=utf-8");
        // Not complete, whatever the other header declares.
        let patched = with_all(world.patch(&id).offset(5).body(b" "), version).send().is(204).has("upload-offset", 6);
        patched.lacks("upload-complete");
        assert!(world.notified.is_empty());
        // Nor incomplete.
        let last = with_all(world.patch(&id).offset(6).body(b"world"), version).header("upload-complete", "?0").send();
        last.is(204).has("upload-offset", 11);
        assert_eq!(world.notified, std::slice::from_ref(&id));
        let path = world.url(&id);
        assert_eq!(with_all(world.request(Method::GET, &path), version).send().is(200).text(), "hello world");
        let partial = with_all(world.patch(&id).offset(11), version).header("content-type", PARTIAL).send();
        partial.is(415).has("tus-resumable", "1.0.0");
        with_all(world.delete(&id), version).send().is(204).has("tus-resumable", "1.0.0");
        with_all(world.post().length(5), version).header("tus-resumable", "0.2.2").send().is(412);
    }
}

#[test]
fn completeness_version_or_media_type_select_the_draft() {
    let mut world = World::new();
    let bare = |world: &mut World, method: Method, path: &str| -> Answer {
        world.request(method, path).without("tus-resumable").send()
    };
    let complete = world.request(Method::POST, "/files").without("tus-resumable").header("upload-complete", "?0");
    let id = complete.send().is(201).lacks("tus-resumable").complete(10, false).id();
    let version = world.request(Method::POST, "/files").without("tus-resumable");
    version.header("upload-draft-interop-version", "6").send().is(400).problem();
    let path = world.url(&id);
    let typed = world.request(Method::PATCH, &path).without("tus-resumable").header("content-type", PARTIAL);
    typed.send().is(400).problem();
    // Without any of these it is tus, as before.
    bare(&mut world, Method::POST, "/files").says(412, "tus-resumable");
    bare(&mut world, Method::PATCH, &path).says(412, "tus-resumable");
    bare(&mut world, Method::HEAD, "/files").is(405);
    let incomplete = world.request(Method::POST, "/files").without("tus-resumable").header("upload-incomplete", "?0");
    incomplete.send().is(412);
}

#[test]
fn a_request_without_a_dialect_uses_that_of_the_upload() {
    let mut world = World::new();
    for version in VERSIONS {
        let id = begun(&mut world, version, b"hello");
        let path = world.url(&id);
        for method in [Method::HEAD, Method::GET] {
            let answer = world.request(method, &path).without("tus-resumable").send().is(204);
            answer.has("upload-offset", 5).complete(version, false).lacks("tus-resumable");
        }
        world.request(Method::DELETE, &path).without("tus-resumable").send().is(204).lacks("tus-resumable");
    }
    let tus = world.upload(b"hel", 5);
    let path = world.url(&tus);
    for (method, status) in [(Method::HEAD, 412), (Method::DELETE, 412), (Method::GET, 405)] {
        let refused = world.request(method, &path).without("tus-resumable").send().is(status);
        refused.lacks("upload-offset").has("tus-resumable", "1.0.0");
        assert!(world.log.held.is_empty());
    }
    let missing = world.url(&UploadId::from_random(0));
    world.request(Method::HEAD, &missing).without("tus-resumable").send().is(404);
}

#[test]
fn an_upload_is_available_only_in_its_own_dialect() {
    let mut world = World::new();
    let (tus, draft) = (world.upload(b"hel", 5), begun(&mut world, DRAFT_12, b"hel"));
    let before = world.uploads.clone();
    for refused in [
        world.head(&draft).send(),
        world.patch(&draft).offset(3).body(b"lo").send(),
        world.delete(&draft).send(),
        with_urlsession(world.patch(&draft).offset(3).body(b"lo")).send(),
    ] {
        let refused = refused.says(403, "Resumable Uploads for HTTP").has("tus-resumable", "1.0.0");
        refused.lacks("upload-offset").lacks("upload-complete").lacks("upload-length");
    }
    for version in VERSIONS {
        let path = world.url(&tus);
        for refused in [
            head(&mut world, version, &tus).send(),
            request(&mut world, version, Method::GET, &path).send(),
            patch(&mut world, version, &tus, 3, true, b"lo").send(),
            delete(&mut world, version, &tus).send(),
        ] {
            let refused = refused.is(403).complete(version, false).lacks("upload-offset").lacks("upload-length");
            assert!(refused.lacks("tus-resumable").problem()["detail"].as_str().unwrap().contains("tus 1.0.0"));
            assert!(world.log.held.is_empty(), "no request leaves for it");
        }
    }
    assert_eq!(world.uploads, before);
    // Nor can it be a part of a final upload.
    world.post().concat(&[&draft]).send().is(400);
}

#[test]
fn a_dialect_can_be_turned_off() {
    let mut world = World::with(Config::default().without_draft());
    world.options().send().is(204).lacks("upload-limit").lacks("accept-patch").has("tus-version", "1.0.0");
    post(&mut world, 6, true, b"hello").send().says(412, "tus-resumable").lacks("upload-complete");
    world.post().length(5).body(b"hello").send().is(201);
    let (id, path) = (world.upload(b"hel", 5), "/files/none");
    world.head(&id).without("tus-resumable").send().is(412);
    assert_eq!(world.path(), "Respond");
    request(&mut world, 6, Method::HEAD, path).send().is(412);

    let mut world = World::with(Config::default().without_tus());
    let options = world.options().send().is(204).lacks("tus-version").lacks("tus-resumable").lacks("tus-extension");
    options.has("upload-limit", "min-size=0");
    world.post().length(5).send().says(400, "does not support tus");
    with_urlsession(world.post().length(5)).send().says(400, "does not support tus");
    let id = completed(&mut world, 6, b"hello");
    world.head(&id).send().says(400, "does not support tus");
    let path = world.url(&id);
    world.request(Method::HEAD, &path).without("tus-resumable").send().is(204).complete(6, true);
    world.request(Method::POST, "/files").without("tus-resumable").send().is(400).problem();

    // Earlier uploads stay, for their own dialect.
    let mut world = World::new();
    let (tus, draft) = (world.upload(b"hel", 5), begun(&mut world, 6, b"hel"));
    world.config = Config::default().without_draft().into();
    world.head(&draft).send().is(403);
    world.config = Config::default().without_tus().into();
    head(&mut world, 6, &tus).send().is(403);
    let path = world.url(&tus);
    world.request(Method::HEAD, &path).without("tus-resumable").send().is(400);
    world.config = Config::default().into();
    world.patch(&tus).offset(3).body(b"lo").send().is(204);
    patch(&mut world, 6, &draft, 3, true, b"lo").send().is(201);
}

/// A page of an allowed origin may also send and see the headers of the draft.
#[test]
fn pages_of_other_origins_may_use_the_draft() {
    let mut world = World::with(Config::default().cors(Cors::Any));
    let preflight = world.options().header("origin", "https://a.example");
    let answer = preflight.header("access-control-request-method", "PUT").send().is(204);
    let list = |answer: &Answer, name: &str| answer.header(name).unwrap().to_ascii_lowercase();
    let allowed = list(&answer, "access-control-allow-headers");
    for name in [
        "content-digest",
        "content-disposition",
        "content-encoding",
        "content-type",
        "repr-digest",
        "upload-complete",
        "upload-draft-interop-version",
        "upload-incomplete",
        "upload-length",
        "upload-offset",
    ] {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}");
    }
    assert!(answer.header("access-control-allow-methods").unwrap().split(", ").any(|method| method == "PUT"));
    let refused = post(&mut world, DRAFT_12, true, b"hello").length(7).header("origin", "https://a.example").send();
    let exposed = list(&refused.is(400), "access-control-expose-headers");
    for name in [
        "accept-patch",
        "location",
        "upload-complete",
        "upload-incomplete",
        "upload-length",
        "upload-limit",
        "upload-offset",
    ] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
    }
}
