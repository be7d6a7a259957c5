//! tus 1.0.0, "Core Protocol", "Requests": HEAD and PATCH.

use std::time::Duration;

use super::{super::Interruption, request::Answer, world::World};
use crate::{Config, Failure, UploadId};

/// tus 1.0.0, "HEAD": "The Server MUST always include the `Upload-Offset` header in the response for a `HEAD`
/// request, even if the offset is `0`, or the upload is already considered completed."
#[test]
fn head_gives_the_offset_at_the_beginning_in_the_middle_and_at_the_end() {
    let mut world = World::new();
    for bytes in [b"".as_slice(), b"hel", b"hello"] {
        let id = world.upload(bytes, 5);
        world.head(&id).send().is(200).has("upload-offset", bytes.len());
    }
    let empty = world.upload(b"", 0);
    world.head(&empty).send().is(200).has("upload-offset", 0);
    let deferred = world.deferred(b"hel");
    world.head(&deferred).send().is(200).has("upload-offset", 3);
}

/// tus 1.0.0, "HEAD": "If the size of the upload is known, the Server MUST include the `Upload-Length` header
/// in the response."
#[test]
fn head_gives_the_length_if_it_is_known() {
    let mut world = World::new();
    let known = world.upload(b"hel", 5);
    world.head(&known).send().has("upload-length", 5);
    let empty = world.upload(b"", 0);
    world.head(&empty).send().has("upload-length", 0);
    let unknown = world.deferred(b"hel");
    world.head(&unknown).send().lacks("upload-length");
}

/// tus 1.0.0, "HEAD": "If the resource is not found, the Server SHOULD return either the `404 Not Found`,
/// `410 Gone` or `403 Forbidden` status without the `Upload-Offset` header."
#[test]
fn head_of_a_missing_upload_has_no_offset() {
    for (status, answer) in unfound() {
        answer.is(status).lacks("upload-offset").lacks("upload-length").lacks("upload-metadata");
    }
}

/// tus 1.0.0, "HEAD": "The Server SHOULD acknowledge successful `HEAD` requests with a `200 OK` or
/// `204 No Content` status."
#[test]
fn head_is_200() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    let answer = world.head(&id).send().is(200);
    assert!(answer.0.body().is_empty());
}

/// tus 1.0.0, "HEAD": "The Server MUST prevent the client and/or proxies from caching the response by adding
/// the `Cache-Control: no-store` header to the response."
#[test]
fn head_is_not_cached() {
    let mut world = World::new();
    let ids = [world.upload(b"hel", 5), world.upload(b"hello", 5), world.deferred(b""), world.partial(b"", 5)];
    for id in &ids {
        world.head(id).send().is(200).has("cache-control", "no-store");
    }
    let pending = world.concatenate(&[&ids[3]]);
    world.head(&pending).send().is(200).has("cache-control", "no-store");
}

/// tus 1.0.0, "HEAD": "The Server MUST prevent the client and/or proxies from caching the response by adding
/// the `Cache-Control: no-store` header to the response."
///
/// Caches may store a 404 or a 410 by default (RFC 9110, 15.1).
#[test]
fn head_of_a_missing_upload_is_not_cached_either() {
    for (status, answer) in unfound() {
        answer.is(status).has("cache-control", "no-store");
    }
}

/// HEAD of an upload that does not exist, has expired, or does not belong to this client.
fn unfound() -> Vec<(u16, Answer)> {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let id = world.upload(b"hel", 5);
    let missing = world.head(&UploadId::from_random(0)).send();
    world.application.rejects = Box::new(|_, _| true);
    let forbidden = world.head(&id).send();
    let forbidden_and_missing = world.head(&UploadId::from_random(0)).send();
    world.wait(Duration::from_secs(60));
    let forbidden_and_expired = world.head(&id).send();
    world.application.rejects = Box::new(|_, _| false);
    let expired = world.head(&id).send();
    vec![(404, missing), (403, forbidden), (403, forbidden_and_missing), (403, forbidden_and_expired), (410, expired)]
}

/// tus 1.0.0, "PATCH": "The Server SHOULD accept `PATCH` requests against any upload URL and apply the bytes
/// contained in the message at the given offset specified by the `Upload-Offset` header."
#[test]
fn patch_adds_bytes_at_the_offset_of_any_upload() {
    let mut world = World::new();
    for id in [world.upload(b"", 11), world.deferred(b""), world.partial(b"", 11)] {
        world.patch(&id).offset(0).body(b"hello").send().is(204);
        world.patch(&id).offset(5).stream(b" world").send().is(204);
        assert_eq!(world.bytes(&id), b"hello world");
        assert_eq!(world.record(&id).offset, 11);
    }
}

/// tus 1.0.0, "PATCH": "All `PATCH` requests MUST use `Content-Type: application/offset+octet-stream`,
/// otherwise the server SHOULD return a `415 Unsupported Media Type` status."
#[test]
fn patch_of_another_media_type_is_415() {
    let mut world = World::new();
    let id = world.upload(b"", 5);
    for other in
        ["application/octet-stream", "application/offset", "text/plain", "", "application/offset+octet-stream2"]
    {
        let answer = world.patch(&id).offset(0).body(b"hello").header("content-type", other).send();
        answer.says(415, "application/offset+octet-stream");
    }
    world.patch(&id).offset(0).body(b"hello").without("content-type").send().is(415);
    assert_eq!(world.bytes(&id), b"");
    let with_parameter = world.patch(&id).offset(0).body(b"hello");
    with_parameter.header("content-type", "Application/Offset+Octet-Stream; a=b").send().is(204);
}

/// tus 1.0.0, "PATCH": "The `Upload-Offset` header's value MUST be equal to the current offset of the
/// resource." "If the offsets do not match, the Server MUST respond with the `409 Conflict` status without
/// modifying the upload resource."
#[test]
fn patch_at_another_offset_is_409_and_changes_nothing() {
    let mut world = World::with(Config::default().expire_after(Duration::from_secs(60)));
    let id = world.upload(b"hel", 5);
    world.wait(Duration::from_secs(1));
    let before = world.uploads.clone();
    for offset in [0, 2, 4, 5, 6, u64::MAX / 2] {
        let answer = world.patch(&id).offset(offset).body(b"lo").send();
        answer.says(409, "the upload's offset is 3");
        assert!(!world.passed("Receive"));
        assert_eq!(world.uploads, before);
    }
    world.patch(&id).body(b"lo").send().says(400, "upload-offset");
    assert_eq!(world.uploads, before);
}

/// tus 1.0.0, "PATCH": "The Server MUST acknowledge successful `PATCH` requests with the `204 No Content`
/// status." "It MUST include the `Upload-Offset` header containing the new offset." "The new offset MUST be
/// the sum of the offset before the `PATCH` request and the number of bytes received and processed or stored
/// during the current `PATCH` request."
#[test]
fn patch_is_204_with_the_sum_as_the_new_offset() {
    let mut world = World::new();
    let id = world.upload(b"", 100);
    let mut before = 0;
    for more in [0, 1, 3, 7, 40, 49] {
        let answer = world.patch(&id).offset(before).body(&vec![b'x'; more as usize]).send();
        answer.is(204).has("upload-offset", before + more);
        before += more;
        assert_eq!(world.bytes(&id).len() as u64, before);
        assert_eq!(world.record(&id).offset, before);
    }
    assert_eq!(before, 100);
}

/// tus 1.0.0, "PATCH": "If the server receives a `PATCH` request against a non-existent resource it SHOULD
/// return a `404 Not Found` status."
#[test]
fn patch_of_a_missing_upload_is_404() {
    let mut world = World::new();
    let missing = UploadId::from_random(0);
    world.patch(&missing).offset(0).body(b"hello").send().says(404, "no such upload");
    assert_eq!(world.path(), "Load Authorize Respond");
    let id = world.upload(b"", 5);
    let key = id.clone();
    world.meanwhile("Hold", move |uploads| assert!(uploads.forget(&key)));
    world.patch(&id).offset(0).body(b"hello").send().says(404, "no such upload");
    assert!(world.uploads.is_empty());
}

/// tus 1.0.0, "PATCH": "Both Client and Server, SHOULD attempt to detect and handle network errors
/// predictably." "A timeout SHOULD be handled by closing the underlying connection."
///
/// Closing the connection is up to its owner; here the exchange ends with a status that gives the reason.
#[test]
fn a_broken_or_stalled_body_ends_the_exchange() {
    for (why, status) in [(Interruption::Disconnected, 503), (Interruption::TimedOut, 503)] {
        let mut world = World::new();
        let id = world.upload(b"", 100);
        let answer = world.patch(&id).offset(0).body(b"hello").header("content-length", "9").interrupted(why).send();
        answer.says(status, "the upload's offset is 5").lacks("upload-offset");
        assert_eq!(world.path(), "Load Authorize Hold Receive Commit Respond");
    }
}

/// tus 1.0.0, "PATCH": "The Server SHOULD always attempt to store as much of the received data as possible."
#[test]
fn bytes_received_before_an_interruption_are_stored() {
    let full = Interruption::Failed { failure: Failure::Full, stored: 4 };
    for (why, kept) in [
        (Interruption::Disconnected, b"hello".as_slice()),
        (Interruption::TimedOut, b"hello"),
        (Interruption::Superseded, b"hello"),
        (Interruption::ShuttingDown, b"hello"),
        (full, b"hell"),
    ] {
        let mut world = World::new();
        let id = world.upload(b"", 100);
        let answer = world.patch(&id).offset(0).stream(b"hello").interrupted(why).send();
        assert!(answer.status() >= 400);
        assert_eq!(world.bytes(&id), kept);
        world.head(&id).send().has("upload-offset", kept.len());
        world.patch(&id).offset(kept.len() as u64).body(b"...").send().is(204);
    }
}
