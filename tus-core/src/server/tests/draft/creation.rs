//! "Upload Creation", "Server Behavior".

use http::StatusCode;

use super::*;
use crate::{
    Config, Dialect, Failure, Location, Phase, TusExtension,
    server::{FinishReply, Interruption},
};

/// "If the Upload-Complete request header field is set to false [...]. If the request content was fully processed, the
/// server MUST include the Location response header field pointing to the upload resource and MUST include the
/// Upload-Limit header field with the corresponding limits if existing. Servers are RECOMMENDED to use the 201 (Created)
/// status code."
#[test]
fn an_incomplete_creation_is_201_with_the_url_and_the_limits() {
    for version in VERSIONS {
        for content in [&b""[..], b"hel"] {
            let mut world = World::with(Config::default().max_size(1000));
            let answer = post(&mut world, version, false, content).send().is(201).complete(version, false);
            let answer = answer.has("upload-offset", content.len()).has("upload-limit", "max-size=1000");
            let id = answer.lacks("tus-resumable").id();
            let record = world.record(&id);
            assert_eq!((record.dialect, record.phase), (Dialect::Draft(version), Phase::Receiving));
            assert_eq!((world.bytes(&id), world.notified.len()), (content, 0));
        }
    }
}

/// "If the Upload-Complete request header field is set to true, the client intends to transfer the entire representation
/// data in one request. If the request content was fully processed, no resumable upload is needed and the server proceeds
/// to process the request and generate a response."
#[test]
fn a_complete_creation_is_answered_by_the_endpoint() {
    for version in VERSIONS {
        for content in [&b""[..], b"hello"] {
            for sized in [true, false] {
                let mut world = World::new();
                let mut request = post(&mut world, version, true, content);
                if !sized {
                    request = request.without("content-length");
                }
                let id = request.send().complete(version, true).has("upload-offset", content.len()).id();
                assert_eq!((world.bytes(&id), world.record(&id).phase), (content, Phase::Notified));
                assert_eq!(world.notified, [id]);
            }
        }
    }
}

/// "Completeness": "The value of true means that the semantics of the targeted resource apply". The target is the
/// application's, which shapes the response.
#[test]
fn the_application_shapes_the_final_response() {
    let mut world = World::new();
    let mut reply = FinishReply { status: Some(StatusCode::OK), ..FinishReply::default() };
    reply.headers.insert("location", "/photos/7".parse().unwrap());
    reply.headers.insert("content-type", "application/json".parse().unwrap());
    reply.body = "{\"attachmentId\": \"b530ce8ff\"}".into();
    world.application.reply = Ok(reply);
    let created = post(&mut world, DRAFT_12, true, b"hello").send();
    let id = begun(&mut world, DRAFT_12, b"hel");
    let appended = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").send();
    // tus has its own statuses.
    world.post().length(5).body(b"hello").send().is(201).has("location", "/photos/7");
    for answer in [created, appended] {
        let answer = answer.is(200).complete(DRAFT_12, true).has("location", "/photos/7");
        assert_eq!(answer.has("content-type", "application/json").text(), "{\"attachmentId\": \"b530ce8ff\"}");
    }
}

/// "The server MUST record the representation's length according to Length if the Upload-Length or Upload-Complete: ?1
/// header fields are included in the request."
#[test]
fn the_length_is_recorded() {
    let mut world = World::new();
    let declared = post(&mut world, DRAFT_12, false, b"").length(11).send().id();
    assert_eq!(world.record(&declared).length, Some(11));
    let cut = post(&mut world, DRAFT_12, true, b"hello").header("content-length", "11");
    let computed = cut.interrupted(Interruption::Disconnected).send().id();
    assert_eq!(world.record(&computed).length, Some(11));
    head(&mut world, DRAFT_12, &computed).send().has("upload-length", 11).has("upload-offset", 5);
    let unknown = begun(&mut world, DRAFT_12, b"hello");
    assert_eq!(world.record(&unknown).length, None);
}

/// "Where a response requires a Location header field to be included, all interim and final response messages for the same
/// request MUST contain an identical Location value."
#[test]
fn interim_and_final_responses_have_the_same_location() {
    for location in [Location::Path, Location::Host, Location::base("https://example.org/u").unwrap()] {
        let mut world = World::with(Config::default().location(location));
        world.informs = true;
        for complete in [true, false] {
            let answer = post(&mut world, DRAFT_12, complete, b"hello").send().is(201);
            let interim = world.log.informed[0].headers()["location"].clone();
            assert_eq!(answer.header("location"), interim.to_str().ok());
        }
    }
}

/// "The server SHOULD include the Upload-Complete header field in the response to indicate whether it is the result of
/// processing the uploaded representation."
#[test]
fn a_rejected_creation_is_incomplete() {
    let mut world = World::with(Config::default().max_size(3));
    for (status, refused) in [
        (413, post(&mut world, DRAFT_12, true, b"hello").send()),
        (400, request(&mut world, DRAFT_12, Method::POST, "/files").body(b"hello").send()),
        (405, complete(request(&mut world, DRAFT_12, Method::DELETE, "/files"), DRAFT_12, true).send()),
        (405, complete(request(&mut world, DRAFT_12, Method::PATCH, "/files"), DRAFT_12, true).send()),
        (404, complete(request(&mut world, DRAFT_12, Method::POST, "/files/a/b"), DRAFT_12, true).send()),
        (405, complete(request(&mut world, DRAFT_12, Method::POST, "/files/a"), DRAFT_12, true).send()),
    ] {
        refused.is(status).complete(DRAFT_12, false).lacks("location").problem();
    }
    world.application.rejects = Box::new(|_, _| true);
    let refused = post(&mut world, DRAFT_12, true, b"hello").send().is(403).complete(DRAFT_12, false);
    assert_eq!(refused.text(), "the application says no");
    assert!(world.uploads.is_empty());
    world.config = Config::default().without(TusExtension::Creation).into();
    post(&mut world, DRAFT_12, true, b"hello").send().is(405).has("allow", "OPTIONS").problem();
}

/// "all request methods that allow content are possible, such as POST, PUT, and PATCH": here those that create.
#[test]
fn post_and_put_create() {
    let mut world = World::new();
    for method in [Method::POST, Method::PUT] {
        let request = request(&mut world, DRAFT_12, method, "/files").body(b"hello");
        complete(request, DRAFT_12, true).send().is(201).complete(DRAFT_12, true);
    }
    // Not so in tus.
    world.request(Method::PUT, "/files").length(5).send().is(405);
}

/// "The server might not process the entire request content when the upload is interrupted [...]. In this case, the
/// server SHOULD append as much of the request content as possible to the upload resource [...]. In addition, the upload
/// resource MUST NOT be considered complete then."
#[test]
fn an_interrupted_creation_keeps_its_bytes_and_is_incomplete() {
    for version in VERSIONS {
        for commits_checkpoints in [false, true] {
            for why in [Interruption::Disconnected, Interruption::TimedOut, Interruption::Superseded] {
                let mut world = World::new();
                world.commits_checkpoints = commits_checkpoints;
                let request = post(&mut world, version, true, b"hello").header("content-length", "11");
                let answer = request.interrupted(why).send().is(201).complete(version, false);
                let id = answer.has("upload-offset", 5).id();
                let cut = post(&mut world, version, true, b"hello").without("content-length").interrupted(why);
                let streamed = cut.send().is(201).complete(version, false).id();
                for id in [&id, &streamed] {
                    head(&mut world, version, id).send().has("upload-offset", 5).complete(version, false);
                    assert_eq!((world.bytes(id), world.record(id).phase), (&b"hello"[..], Phase::Receiving));
                    patch(&mut world, version, id, 5, true, b" world").send().complete(version, true);
                }
                assert_eq!(world.bytes(&id), b"hello world");
            }
        }
    }
}

/// Content of declared length is complete when that many bytes have arrived, whatever happens to the connection
/// afterwards.
#[test]
fn content_that_breaks_off_after_its_last_byte_is_complete() {
    let mut world = World::new();
    let created = post(&mut world, DRAFT_12, true, b"hello").interrupted(Interruption::Disconnected).send();
    created.is(201).complete(DRAFT_12, true);
    let id = begun(&mut world, DRAFT_12, b"hel");
    let appended = patch(&mut world, DRAFT_12, &id, 3, true, b"lo").interrupted(Interruption::Superseded).send();
    appended.is(201).complete(DRAFT_12, true);
    let id = begun(&mut world, DRAFT_12, b"hel");
    let appended = patch(&mut world, DRAFT_12, &id, 3, false, b"lo").interrupted(Interruption::Superseded).send();
    appended.is(204).complete(DRAFT_12, false);
}

/// A client that knows about its upload finds it again, whatever fails at the end.
#[test]
fn an_upload_known_to_its_client_is_not_undone() {
    for informs in [true, false] {
        let mut world = World::new();
        (world.informs, world.commits_checkpoints) = (informs, true);
        world.fail("Commit", Failure::Full);
        let refused = post(&mut world, 6, true, b"hello").send().is(507).complete(6, false);
        refused.lacks("upload-offset").problem();
        assert_eq!(world.uploads.len(), usize::from(informs));
        let known = world.uploads.ids().next().cloned();
        if let Some(id) = known {
            head(&mut world, 6, &id).send().is(204).has("upload-offset", 5).complete(6, false);
            patch(&mut world, 6, &id, 5, true, b"").send().is(201).complete(6, true);
        }
    }
}

/// Drafts 01 to 05: "The client SHOULD consider the upload failed if the response has a status code that indicates a success but the
/// offset indicated [...] does not equal the total". Later ones: "If the client receives a 2xx successful final response
/// with the Upload-Complete header field set to false or missing, [...] The client can continue".
#[test]
fn an_interrupted_creation_is_no_success_for_early_versions() {
    let full = Interruption::Failed { failure: Failure::Full, stored: 5 };
    for version in VERSIONS {
        for (why, status) in [
            (Interruption::Disconnected, 503),
            (Interruption::TimedOut, 503),
            (Interruption::ShuttingDown, 503),
            (Interruption::Superseded, 409),
            (full, 507),
        ] {
            let mut world = World::new();
            world.informs = true;
            let cut = post(&mut world, version, true, b"hello").header("content-length", "11").interrupted(why);
            let status = if version <= 6 { status } else { 201 };
            cut.send().is(status).complete(version, false).has("upload-offset", 5);
            let id = world.uploads.ids().next().unwrap().clone();
            head(&mut world, version, &id).send().is(204).has("upload-offset", 5).complete(version, false);
            patch(&mut world, version, &id, 5, true, b" world").send().is(201).complete(version, true);
            // A piece that was declared as such is stored as far as it arrived.
            let cut = post(&mut world, version, false, b"hello").header("content-length", "11").interrupted(why);
            cut.send().is(201).complete(version, false).has("upload-offset", 5);
        }
    }
}

/// "Upload-Offset [...] serves as an acknowledgment and, as a guarantee that no retransmission of it will be necessary"
#[test]
fn an_acknowledged_creation_is_kept_when_the_rest_is_refused() {
    for version in VERSIONS {
        let mut world = World::with(Config::default().max_append_size(8));
        (world.informs, world.commits_checkpoints) = (true, true);
        post(&mut world, version, false, b"hello world").without("content-length").send().is(413);
        let id = world.uploads.ids().next().unwrap().clone();
        let committed = world.bytes(&id).len() as u64;
        assert!(committed > 0);
        head(&mut world, version, &id).send().is(204).has("upload-offset", committed);
        // Less content than the declared length.
        let mut world = World::new();
        world.informs = true;
        let short = post(&mut world, version, true, b"hello").without("content-length").length(11).send().is(400);
        short.complete(version, false).has("upload-offset", 5);
        let id = world.uploads.ids().next().unwrap().clone();
        patch(&mut world, version, &id, 5, true, b" world").send().is(201).complete(version, true);
    }
}

#[test]
fn more_content_than_the_length_creates_nothing() {
    let mut world = World::new();
    let refused = post(&mut world, DRAFT_12, false, b"hello").length(3).send().is(400);
    assert_eq!(refused.problem_type(), "inconsistent-upload-length");
    let refused = post(&mut world, DRAFT_12, false, b"hello").without("content-length").length(3).send().is(400);
    assert_eq!(refused.problem_type(), "inconsistent-upload-length");
    assert!(world.uploads.is_empty());
}
