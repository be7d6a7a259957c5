//! tus 1.0.0, "Core Protocol": the example, the headers, the versions, OPTIONS. HEAD and PATCH are in
//! `requests`.

use http::Method;

use super::{request::Answer, world::World};
use crate::{Config, MAX_LENGTH, TUS_VERSION, TusExtension, UploadId};

/// tus 1.0.0, "Core Protocol": "All Clients and Servers MUST implement the core protocol."
#[test]
fn the_core_protocol_works_without_any_extension() {
    let mut world = World::with(bare());
    let id = world.place(70, Some(100), None);
    world.options().send().is(204);
    world.head(&id).send().is(200).has("upload-offset", 70);
    world.patch(&id).offset(70).body(&[7; 30]).send().is(204).has("upload-offset", 100);
    assert_eq!(world.bytes(&id), [7; 30]);
}

/// tus 1.0.0, "Core Protocol", "Example": "The example below shows the continuation of a 100 byte upload
/// that was interrupted after 70 bytes were transferred."
#[test]
fn the_example_of_the_core_protocol() {
    let mut world = World::new();
    world.choose_id("24e533e02ec3bc40c387f1a0e460e216");
    let id = world.upload(&[1; 70], 100);
    assert_eq!(id.as_str(), "24e533e02ec3bc40c387f1a0e460e216");
    world.head(&id).send().is(200).has("upload-offset", 70).has("tus-resumable", "1.0.0");
    let answer = world.patch(&id).offset(70).body(&[2; 30]).send();
    answer.is(204).has("tus-resumable", "1.0.0").has("upload-offset", 100);
    assert_eq!(world.bytes(&id), [[1; 70].as_slice(), &[2; 30]].concat());
}

/// tus 1.0.0, "Upload-Offset": "The value MUST be a non-negative integer."
/// tus 1.0.0, "Upload-Length": "The value MUST be a non-negative integer."
#[test]
fn offsets_and_lengths_are_non_negative_integers() {
    let mut world = World::new();
    for (offset, length) in [(0, 0), (0, 5), (MAX_LENGTH - 1, MAX_LENGTH), (MAX_LENGTH, MAX_LENGTH)] {
        let id = world.place(offset, Some(length), None);
        world.head(&id).send().is(200).has("upload-offset", offset).has("upload-length", length);
    }
    let id = world.upload(b"", 5);
    world.patch(&id).header("upload-offset", "-1").send().says(400, "upload-offset");
    world.patch(&id).header("upload-offset", "0.5").send().says(400, "upload-offset");
    world.post().header("upload-length", "-1").send().says(400, "upload-length");
    world.post().header("upload-length", "many").send().says(400, "upload-length");
}

/// tus 1.0.0, "Tus-Version": "The `Tus-Version` response header MUST be a comma-separated list of protocol
/// versions supported by the Server." "The list MUST be sorted by Server's preference where the first one
/// is the most preferred one."
#[test]
fn the_list_of_versions_starts_with_that_of_the_responses() {
    let answer = World::new().options().send();
    let versions: Vec<_> = answer.header("tus-version").unwrap().split(',').collect();
    assert_eq!(versions, [TUS_VERSION]);
    assert_eq!(answer.header("tus-resumable"), Some(versions[0]));
}

/// tus 1.0.0, "Tus-Resumable": "The `Tus-Resumable` header MUST be included in every request and response
/// except for `OPTIONS` requests." "The value MUST be the version of the protocol used by the Client or the
/// Server."
#[test]
fn every_response_has_tus_resumable() {
    let mut world = World::with(Config::default().max_size(1000));
    let id = world.upload(b"hello", 100);
    let gone = UploadId::from_random(0);
    let answers: Vec<Answer> = vec![
        world.options().send().is(204),
        world.post().length(5).send().is(201),
        world.head(&id).send().is(200),
        world.patch(&id).offset(5).body(b"!").send().is(204),
        world.post().send().is(400),
        world.head(&gone).send().is(404),
        world.request(Method::PUT, "/files").send().is(405),
        world.patch(&id).offset(0).send().is(409),
        world.head(&id).without("tus-resumable").send().is(412),
        world.post().length(1001).send().is(413),
        world.patch(&id).without("content-type").send().is(415),
        world.patch(&id).offset(6).sha1_of(b"a").body(b"b").send().is(460),
        world.delete(&id).send().is(204),
    ];
    for answer in answers {
        answer.has("tus-resumable", "1.0.0");
    }
}

/// tus 1.0.0, "Tus-Resumable": "The `Tus-Resumable` header MUST be included in every request and response
/// except for `OPTIONS` requests."
#[test]
fn a_request_without_a_version_is_refused() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let refused = |answer: Answer| answer.says(412, "tus-resumable").has("tus-version", "1.0.0");
    refused(world.post().length(5).without("tus-resumable").send());
    refused(world.head(&id).without("tus-resumable").send());
    refused(world.patch(&id).offset(5).without("tus-resumable").send());
    refused(world.delete(&id).without("tus-resumable").send());
    world.options().without("tus-resumable").send().is(204);
}

/// tus 1.0.0, "Tus-Resumable": "If the version specified by the Client is not supported by the Server, it
/// MUST respond with the `412 Precondition Failed` status and MUST include the `Tus-Version` header into the
/// response." "In addition, the Server MUST NOT process the request."
#[test]
fn an_unsupported_version_is_rejected_without_effect() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let before = world.uploads.clone();
    for version in ["0.2.2", "2.0.0", "1.0", "1.0.0,0.2.2", ""] {
        let head = world.head(&id);
        let mut answers = vec![head.header("tus-resumable", version).send()];
        assert_eq!(world.path(), "Respond");
        answers.push(world.patch(&id).offset(5).body(b"!").header("tus-resumable", version).send());
        assert_eq!(world.path(), "Respond");
        answers.push(world.post().length(5).header("tus-resumable", version).send());
        assert_eq!(world.path(), "Respond");
        answers.push(world.delete(&id).header("tus-resumable", version).send());
        assert_eq!(world.path(), "Respond");
        for answer in answers {
            answer.says(412, "tus-resumable").has("tus-version", "1.0.0").lacks("upload-offset");
        }
    }
    assert_eq!(world.uploads, before);
}

/// tus 1.0.0, "Tus-Resumable": "If the version specified by the Client is not supported by the Server, it
/// MUST respond with the `412 Precondition Failed` status and MUST include the `Tus-Version` header into the
/// response."
///
/// Another version may have other methods, so the version is checked first.
#[test]
fn an_unsupported_version_is_reported_before_other_errors() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let path = format!("/files/{id}");
    let wrong_method = world.request(Method::POST, &path).header("tus-resumable", "2.0.0").send();
    wrong_method.is(412).has("tus-version", "1.0.0");
    let wrong_override = world.request(Method::POST, &path).header("x-http-method-override", "not a method");
    wrong_override.header("tus-resumable", "2.0.0").send().is(412).has("tus-version", "1.0.0");
}

/// tus 1.0.0, "Tus-Extension": "The `Tus-Extension` response header MUST be a comma-separated list of the
/// extensions supported by the Server." "If no extensions are supported, the `Tus-Extension` header MUST be
/// omitted."
#[test]
fn the_extensions_are_a_list_or_omitted() {
    let answer = World::new().options().send();
    let extensions: Vec<_> = answer.header("tus-extension").unwrap().split(',').collect();
    assert_eq!(extensions, TusExtension::ALL.map(TusExtension::name));
    World::with(bare()).options().send().is(204).lacks("tus-extension");
}

/// tus 1.0.0, "Protocol Extensions": "Feature detection SHOULD be achieved by the Client sending an `OPTIONS`
/// request and the Server responding with the `Tus-Extension` header."
#[test]
fn options_announces_extensions_at_the_endpoint_and_at_an_upload() {
    let mut world = World::new();
    let id = world.upload(b"", 5);
    for path in ["/files", "/files/", &format!("/files/{id}")] {
        let answer = world.request(Method::OPTIONS, path).send().is(204);
        assert!(answer.header("tus-extension").unwrap().starts_with("creation,"), "{path}");
        assert_eq!(world.path(), "Respond");
    }
}

/// tus 1.0.0, "Tus-Max-Size": "The `Tus-Max-Size` response header MUST be a non-negative integer indicating
/// the maximum allowed size of an entire upload in bytes." "The Server SHOULD set this header if there is a
/// known hard limit."
#[test]
fn tus_max_size_is_announced_and_enforced() {
    for limit in [0, 1000, MAX_LENGTH] {
        let mut world = World::with(Config::default().max_size(limit));
        world.options().send().has("tus-max-size", limit);
        world.post().length(limit).send().is(201);
    }
    World::with(Config::default().max_size(1000)).post().length(1001).send().is(413);
    World::with(Config::default().max_size(u64::MAX)).options().send().has("tus-max-size", MAX_LENGTH);
    World::new().options().send().lacks("tus-max-size");
}

/// tus 1.0.0, "X-HTTP-Method-Override": "The `X-HTTP-Method-Override` request header MUST be a string which
/// MUST be interpreted as the request's method by the Server, if the header is presented." "The actual method
/// of the request MUST be ignored."
#[test]
fn method_override_replaces_the_method_of_the_request() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    let path = format!("/files/{id}");
    let head = world.request(Method::POST, &path).header("x-http-method-override", "HEAD");
    head.send().is(200).has("upload-offset", 5).has("cache-control", "no-store");
    let patch = world.request(Method::POST, &path).header("x-http-method-override", "PATCH");
    patch.offset(5).body(b"!").send().is(204).has("upload-offset", 6);
    assert_eq!(world.bytes(&id), b"hello!");
    // As a POST, these would create an upload.
    let at_endpoint = world.post().length(5).header("x-http-method-override", "PATCH");
    at_endpoint.send().is(405);
    assert_eq!(world.uploads.len(), 1);
    // Any method may carry any other, in any case, and itself.
    for carrier in [Method::GET, Method::PUT, Method::OPTIONS, Method::HEAD, Method::DELETE, Method::PATCH] {
        let head = world.request(carrier.clone(), &path).header("x-http-method-override", "head");
        head.send().is(200).has("upload-offset", 6);
        let patch = world.request(carrier.clone(), &path).header("x-http-method-override", "Patch");
        patch.offset(6).body(b"").send().is(204);
        let created = world.request(carrier.clone(), "/files").length(5).header("x-http-method-override", "POST");
        let created = created.send().is(201).id();
        let options = world.request(carrier.clone(), &path).header("x-http-method-override", "OPTIONS");
        options.send().is(204).has("tus-version", "1.0.0");
        let path = format!("/files/{created}");
        world.request(carrier, &path).header("x-http-method-override", "DELETE").send().is(204);
    }
    assert_eq!(world.uploads.len(), 1);
    // "If the Client sends [...] an OPTIONS request, the Server MUST ignore the [Tus-Resumable] header."
    let options = world.request(Method::POST, &path).header("x-http-method-override", "OPTIONS");
    options.header("tus-resumable", "9.0.0").send().is(204);
}

/// tus 1.0.0, "OPTIONS": "A successful response indicated by the `204 No Content` or `200 OK` status MUST
/// contain the `Tus-Version` header."
#[test]
fn options_announces_the_versions() {
    World::new().options().send().is(204).has("tus-version", "1.0.0");
    World::with(bare()).options().send().is(204).has("tus-version", "1.0.0");
}

/// tus 1.0.0, "OPTIONS": "The Client SHOULD NOT include the `Tus-Resumable` header in the request and the
/// Server MUST ignore the header."
#[test]
fn options_ignores_the_version_of_the_request() {
    for version in ["1.0.0", "0.2.2", "", "\u{661}"] {
        World::new().options().header("tus-resumable", version).send().is(204).has("tus-version", "1.0.0");
    }
    let twice = World::new().options().also("tus-resumable", "1.0.0").also("tus-resumable", "0.2.2").send();
    twice.is(204);
}

/// tus 1.0.0, "OPTIONS", "Example": "Uploads with a total size of up to 1GB are allowed and the extensions
/// for [Creation](#creation) and [Expiration](#expiration) are enabled."
///
/// This server supports only 1.0.0.
#[test]
fn the_example_of_options() {
    let only_creation = bare_but(TusExtension::Creation)
        .without(TusExtension::CreationWithUpload)
        .without(TusExtension::CreationDeferLength)
        .without(TusExtension::Concatenation);
    let config = only_creation.expire_after(std::time::Duration::from_secs(3600)).max_size(1_073_741_824);
    let answer = World::with(config).options().send().is(204);
    let answer = answer.has("tus-resumable", "1.0.0").has("tus-version", "1.0.0").has("tus-max-size", 1_073_741_824);
    answer.has("tus-extension", "creation,expiration").lacks("tus-checksum-algorithm");
}

/// A server with no extension.
fn bare() -> Config {
    bare_but(TusExtension::Creation).without(TusExtension::Creation)
}

fn bare_but(kept: TusExtension) -> Config {
    let roots = [TusExtension::Creation, TusExtension::Checksum, TusExtension::Termination];
    roots.into_iter().filter(|root| *root != kept).fold(Config::default(), Config::without)
}
