//! "Upload Append", "Server Behavior".

use super::*;
use crate::{
    Config, Failure, Phase, Rejection,
    server::{Access, Interruption},
};

const INTERRUPTIONS: [(Interruption, u16); 4] = [
    (Interruption::Disconnected, 503),
    (Interruption::TimedOut, 503),
    (Interruption::ShuttingDown, 503),
    (Interruption::Superseded, 409),
];

/// "A server applies a PATCH request with the application/partial-upload media type to an upload resource by appending
/// the patch document in the request content." "If the request content was fully processed, the server acknowledges the
/// appended data by sending a 2xx (Successful) response with the Upload-Complete header field set to false."
#[test]
fn appends_follow_one_another() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"");
    let mut at = 0;
    for piece in [&b"he"[..], b"", b"llo", b" world"] {
        let answer = patch(&mut world, DRAFT_12, &id, at, false, piece).send().is(204).complete(DRAFT_12, false);
        at += piece.len() as u64;
        answer.has("upload-offset", at).lacks("location").lacks("tus-resumable");
    }
    assert_eq!((world.bytes(&id), world.record(&id).phase), (&b"hello world"[..], Phase::Receiving));
    assert_eq!(world.log.held, [Access::Write]);
}

/// "Media Type": other content is refused (RFC 5789, section 2.2).
#[test]
fn content_of_a_wrong_type_is_415() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hel");
    for other in ["application/offset+octet-stream", "application/octet-stream", "", "application/partial-upload2"] {
        let refused = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").header("content-type", other).send();
        refused.is(415).has("accept-patch", PARTIAL).complete(DRAFT_12, false).problem();
    }
    let upper =
        patch(&mut world, DRAFT_12, &id, 3, true, b"lo").header("content-type", "Application/Partial-Upload; a=b");
    upper.send().is(201);
}

/// "the server SHOULD append as much of the patch document as possible to the upload resource, starting at its beginning
/// and without discontinuities." "In addition, the upload resource MUST NOT be considered complete then."
#[test]
fn an_interrupted_append_keeps_its_bytes_and_is_incomplete() {
    for version in VERSIONS {
        for (why, status) in INTERRUPTIONS {
            for (sized, checkpoints) in [(true, false), (false, true)] {
                let mut world = World::new();
                world.commits_checkpoints = checkpoints;
                let id = begun(&mut world, version, b"hello");
                let mut request = patch(&mut world, version, &id, 5, true, b" wor").header("content-length", "6");
                if !sized {
                    request = request.without("content-length");
                }
                let refused = request.interrupted(why).send().is(status).has("upload-offset", 9);
                refused.complete(version, false).problem();
                assert_eq!((world.bytes(&id), world.record(&id).phase), (&b"hello wor"[..], Phase::Receiving));
                patch(&mut world, version, &id, 9, true, b"ld").send().is(201).complete(version, true);
                assert_eq!(world.notified, [id]);
            }
        }
    }
}

/// "If the Upload-Offset request header field value does not match the current offset, the server MUST reject the request
/// with a 409 (Conflict) status code and the Upload-Complete header field set to false. The response MUST include the
/// correct offset in the Upload-Offset header field." "Mismatching Offset": "A response using this problem type SHOULD
/// populate both members".
#[test]
fn a_wrong_offset_is_409_with_the_correct_one() {
    for version in VERSIONS {
        let mut world = World::new();
        let (unfinished, complete) = (begun(&mut world, version, b"hel"), completed(&mut world, version, b"hel"));
        let before = world.uploads.clone();
        for id in [&unfinished, &complete] {
            for offset in [0, 2, 4, 999_999_999_999_999] {
                for completes in [true, false] {
                    let refused = patch(&mut world, version, id, offset, completes, b"lo").send().is(409);
                    let refused = refused.has("upload-offset", 3).complete(version, false);
                    assert_eq!(refused.problem_type(), "mismatching-upload-offset");
                    let problem = refused.problem();
                    assert_eq!((&problem["expected-offset"], &problem["provided-offset"]), (&3.into(), &offset.into()));
                    assert!(!world.passed("Receive"));
                }
            }
        }
        assert_eq!(world.uploads, before);
    }
}

/// "If the request content was fully processed, the upload is marked as complete and the server SHOULD generate the
/// response that matches what the resource, that was targeted by the initial upload creation, would have generated if it
/// had processed the entire representation in the initial request. However, the response MUST include the Upload-Complete
/// header field with a true value".
#[test]
fn the_last_append_is_answered_like_a_complete_creation() {
    for version in VERSIONS {
        let mut world = World::new();
        let created = post(&mut world, version, true, b"hello").send().complete(version, true);
        let id = begun(&mut world, version, b"hel");
        let appended = patch(&mut world, version, &id, 3, true, b"lo").send().complete(version, true);
        assert_eq!(created.status(), appended.status());
        appended.has("location", world.url(&id)).has("upload-offset", 5);
        assert_eq!(world.bytes(&id), b"hello");
    }
}

/// "allowing clients to identify whether a response, in particular error responses, is related to the resumable upload
/// itself or the processing of the uploaded representation": what the application rejects is final; where it fails, the
/// client may try again.
#[test]
fn the_applications_rejection_is_final_and_its_failure_is_not() {
    for (status, is_final) in [(422, true), (403, true), (500, false), (503, false)] {
        let mut world = World::new();
        let status_code = http::StatusCode::from_u16(status).unwrap();
        world.application.reply = Err(Rejection::new(status_code, "no"));
        let created = post(&mut world, DRAFT_12, true, b"hello").send();
        let id = begun(&mut world, DRAFT_12, b"hel");
        let appended = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").send();
        let again = patch(&mut world, DRAFT_12, &id, 5, true, b"").send();
        for answer in [created, appended, again] {
            assert_eq!(answer.is(status).complete(DRAFT_12, is_final).has("upload-offset", 5).text(), "no");
        }
        assert_eq!(world.finishing.len(), 3);
    }
}

/// "Even if the upload is complete in the server's perspective and the final response from the targeted resource has
/// already been sent, the client might still perform an upload append after an offset retrieval due to the response being
/// lost during transmission. The server can choose to replay the final response to the client if the request to append to
/// the completed upload is valid."
#[test]
fn a_lost_final_response_is_replayed() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = completed(&mut world, version, b"hello");
        let before = world.uploads.clone();
        let again = patch(&mut world, version, &id, 5, true, b"").send().is(201).complete(version, true);
        again.has("location", world.url(&id)).has("upload-offset", 5);
        let streamed = patch(&mut world, version, &id, 5, true, b"").without("content-length").send().is(201);
        streamed.complete(version, true);
        assert_eq!((&world.uploads, world.notified.len()), (&before, 1), "the application is notified once");
    }
}

/// Drafts 02 to 05: "The upload is complete only if [...] Upload-Complete header value set to true".
#[test]
fn an_invalid_completeness_completes_nothing() {
    for version in 3..=6 {
        let mut world = World::new();
        let id = begun(&mut world, version, b"hello");
        let name = said(version, true).0;
        for value in ["0", "?2", "true", "?1, ?0", ""] {
            let patched = patch(&mut world, version, &id, 5, true, b"!").header(name, value).send();
            patched.is(400).complete(version, false);
        }
        assert_eq!((world.bytes(&id), world.record(&id).phase), (&b"hello"[..], Phase::Receiving));
        patch(&mut world, version, &id, 5, true, b"!").without(name).send().is(201).complete(version, true);
    }
}

/// The request that sent the last bytes was interrupted, or the storage could not assemble them.
#[test]
fn an_empty_append_completes_an_upload_that_has_to_be_assembled() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = completed(&mut world, version, b"hello");
        world.uploads.edit(&id, |upload, _| upload.phase = Phase::Assembling);
        head(&mut world, version, &id).send().is(204).complete(version, false);
        world.fail("Assemble", Failure::Unavailable);
        patch(&mut world, version, &id, 5, true, b"").send().is(503).complete(version, false);
        // Another process is assembling it.
        world.fail("Assemble", Failure::Busy);
        patch(&mut world, version, &id, 5, true, b"").send().is(503).complete(version, false);
        patch(&mut world, version, &id, 5, true, b"").send().is(201).complete(version, true);
        assert!(world.path().contains("Assemble Finish"), "{}", world.path());
    }
}

/// "Completeness": "After this point, no more representation data can be appended." "Upload-Complete can be false in
/// response to an invalid operation performed on a completed upload."
#[test]
fn nothing_is_added_to_a_complete_upload() {
    for version in VERSIONS {
        let mut world = World::new();
        let id = completed(&mut world, version, b"hello");
        let before = world.uploads.clone();
        for refused in [
            patch(&mut world, version, &id, 5, true, b"!").send(),
            patch(&mut world, version, &id, 5, false, b"!").send(),
            patch(&mut world, version, &id, 5, false, b"").send(),
            patch(&mut world, version, &id, 5, true, b"!").without("content-length").send(),
        ] {
            // Draft 12: a 409 would mean that the client can continue at the offset in it.
            let refused = refused.is(400).complete(version, false);
            let is_named = (6..=8).contains(&version);
            assert_eq!(
                refused.problem_type(),
                if is_named { "completed-upload" } else { "inconsistent-upload-length" }
            );
        }
        head(&mut world, version, &id).send().is(204).complete(version, true);
        assert_eq!(world.uploads, before);
    }
}

/// "The server MUST record the representation's length according to Length if the Upload-Length or Upload-Complete header
/// fields are included in the request."
#[test]
fn an_append_may_declare_the_length() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    patch(&mut world, DRAFT_12, &id, 5, false, b" ").length(11).send().is(204);
    head(&mut world, DRAFT_12, &id).send().has("upload-length", 11);
    let id = begun(&mut world, DRAFT_12, b"hello");
    let cut = patch(&mut world, DRAFT_12, &id, 5, true, b" wo").header("content-length", "6");
    cut.interrupted(Interruption::Disconnected).send().is(503);
    head(&mut world, DRAFT_12, &id).send().has("upload-length", 11).has("upload-offset", 8);
}

/// "If the representation's length is known, the server MUST prevent the offset from exceeding the representation's length
/// by rejecting the request once the offset exceeds the length, marking the upload resource invalid and rejecting any
/// further interaction with it. It is not sufficient to rely on the Content-Length header field for enforcement".
#[test]
fn content_beyond_the_length_makes_the_upload_invalid() {
    for version in VERSIONS {
        for commits_checkpoints in [false, true] {
            let mut world = World::new();
            world.commits_checkpoints = commits_checkpoints;
            let id = begun_of(&mut world, version, b"hello", 9);
            // A declared length is rejected before anything is exceeded.
            patch(&mut world, version, &id, 5, false, b" world").send().is(400).has("upload-offset", 5);
            let streamed = patch(&mut world, version, &id, 5, false, b" world").without("content-length").send();
            assert_eq!(streamed.is(400).complete(version, false).problem_type(), "inconsistent-upload-length");
            assert!(world.record(&id).offset <= 9 && world.notified.is_empty());
            if version < 7 {
                // Since draft 06: "Clarify server handling when upload length is exceeded."
                let at = world.record(&id).offset;
                head(&mut world, version, &id).send().is(204).has("upload-offset", at);
                continue;
            }
            assert_eq!(world.record(&id).phase, Phase::Invalid);
            head(&mut world, version, &id).send().is(410).lacks("upload-offset");
            patch(&mut world, version, &id, 5, true, b"").send().is(410).lacks("upload-offset");
        }
    }
}

/// "The server SHOULD include the Upload-Complete header field in the response": every refusal says that the upload is not
/// complete; statuses are those after which clients try again ("Retry") where they may.
#[test]
fn a_storage_failure_is_a_problem_that_clients_retry() {
    for (failure, status) in
        [(Failure::Full, 507), (Failure::Internal, 500), (Failure::Busy, 503), (Failure::Conflict, 409)]
    {
        for step in ["Load", "Hold", "Commit"] {
            let mut world = World::new();
            let id = begun(&mut world, DRAFT_12, b"hel");
            world.fail(step, failure);
            let refused = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").send().is(status);
            refused.complete(DRAFT_12, false).lacks("upload-offset").problem();
            patch(&mut world, DRAFT_12, &id, 3, true, b"lo").send().is(201).complete(DRAFT_12, true);
        }
    }
}

/// "Concurrency": "the server MUST take measures to prevent race conditions, data loss and corruption from concurrent
/// requests".
#[test]
fn a_superseded_request_adds_nothing() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    let key = id.clone();
    world.meanwhile("Commit", move |uploads| {
        uploads.edit(&key, |upload, bytes| {
            upload.offset = 6;
            bytes.push(b'!');
        });
    });
    let refused = patch(&mut world, DRAFT_12, &id, 5, true, b" world").send().is(409).lacks("upload-offset");
    refused.complete(DRAFT_12, false);
    assert_eq!(world.bytes(&id), b"hello!");
    // Another request has completed it, and nothing else has changed.
    let id = begun(&mut world, DRAFT_12, b"hello");
    let key = id.clone();
    world.meanwhile("Commit", move |uploads| uploads.edit(&key, |upload, _| upload.phase = Phase::Notified));
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(409);
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(201).complete(DRAFT_12, true);
}

/// If another process is currently asking the application about the upload, the client returns for the answer.
#[test]
fn a_final_response_of_another_process_is_requested_again() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    world.fail("Finish", Failure::Busy);
    let refused = patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(503).complete(DRAFT_12, false);
    refused.has("retry-after", 1);
    patch(&mut world, DRAFT_12, &id, 5, true, b"").send().is(201).complete(DRAFT_12, true);
}

#[test]
fn an_upload_in_progress_stays_alive() {
    let second = std::time::Duration::from_secs(1);
    let mut world = World::with(Config::default().expire_after(10 * second));
    let id = begun(&mut world, DRAFT_12, b"hello");
    for offset in 5..10 {
        world.wait(9 * second);
        patch(&mut world, DRAFT_12, &id, offset, false, b"!").send().is(204).has("upload-limit", "max-age=10");
    }
    world.wait(10 * second);
    patch(&mut world, DRAFT_12, &id, 10, true, b"").send().is(410);
}

/// "Transfer Codings": "a server is responsible for transfer decoding the message before computing the upload offset."
#[test]
fn an_unsupported_transfer_coding_is_rejected() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hel");
    let coded = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").without("content-length");
    let refused = coded.header("transfer-encoding", "gzip, chunked").send().is(501).complete(DRAFT_12, false);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("chunked"));
    let coded = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").without("content-length");
    coded.header("transfer-encoding", "chunked").send().is(201).complete(DRAFT_12, true);
}
