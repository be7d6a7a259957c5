//! tus 1.0.0, as far as it applies to clients.

use url::Url;

use super::{
    super::{
        Capabilities, Error, Info, NewUpload, Options, Step, Uploading, Verification, create, discover, inspect,
        resume, terminate,
    },
    script::{Script, answer},
    wire::{Wire, endpoint},
};
use crate::{Algorithm, Metadata};

fn url() -> Url {
    "http://tus.example.org/files/24e533e02ec3bc40c387f1a0e460e216".parse().unwrap()
}

fn plain() -> Options {
    Options::default().verification(Verification::Off).chunk_size(None)
}

fn offering(extensions: &[&str]) -> Capabilities {
    let extensions = extensions.iter().map(|name| (*name).to_owned()).collect();
    Capabilities { extensions: Some(extensions), ..Capabilities::default() }
}

fn new(upload: NewUpload) -> Step<Uploading> {
    create(endpoint(), upload, plain(), None).unwrap()
}

const CREATED: &[(&str, &str)] = &[("location", "/files/a")];

/// tus 1.0.0, "Core Protocol", "Example": "Given the offset, the Client uses the `PATCH` method to resume the
/// upload". And "PATCH": "The Client SHOULD send all the remaining bytes of an upload in a single `PATCH` request,
/// but MAY also use multiple small requests successively for scenarios where this is not desirable."
#[test]
fn the_example_of_the_core_protocol() {
    let offset = |offset| [("upload-offset", offset), ("upload-length", "100")];
    let mut script = Script::new([answer(200, &offset("70")), answer(204, &offset("100"))]);
    let uploaded = script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap();
    assert_eq!((uploaded.url, uploaded.offset, uploaded.length), (url(), Some(100), Some(100)));
    let path = url().path().to_owned();
    assert_eq!(script.lines(), [format!("HEAD {path}"), format!("PATCH {path} 70..100")]);
    assert_eq!(script.header(1, "upload-offset"), Some("70"));
    // "All PATCH requests MUST use Content-Type: application/offset+octet-stream".
    assert_eq!(script.header(1, "content-type"), Some("application/offset+octet-stream"));

    let mut script = Script::new([
        answer(200, &offset("70")),
        answer(204, &offset("80")),
        answer(204, &offset("90")),
        answer(204, &offset("100")),
    ]);
    let options = plain().chunk_size(Some(10));
    script.run(resume(url(), NewUpload::new(Some(100)), options, None).unwrap()).unwrap();
    assert_eq!(script.lines()[1..], ["70..80", "80..90", "90..100"].map(|bytes| format!("PATCH {path} {bytes}")));
}

/// tus 1.0.0, "Tus-Resumable": "The `Tus-Resumable` header MUST be included in every request and response, except
/// for `OPTIONS` requests." And "OPTIONS": "The Client SHOULD NOT include the `Tus-Resumable` header in the request".
#[test]
fn every_request_except_options_has_the_version() {
    let mut script = Script::new([
        answer(201, CREATED),
        Err(Error::connection("reset")),
        answer(200, &[("upload-offset", "0"), ("upload-length", "5")]),
        answer(204, &[("upload-offset", "5")]),
    ]);
    script.run(new(NewUpload::new(Some(5)))).unwrap();
    assert_eq!(script.lines(), ["POST /files", "PATCH /files/a 0..5", "HEAD /files/a", "PATCH /files/a 0..5"]);
    for at in 0..4 {
        assert_eq!(script.header(at, "tus-resumable"), Some("1.0.0"));
    }
    let mut script = Script::new([answer(204, &[])]);
    script.run(terminate(url(), plain())).unwrap();
    assert_eq!(script.header(0, "tus-resumable"), Some("1.0.0"));
    let mut script = Script::new([answer(204, &[])]);
    script.run(discover(endpoint(), plain())).unwrap();
    assert_eq!(script.header(0, "tus-resumable"), None);
}

/// tus 1.0.0, "Tus-Resumable": "If the version specified by the Client is not supported by the Server, it MUST
/// respond with the `412 Precondition Failed` status and MUST include the `Tus-Version` header into the response."
#[test]
fn an_unsupported_version_is_an_error_that_names_it() {
    for status in [412, 200] {
        let other = http::Response::builder().status(status).header("tus-resumable", "0.2.2");
        let other = other.header("tus-version", "0.2.2").body(bytes::Bytes::new()).unwrap();
        let error = Script::new([Ok(other)]).run(inspect(url(), plain())).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(what) if what.contains("0.2.2")), "{error}");
    }
}

/// tus 1.0.0, "HEAD": "The Server MUST always include the `Upload-Offset` header in the response for a `HEAD` request,
/// even if the offset is `0`, or the upload is already considered completed." Without it the offset is unknown.
#[test]
fn a_missing_or_impossible_offset_is_the_servers_fault() {
    let patched = |headers: &[(&str, &str)]| {
        let mut script = Script::new([answer(201, CREATED), answer(204, headers)]);
        script.run(new(NewUpload::new(Some(5)))).unwrap_err()
    };
    let found = |headers: &[(&str, &str)]| {
        Script::new([answer(200, headers)])
            .run(resume(url(), NewUpload::new(Some(5)), plain(), None).unwrap())
            .unwrap_err()
    };
    for headers in [
        &[][..],
        &[("upload-offset", "6")],
        &[("upload-offset", "-1")],
        &[("upload-offset", "")],
        &[("upload-offset", "99999999999999999999")],
        &[("upload-offset", "5"), ("upload-offset", "5")],
    ] {
        for error in [patched(headers), found(headers)] {
            let Error::Misbehaved { header, by_server, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!((header.as_str(), *by_server), ("upload-offset", true), "{error}");
        }
    }
    let error = patched(&[("upload-offset", "0")]);
    assert!(error.to_string().contains("as if nothing had been sent"), "{error}");
}

/// tus 1.0.0, "Creation", "POST": "The Client MUST send a `POST` request against a known upload creation URL to
/// request a new upload resource. The request MUST include one of the following headers: a) `Upload-Length` to
/// indicate the size of an entire upload in bytes. b) `Upload-Defer-Length: 1` if upload size is not known at the
/// time." And: "The Client MUST perform the actual upload using the core protocol."
#[test]
fn a_creation_declares_the_length_or_defers_it() {
    let metadata = Metadata::from_pairs([("filename", "world_domination_plan.pdf")]).unwrap();
    let upload = NewUpload::new(Some(100)).metadata(metadata);
    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "100")])]);
    let uploaded = script.run(new(upload)).unwrap();
    assert_eq!(uploaded.url.as_str(), "http://tus.example.org/files/a");
    assert_eq!(script.lines(), ["POST /files", "PATCH /files/a 0..100"]);
    assert_eq!(script.header(0, "upload-length"), Some("100"));
    assert_eq!(script.header(0, "upload-defer-length"), None);
    assert_eq!(script.header(0, "upload-metadata"), Some("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg=="));
}

/// tus 1.0.0, "Creation", "POST": "If the length was deferred using `Upload-Defer-Length: 1`, the Client MUST set the
/// `Upload-Length` header in the next `PATCH` request, once the length is known. Once set the length MUST NOT be
/// changed."
#[test]
fn a_deferred_length_is_declared_with_the_last_bytes() {
    let offset = |offset| answer(204, &[("upload-offset", offset)]);
    let mut script = Script::new([answer(201, CREATED), offset("40"), offset("80"), offset("100")]);
    let options = plain().chunk_size(Some(40));
    let step = create(endpoint(), NewUpload::new(None), options, None).unwrap();
    assert_eq!(script.run(step).unwrap().length, Some(100));
    assert_eq!((script.header(0, "upload-length"), script.header(0, "upload-defer-length")), (None, Some("1")));
    let lengths: Vec<_> = (1..4).map(|at| script.header(at, "upload-length")).collect();
    assert_eq!(lengths, [None, None, Some("100")]);

    // If the source ends right after a request, another request declares the length.
    let mut script = Script::new([answer(201, CREATED), offset("50"), offset("100"), offset("100")]);
    let options = plain().chunk_size(Some(50));
    script.run(create(endpoint(), NewUpload::new(None), options, None).unwrap()).unwrap();
    assert_eq!(script.lines()[3], "PATCH /files/a 100..100");
    assert_eq!(script.header(3, "upload-length"), Some("100"));
}

/// tus 1.0.0, "Creation", "POST": "The `Upload-Length` header MAY be set to 0, indicating that the Client wants to
/// create an empty file."
#[test]
fn an_empty_upload_is_complete_when_it_is_created() {
    let mut script = Script::new([answer(201, CREATED)]);
    assert_eq!(script.run(new(NewUpload::new(Some(0)))).unwrap().offset, Some(0));
}

/// tus 1.0.0, "Creation With Upload": "If the Client wants to use this extension, the Client SHOULD verify that it is
/// supported by the Server before sending the `POST` request. In addition, the Client SHOULD include the `Expect:
/// 100-continue` header in the request to receive early feedback from the Server". And: "The Client MUST include the
/// `Content-Type: application/offset+octet-stream` header."
#[test]
fn the_creation_carries_bytes_if_the_server_offers_that() {
    let options = plain().data_in_creation(true).chunk_size(Some(60));
    let step = |offered: &Capabilities| create(endpoint(), NewUpload::new(Some(100)), options.clone(), Some(offered));
    let with = offering(&["creation", "creation-with-upload"]);
    let accepted = answer(201, &[("location", "/files/a"), ("upload-offset", "60")]);
    let mut script = Script::new([accepted, answer(204, &[("upload-offset", "100")])]);
    script.run(step(&with).unwrap()).unwrap();
    assert_eq!(script.lines(), ["POST /files 0..60", "PATCH /files/a 60..100"]);
    assert_eq!(script.header(0, "content-type"), Some("application/offset+octet-stream"));
    assert_eq!((script.header(0, "expect"), script.header(1, "expect")), (Some("100-continue"), None));

    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "60")]), answer(500, &[])]);
    let _ = script.run(step(&offering(&["creation"])).unwrap());
    assert_eq!(script.lines()[..2], ["POST /files", "PATCH /files/a 0..60"]);

    // If a server does not report the offset, the client requests it.
    let head = answer(200, &[("upload-offset", "0"), ("upload-length", "100")]);
    let mut script = Script::new([answer(201, CREATED), head]);
    let _ = script.run(step(&with).unwrap());
    assert_eq!(script.lines()[1..], ["HEAD /files/a", "PATCH /files/a 0..60"]);
}

/// tus 1.0.0, "Expiration": "If a Client does attempt to resume an upload which has since been removed by the Server,
/// the Server SHOULD respond with the `404 Not Found` or `410 Gone` status. [...] In both cases the Client SHOULD
/// start a new upload."
#[test]
fn a_missing_upload_is_distinguished_from_other_rejections() {
    for (status, gone) in [(404, true), (410, true), (403, false)] {
        let mut script = Script::new([answer(status, &[])]);
        let error = script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
        assert_eq!((error.is_gone(), error.status().unwrap().as_u16()), (gone, status));
    }
}

/// tus 1.0.0, "Checksum": "A Client MAY include the `Upload-Checksum` header in a `PATCH` request."
#[test]
fn a_checksum_covers_the_bytes_of_its_request() {
    let mut capabilities = offering(&["creation", "checksum"]);
    capabilities.algorithms.push("sha1".into());
    let sent = |verification, capabilities: Option<&Capabilities>| {
        let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "11")])]);
        let options = plain().verification(verification);
        let step = create(endpoint(), NewUpload::new(Some(11)), options, capabilities)?;
        script.run(step)?;
        Ok::<_, Error>(script.header(1, "upload-checksum").map(str::to_owned))
    };
    let expected = Some("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=".to_owned());
    assert_eq!(sent(Verification::IfOffered(Algorithm::Sha1), Some(&capabilities)).unwrap(), expected);
    assert_eq!(sent(Verification::Required(Algorithm::Sha1), None).unwrap(), expected);
    assert_eq!(sent(Verification::IfOffered(Algorithm::Sha1), None).unwrap(), None);
    let bare = offering(&["creation"]);
    assert_eq!(sent(Verification::IfOffered(Algorithm::Sha1), Some(&bare)).unwrap(), None);
    let error = sent(Verification::Required(Algorithm::Sha1), Some(&bare)).unwrap_err();
    assert!(matches!(&error, Error::Unsupported(what) if what.contains("sha1")), "{error}");
}

/// tus 1.0.0, "Concatenation": "In order to create a new final upload, the Client MUST add the `Upload-Concat` header
/// to the upload creation request. [...] The Client MUST NOT include the `Upload-Length` header in the final upload
/// creation."
#[test]
fn a_final_upload_names_its_parts() {
    let mut wire = Wire::new(*b"hello world");
    let parts = [0..5, 5..11].map(|range| wire.upload(create(endpoint(), NewUpload::partial(range), plain(), None)));
    let urls: Vec<_> = parts.into_iter().map(|part| part.unwrap().url).collect();
    let concatenated = wire.upload(create(endpoint(), NewUpload::concatenation(urls.clone()), plain(), None)).unwrap();
    assert_eq!((wire.stored(&concatenated), concatenated.offset), (&b"hello world"[..], Some(11)));

    let complete = answer(200, &[("upload-concat", "final;a b"), ("upload-length", "11"), ("upload-offset", "11")]);
    let mut script = Script::new([answer(201, CREATED), complete]);
    script.run(new(NewUpload::concatenation(urls.clone()))).unwrap();
    assert_eq!(script.header(0, "upload-length"), None);
    assert_eq!(script.header(0, "upload-concat").unwrap(), format!("final;{} {}", urls[0], urls[1]));
}

/// tus 1.0.0, "OPTIONS" and "Protocol Extensions": "Feature detection SHOULD be achieved by the Client sending an
/// `OPTIONS` request and the Server responding with the `Tus-Extension` header."
#[test]
fn capabilities_are_discovered_first() {
    let headers = [
        ("tus-version", "1.0.0,0.2.2,0.2.1"),
        ("tus-max-size", "1073741824"),
        ("tus-extension", "creation, expiration"),
    ];
    let mut script = Script::new([answer(204, &headers)]);
    let capabilities = script.run(discover(endpoint(), plain())).unwrap();
    assert_eq!(script.lines(), ["OPTIONS /files"]);
    assert_eq!(capabilities.versions, ["1.0.0", "0.2.2", "0.2.1"]);
    assert_eq!(capabilities.extensions.as_deref(), Some(&["creation".to_owned(), "expiration".to_owned()][..]));
    assert_eq!(capabilities.max_size, Some(1_073_741_824));

    let created = |upload| create(endpoint(), upload, plain(), Some(&capabilities)).map(drop);
    created(NewUpload::new(Some(5))).unwrap();
    assert!(matches!(created(NewUpload::new(None)), Err(Error::Unsupported(_))));
    assert!(matches!(created(NewUpload::partial(0..5)), Err(Error::Unsupported(_))));
    let large = created(NewUpload::new(Some(1 << 31)));
    assert!(matches!(large, Err(Error::TooLarge { length: 2_147_483_648, limit: 1_073_741_824 })));
}

/// tus 1.0.0, "HEAD": "If the size of the upload is known, the Server MUST include the `Upload-Length` header in the
/// response."
#[test]
fn inspect_reads_the_state_of_an_upload() {
    let headers = [("upload-offset", "70"), ("upload-length", "100"), ("upload-metadata", "filename ZmlsbQ==,empty")];
    let info: Info = Script::new([answer(200, &headers)]).run(inspect(url(), plain())).unwrap();
    assert_eq!((info.offset, info.length, info.complete), (Some(70), Some(100), false));
    assert_eq!(info.metadata.text("filename"), Some("film"));
    let waiting = [("upload-concat", "final;/files/a /files/b"), ("upload-length", "100")];
    let info = Script::new([answer(200, &waiting)]).run(inspect(url(), plain())).unwrap();
    assert_eq!((info.offset, info.length, info.complete), (None, Some(100), false));
}

/// tus 1.0.0, "Termination": a missing upload is terminated already.
#[test]
fn a_missing_upload_counts_as_terminated() {
    for status in [204, 404, 410] {
        Script::new([answer(status, &[])]).run(terminate(url(), plain())).unwrap();
    }
    assert!(Script::new([answer(403, &[])]).run(terminate(url(), plain())).is_err());
}

/// tus 1.0.0, "X-HTTP-Method-Override": "The actual method of the request MUST be ignored. The Client SHOULD use this
/// header if its environment does not support the `PATCH` or `DELETE` methods."
#[test]
fn method_override_sends_patch_as_post() {
    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "5")])]);
    let options = plain().override_method(true);
    script.run(create(endpoint(), NewUpload::new(Some(5)), options.clone(), None).unwrap()).unwrap();
    assert_eq!(script.lines(), ["POST /files", "POST /files/a 0..5"]);
    assert_eq!(script.header(0, "x-http-method-override"), None);
    assert_eq!(script.header(1, "x-http-method-override"), Some("PATCH"));
    let mut script = Script::new([answer(204, &[])]);
    script.run(terminate(url(), options)).unwrap();
    assert_eq!(script.header(0, "x-http-method-override"), Some("DELETE"));
}
