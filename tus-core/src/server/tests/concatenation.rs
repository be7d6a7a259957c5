//! tus 1.0.0, "Concatenation".

use super::world::World;
use crate::{Config, Failure, Kind, Location, Phase, TusExtension, UploadId};

/// tus 1.0.0, "Concatenation": "If the Server supports this extension, it MUST add `concatenation` to the
/// `Tus-Extension` header." "The Client MAY send the concatenation request while the partial uploads are still
/// in progress." "This feature MUST be explicitly announced by the Server by adding `concatenation-unfinished`
/// to the `Tus-Extension` header."
#[test]
fn concatenation_is_announced() {
    let announced = |config: Config| {
        let mut world = World::with(config);
        (world.announces("concatenation"), world.announces("concatenation-unfinished"))
    };
    assert_eq!(announced(Config::default()), (true, true));
    assert_eq!(announced(Config::default().without(TusExtension::ConcatenationUnfinished)), (true, false));
    assert_eq!(announced(Config::default().without(TusExtension::Concatenation)), (false, false));
}

/// tus 1.0.0, "Concatenation", "Example": "In the first request, the string `hello` was uploaded while the
/// second file now contains ` world` with a leading space." "The length of the final resource is now 11 bytes
/// consisting of the string `hello world`."
///
/// The example omits the media type of PATCH, and the offset that HEAD must return after the concatenation.
#[test]
fn the_example_of_concatenation() {
    let mut world = World::with(Config::default().location(Location::base("https://tus.example.org/files").unwrap()));
    for (id, bytes) in [("a", b"hello".as_slice()), ("b", b" world")] {
        world.choose_id(id);
        let created = world.post().header("upload-concat", "partial").length(bytes.len() as u64).send();
        let id = created.is(201).has("location", format!("https://tus.example.org/files/{id}")).id();
        world.patch(&id).offset(0).body(bytes).send().is(204);
    }
    world.choose_id("ab");
    let created = world.post().header("upload-concat", "final;/files/a /files/b").send();
    let id = created.is(201).has("location", "https://tus.example.org/files/ab").id();
    assert_eq!(world.bytes(&id), b"hello world");
    let answer = world.head(&id).send().is(200);
    answer.has("upload-length", 11).has("upload-concat", "final;/files/a /files/b").has("upload-offset", 11);
}

/// tus 1.0.0, "Concatenation": "The Server SHOULD NOT process these partial uploads until they are concatenated
/// to form a final upload."
#[test]
fn the_application_is_notified_of_the_final_upload_only() {
    let mut world = World::new();
    let by_patch = world.partial(b"hello", 5);
    let created = world.post().header("upload-concat", "partial").length(6).body(b" world").send().id();
    let empty = world.partial(b"", 0);
    world.patch(&by_patch).offset(5).send().is(204);
    assert!(world.notified.is_empty());
    assert!(!world.recover(&created) && !world.recover(&empty));
    let concatenated = world.concatenate(&[&by_patch, &created, &empty]);
    assert_eq!(world.notified, [concatenated]);
}

/// tus 1.0.0, "Concatenation": "The length of the final upload MUST be the sum of the length of all partial
/// uploads." "The partial uploads MUST be concatenated as per the order specified in the list."
#[test]
fn the_final_upload_consists_of_its_parts_in_order() {
    let mut world = World::new();
    let (a, b, none) = (world.partial(b"hello", 5), world.partial(b" world", 6), world.partial(b"", 0));
    let orders = [
        (vec![&a, &b], b"hello world".as_slice()),
        (vec![&b, &a], b" worldhello"),
        (vec![&a, &none, &b], b"hello world"),
        (vec![&none], b""),
    ];
    for (parts, bytes) in orders {
        let id = world.concatenate(&parts);
        assert_eq!(world.path(), steps_of(&parts));
        assert_eq!(world.bytes(&id), bytes);
        world.head(&id).send().has("upload-length", bytes.len()).has("upload-offset", bytes.len());
    }
}

/// The steps of a creation with these parts, each of which is authorized once.
fn steps_of(parts: &[&UploadId]) -> String {
    let asked = " Authorize".repeat(parts.len());
    format!("Authorize LoadParts{asked} CountPending Create Store Complete Assemble Finish Notify Record Respond")
}

/// tus 1.0.0, "Concatenation": "The same partial upload MAY be present multiple times in the `Upload-Concat`
/// header in one upload creation request or MAY be used in multiple upload creation requests."
#[test]
fn a_part_may_be_used_again() {
    let mut world = World::new();
    let part = world.partial(b"ho", 2);
    let twice = world.concatenate(&[&part, &part]);
    assert_eq!(world.bytes(&twice), b"hoho");
    let again = world.concatenate(&[&part]);
    assert_eq!(world.bytes(&again), b"ho");
    assert_eq!(world.bytes(&part), b"ho");
}

/// tus 1.0.0, "Concatenation": "The value MUST be `final` followed by a semicolon and a space-separated list of
/// the partial upload URLs that need to be concatenated."
/// tus 1.0.0, "Upload-Concat": "If the upload is a partial one, the header value MUST be `partial`." "In the
/// case of a final upload, its value MUST be `final` followed by a semicolon and a space-separated list of
/// partial upload URLs that will be concatenated." "The partial uploads URLs MAY be absolute or relative and
/// MUST NOT contain spaces as defined in [RFC 3986](https://www.rfc-editor.org/rfc/rfc3986.html)."
#[test]
fn the_role_is_partial_or_final_with_urls() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    for (url, bytes) in [
        (format!("/files/{part}"), b"hello".as_slice()),
        (format!("files/{part}"), b"hello"),
        (format!("https://tus.example.org/files/{part}"), b"hello"),
        (format!("http://tus.example.org:8080/files/{part} /files/{part}"), b"hellohello"),
    ] {
        let id = world.post().header("upload-concat", format!("final;{url}")).send().id();
        assert_eq!(world.bytes(&id), bytes, "{url}");
    }
    let before = world.uploads.clone();
    for wrong in [
        "",
        "Partial",
        "partial;",
        "partial,",
        "final",
        "final;",
        "final; ",
        "final:/files/a",
        "final;/files/a\t/files/b",
        "final;/files/a,/files/b",
        "final;/files/a  /files/b",
        "final;/files/",
        "final;/other/a",
        "final;/files/a/b",
        "final;/files/..",
        "final;/files/%2e%2e",
        "final;/files/ä",
        "final;https://tus.example.org",
    ] {
        world.post().length(5).header("upload-concat", wrong).send().says(400, "upload-concat");
        world.post().header("upload-concat", wrong).send().says(400, "upload-concat");
    }
    assert_eq!(world.uploads, before);
}

/// tus 1.0.0, "Concatenation": "The Client MUST NOT include the `Upload-Length` header in the final upload
/// creation."
#[test]
fn a_final_upload_with_a_length_is_400() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    world.post().concat(&[&part]).length(5).send().says(400, "upload-length");
    world.post().concat(&[&part]).header("upload-defer-length", "1").send().says(400, "length");
    assert_eq!(world.uploads.len(), 1);
}

/// tus 1.0.0, "Concatenation": "This concatenation request SHOULD happen after all of the corresponding partial
/// uploads are completed."
#[test]
fn a_final_upload_waits_for_parts_only_if_announced() {
    let mut world = World::with(Config::default().without(TusExtension::ConcatenationUnfinished));
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    world.post().concat(&[&complete, &part]).send().says(409, part.as_str());
    assert_eq!(world.uploads.len(), 2);
    let mut world = World::new();
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    let id = world.concatenate(&[&complete, &part]);
    assert!(!world.passed("Assemble") && world.notified.is_empty());
    world.patch(&part).offset(2).body(b"rld").send().is(204);
    assert!(world.recover(&id));
    assert_eq!(world.bytes(&id), b"helloworld");
    assert_eq!(world.notified, [id]);
}

/// tus 1.0.0, "Concatenation": "When creating a new final upload the partial uploads' metadata SHALL NOT be
/// transferred to the new final upload."
#[test]
fn the_metadata_of_parts_is_not_transferred() {
    let mut world = World::new();
    let part = world.post().header("upload-concat", "partial").length(0).header("upload-metadata", "part YQ==");
    let part = part.send().id();
    let without = world.concatenate(&[&part]);
    world.head(&without).send().is(200).lacks("upload-metadata");
    let with = world.post().concat(&[&part]).header("upload-metadata", "name Yg==").send().id();
    world.head(&with).send().has("upload-metadata", "name Yg==");
    world.head(&part).send().has("upload-metadata", "part YQ==");
}

/// tus 1.0.0, "Concatenation": "The Server MUST respond with the `403 Forbidden` status to `PATCH` requests
/// against a final upload URL and MUST NOT modify the final or its partial uploads."
#[test]
fn patch_of_a_final_upload_is_403_and_changes_nothing() {
    let mut world = World::new();
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    let (concatenated, pending) = (world.concatenate(&[&complete]), world.concatenate(&[&complete, &part]));
    let before = world.uploads.clone();
    for id in [&concatenated, &pending] {
        for offset in [0, 5, 7, 10] {
            world.patch(id).offset(offset).body(b"more").send().says(403, "final");
            world.patch(id).offset(offset).send().says(403, "final");
            world.patch(id).offset(offset).length(offset).send().says(403, "final");
            assert!(!world.passed("Receive"));
        }
    }
    assert_eq!(world.uploads, before);
    world.post().concat(&[&complete]).body(b"more").send().says(403, "final");
    assert_eq!(world.uploads, before);
}

/// tus 1.0.0, "Concatenation": "The response to a HEAD request for a final upload SHOULD NOT contain the
/// `Upload-Offset` header unless the concatenation has been successfully finished." "After successful
/// concatenation, the `Upload-Offset` and `Upload-Length` MUST be set and their values MUST be equal."
#[test]
fn a_final_upload_has_an_offset_once_it_is_concatenated() {
    let mut world = World::new();
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    let id = world.concatenate(&[&complete, &part]);
    world.head(&id).send().is(200).lacks("upload-offset");
    world.patch(&part).offset(2).body(b"rld").send().is(204);
    world.head(&id).send().is(200).lacks("upload-offset");
    assert!(world.recover(&id));
    world.head(&id).send().is(200).has("upload-offset", 10).has("upload-length", 10);
    // This also holds for an empty final upload.
    let (empty, unknown) = (world.partial(b"", 0), partial_of_unknown_length(&mut world));
    let id = world.concatenate(&[&empty, &unknown]);
    world.patch(&unknown).offset(0).length(0).send().is(204);
    world.head(&id).send().is(200).lacks("upload-offset").has("upload-length", 0);
}

/// A client that has just sent the last byte of the last part asks before the server has assembled the upload.
#[test]
fn head_of_a_final_upload_waits_for_its_assembly() {
    let mut world = World::new();
    let part = world.partial(b"hel", 5);
    let id = world.concatenate(&[&part, &part]);
    world.head(&id).send().is(200).lacks("upload-offset").has("upload-length", 10);
    assert!(!world.passed("Await"), "there is nothing to wait for");
    world.patch(&part).offset(3).body(b"lo").send().is(204);
    world.head(&id).send().is(200).lacks("upload-offset").has("upload-length", 10);
    assert_eq!(world.path(), "Load Authorize LoadParts Await Respond", "it takes longer than that");
    world.fail("Await", Failure::Internal);
    world.head(&id).send().is(200).lacks("upload-offset");
    let key = id.clone();
    world.meanwhile("Await", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            bytes.extend(b"hellohello");
            (upload.offset, upload.length, upload.phase) = (10, Some(10), Phase::Notified);
        });
    });
    world.head(&id).send().is(200).has("upload-offset", 10).has("upload-length", 10);
}

/// tus 1.0.0, "Concatenation": "The Server MAY delete partial uploads after concatenation." "After successful
/// concatenation, the `Upload-Offset` and `Upload-Length` MUST be set and their values MUST be equal."
#[test]
fn a_final_upload_does_not_need_its_parts_after_concatenation() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let id = world.concatenate(&[&part]);
    world.delete(&part).send().is(204);
    world.head(&id).send().is(200).has("upload-offset", 5).has("upload-length", 5);
    assert_eq!(world.bytes(&id), b"hello");
}

/// tus 1.0.0, "Concatenation": "The response to a HEAD request for a partial upload MUST contain the
/// `Upload-Offset` header."
#[test]
fn a_partial_upload_has_an_offset() {
    let mut world = World::new();
    for bytes in [b"".as_slice(), b"hel", b"hello"] {
        let part = world.partial(bytes, 5);
        world.head(&part).send().is(200).has("upload-offset", bytes.len()).has("upload-length", 5);
    }
}

/// tus 1.0.0, "Concatenation": "The `Upload-Length` header MUST be included if the length of the final resource
/// can be calculated at the time of the request."
#[test]
fn the_length_of_a_final_upload_is_reported_when_its_parts_have_lengths() {
    let mut world = World::new();
    let (known, unknown) = (world.partial(b"", 5), partial_of_unknown_length(&mut world));
    let calculable = world.concatenate(&[&known, &known]);
    world.head(&calculable).send().is(200).has("upload-length", 10);
    let id = world.concatenate(&[&known, &unknown]);
    world.head(&id).send().is(200).lacks("upload-length");
    world.patch(&unknown).offset(0).length(6).send().is(204);
    world.head(&id).send().is(200).has("upload-length", 11);
    world.uploads.forget(&known);
    world.head(&id).send().is(200).lacks("upload-length");
}

/// Each waiting upload costs work in every sweep.
#[test]
fn the_number_of_waiting_final_uploads_is_limited() {
    let mut world = World::with(Config::default().max_pending_finals(2));
    let part = world.partial(b"he", 5);
    let waiting = [world.concatenate(&[&part]), world.concatenate(&[&part, &part])];
    let before = world.uploads.clone();
    world.post().concat(&[&part]).send().is(503).has("retry-after", 1);
    assert!(!world.passed("Create"), "the application is not asked to reserve anything");
    assert_eq!(world.uploads, before);
    // Those that need not wait for parts have as much room again.
    let complete = world.partial(b"hello", 5);
    world.concatenate(&[&complete]);
    world.fail("CountPending", Failure::Internal);
    world.post().concat(&[&part]).send().is(500);
    // Other uploads do not count.
    world.upload(b"hello", 5);
    world.delete(&waiting[0]).send().is(204);
    world.concatenate(&[&part]);
    world.patch(&part).offset(2).body(b"llo").send().is(204);
    assert!(world.recover(&waiting[1]));
    world.concatenate(&[&part]);
}

/// A request of 300 bytes must not load a thousand records.
#[test]
fn a_part_named_a_thousand_times_is_loaded_once() {
    let mut world = World::with(Config::default().max_parts(1000));
    let part = world.partial(b"he", 5);
    let id = world.concatenate(&[&part; 1000]);
    // And once more when the final upload is there.
    assert_eq!(world.log.loaded, [vec![part.clone()], vec![part.clone()]]);
    world.head(&id).send().is(200).has("upload-length", 5000);
    assert_eq!(world.log.loaded, [vec![part.clone()]]);
    world.patch(&part).offset(2).body(b"llo").send().is(204);
    assert!(world.recover(&id));
    assert_eq!(world.log.loaded, [vec![part]]);
    assert_eq!(world.bytes(&id), b"hello".repeat(1000));
}

/// tus 1.0.0, "Concatenation": "Response to `HEAD` request against partial or final upload MUST include the
/// `Upload-Concat` header and its value as received in the upload creation request."
/// tus 1.0.0, "Upload-Concat": "The `Upload-Concat` request and response header MUST be set in both partial and
/// final upload creation requests."
#[test]
fn head_repeats_upload_concat_as_it_was_sent() {
    let mut world = World::new();
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    world.head(&complete).send().is(200).has("upload-concat", "partial");
    assert_eq!(world.record(&part).kind, Kind::Partial);
    for sent in [
        format!("final;/files/{complete} /files/{complete}"),
        format!("final;/files/{complete} /files/{part}"),
        format!("final;https://tus.example.org/files/{complete}"),
        format!("final; files/{complete}"),
    ] {
        let id = world.post().header("upload-concat", &sent).send().id();
        world.head(&id).send().is(200).has("upload-concat", sent);
    }
    let alone = world.upload(b"", 5);
    world.head(&alone).send().is(200).lacks("upload-concat");
}

fn partial_of_unknown_length(world: &mut World) -> UploadId {
    world.post().header("upload-concat", "partial").header("upload-defer-length", "1").send().id()
}
