//! "Representation metadata included in the initial request [...] can affect how servers act on the uploaded
//! representation data."

use super::*;
use crate::Config;

fn pairs(world: &World, id: &UploadId) -> Vec<(String, String)> {
    let text = |(key, value): (&str, &bytes::Bytes)| (key.to_owned(), String::from_utf8_lossy(value).into_owned());
    world.record(id).metadata.iter().map(text).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// "The Content-Type header field indicates the media type of the representation. The Content-Encoding header field names
/// the content codings applied to the representation. The Content-Disposition header field can be used to transmit a
/// filename."
#[test]
fn type_name_and_coding_are_metadata() {
    let mut world = World::new();
    let disposition = "inline; filename=\"file name.jpg\"; filename*=UTF-8''file%20name.jpg";
    let request = post(&mut world, DRAFT_12, true, b"hello").header("content-type", "image/jpeg");
    let request = request.header("content-disposition", disposition).header("content-encoding", "gzip");
    let id = request.send().id();
    assert_eq!(
        pairs(&world, &id),
        [
            pair("filetype", "image/jpeg"),
            pair("content-type", "image/jpeg"),
            pair("filename", "file name.jpg"),
            pair("content-disposition", disposition),
            pair("content-encoding", "gzip"),
        ]
    );
    // "the server is not required to decode the representation data"
    assert_eq!(world.bytes(&id), b"hello");
    let none = begun(&mut world, DRAFT_12, b"");
    assert!(world.record(&none).metadata.is_empty());
}

/// tus-js-client sends `Upload-Metadata` in this dialect, too.
#[test]
fn tus_metadata_takes_precedence() {
    let mut world = World::new();
    let request = post(&mut world, 6, false, b"").header("upload-metadata", "filename ZmlsbS5tcDQ=,kind ZmlsbQ==");
    let id = request.header("content-type", "video/mp4").send().id();
    assert_eq!(
        pairs(&world, &id),
        [
            pair("filename", "film.mp4"),
            pair("kind", "film"),
            pair("filetype", "video/mp4"),
            pair("content-type", "video/mp4")
        ]
    );
    let refused = post(&mut world, 6, false, b"").header("upload-metadata", "a YQ").send().is(400);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("base64"));
}

/// RFC 9110, section 5.3: the lines of a list are one list, and those of other fields are not.
#[test]
fn repeated_fields_are_lists_or_refused() {
    let mut world = World::new();
    let request = post(&mut world, 6, false, b"").header("upload-metadata", "").send();
    assert!(world.record(&request.is(201).id()).metadata.is_empty());
    let request = post(&mut world, 6, false, b"").also("upload-metadata", "a YQ==").also("upload-metadata", "b Yg==");
    let id = request.send().is(201).id();
    assert_eq!(pairs(&world, &id), [pair("a", "a"), pair("b", "b")]);
    for name in ["content-type", "content-disposition", "content-encoding"] {
        let request = post(&mut world, 6, false, b"").also(name, "text/plain").also(name, "text/html");
        request.send().says(400, name);
    }
}

/// "Security Considerations": "metadata MUST be validated and/or sanitized". What is stored is bounded, and is data only.
#[test]
fn stored_metadata_is_bounded() {
    let mut world = World::with(Config::default().max_metadata(50));
    let sized = |bytes: usize| format!("{:x<1$}", "text/", bytes);
    post(&mut world, DRAFT_12, true, b"").header("content-type", sized(50)).send().is(201);
    let refused = post(&mut world, DRAFT_12, true, b"").header("content-type", sized(51)).send().is(400);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("51 bytes, but at most 50"));
    let both = post(&mut world, DRAFT_12, true, b"").header("content-type", sized(40));
    both.header("content-disposition", "inline; filename=a").send().is(400);
    assert_eq!(world.uploads.len(), 1);
}
