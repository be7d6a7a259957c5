//! Nothing is created, held, received, deleted or revealed before the application has authorized it.

use std::time::Duration;

use http::Method;

use super::{super::Operation, draft, request::Answer, world::World};
use crate::{Config, Download, Incarnation, Phase, UploadId};

/// The steps that come only after an `Authorize`.
const GUARDED: [&str; 13] = [
    "Hold",
    "Create",
    "Store",
    "Receive",
    "Commit",
    "Complete",
    "Assemble",
    "Finish",
    "Notify",
    "Record",
    "Wake",
    "Veto",
    "Terminate",
];

/// The uploads that the requests refer to.
struct Ids {
    unfinished: UploadId,
    finished: UploadId,
    deferred: UploadId,
    part: UploadId,
    other_part: UploadId,
    unfinished_part: UploadId,
    concatenated: UploadId,
    pending: UploadId,
}

type Ask = fn(&mut World, &Ids) -> Answer;

/// Requests of all kinds, each with its operation and its status when nothing is rejected.
const REQUESTS: [(Operation, u16, Ask); 27] = [
    (Operation::Create, 201, |world, _| world.post().length(5).send()),
    (Operation::Create, 201, |world, _| world.post().length(0).send()),
    (Operation::Create, 201, |world, _| world.post().header("upload-defer-length", "1").send()),
    (Operation::Create, 201, |world, _| world.post().length(5).header("upload-concat", "partial").send()),
    (Operation::Create, 201, |world, _| world.post().length(5).body(b"hello").send()),
    (Operation::Create, 201, |world, _| world.post().length(9).stream(b"hello").sha1_of(b"hello").send()),
    (Operation::Create, 460, |world, _| world.post().length(9).stream(b"hello").sha1_of(b"other").send()),
    (Operation::Create, 413, |world, _| world.post().length(3).stream(b"hello").send()),
    (Operation::Concatenate, 201, |world, ids| world.post().concat(&[&ids.part, &ids.other_part]).send()),
    (Operation::Concatenate, 201, |world, ids| world.post().concat(&[&ids.part, &ids.unfinished_part]).send()),
    (Operation::Concatenate, 400, |world, ids| world.post().concat(&[&ids.part, &ids.finished]).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.unfinished).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.finished).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.deferred).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.part).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.concatenated).send()),
    (Operation::Inspect, 200, |world, ids| world.head(&ids.pending).send()),
    (Operation::Append, 204, |world, ids| world.patch(&ids.unfinished).offset(3).body(b"lo").send()),
    (Operation::Append, 204, |world, ids| world.patch(&ids.finished).offset(5).send()),
    (Operation::Append, 204, |world, ids| world.patch(&ids.deferred).offset(3).length(4).stream(b"l").send()),
    (Operation::Append, 409, |world, ids| world.patch(&ids.unfinished).offset(0).body(b"hello").send()),
    (Operation::Append, 413, |world, ids| world.patch(&ids.unfinished).offset(3).body(b"too long").send()),
    (Operation::Append, 403, |world, ids| world.patch(&ids.concatenated).offset(10).send()),
    (Operation::Terminate, 204, |world, ids| world.delete(&ids.unfinished).send()),
    (Operation::Terminate, 204, |world, ids| world.delete(&ids.part).send()),
    (Operation::Terminate, 204, |world, ids| world.delete(&ids.concatenated).send()),
    (Operation::Terminate, 204, |world, ids| {
        let path = format!("/files/{}", ids.finished);
        world.request(http::Method::POST, &path).header("x-http-method-override", "DELETE").send()
    }),
];

#[test]
fn every_guarded_step_requires_authorization() {
    for (operation, status, ask) in REQUESTS {
        let (mut world, ids) = world();
        ask(&mut world, &ids).is(status);
        assert!(world.log.asked.iter().any(|(asked, _)| *asked == operation), "{}", world.path());
        let asked = world.log.steps.iter().position(|step| *step == "Authorize").unwrap();
        let guarded = world.log.steps.iter().position(|step| GUARDED.contains(step));
        assert!(guarded.is_none_or(|guarded| asked < guarded), "{}", world.path());
        let last_asked = world.log.steps.iter().rposition(|step| *step == "Authorize").unwrap();
        assert!(guarded.is_none_or(|guarded| last_asked < guarded), "{}", world.path());
    }
}

#[test]
fn a_rejected_operation_does_nothing_and_reveals_nothing() {
    for (operation, _, ask) in REQUESTS {
        let (mut world, ids) = world();
        world.application.rejects = Box::new(move |asked, _| asked == operation);
        let before = (world.uploads.clone(), world.notified.clone());
        let answer = ask(&mut world, &ids).is(403);
        assert_eq!(answer.text(), "the application says no");
        assert_eq!(world.log.steps[world.log.steps.len() - 2..], ["Authorize", "Respond"], "{}", world.path());
        assert!(!world.log.steps.iter().any(|step| GUARDED.contains(step)), "{}", world.path());
        assert_eq!((world.uploads.clone(), world.notified.clone()), before);
        let revealed =
            answer.0.headers().keys().find(|name| name.as_str().starts_with("upload-") || *name == "location");
        assert_eq!(revealed, None);
    }
}

#[test]
fn rejecting_one_operation_allows_the_others() {
    let operations =
        [Operation::Create, Operation::Concatenate, Operation::Inspect, Operation::Append, Operation::Terminate];
    for rejected in operations {
        for (operation, status, ask) in REQUESTS {
            let (mut world, ids) = world();
            world.application.rejects = Box::new(move |asked, _| asked == rejected);
            let needs = operation == rejected || (operation, rejected) == (Operation::Concatenate, Operation::Create);
            ask(&mut world, &ids).is(if needs { 403 } else { status });
        }
    }
}

#[test]
fn authorization_sees_the_upload_if_it_exists() {
    let (mut world, ids) = world();
    world.post().length(5).body(b"hello").send();
    assert_eq!(world.log.asked, [(Operation::Create, None)]);
    world.head(&ids.unfinished).send();
    assert_eq!(world.log.asked, [(Operation::Inspect, Some(ids.unfinished.clone()))]);
    world.patch(&ids.unfinished).offset(3).send();
    assert_eq!(world.log.asked, [(Operation::Append, Some(ids.unfinished.clone()))]);
    world.delete(&ids.unfinished).send();
    assert_eq!(world.log.asked, [(Operation::Terminate, Some(ids.unfinished))]);
}

/// A policy that allows what it does not know must not show strangers which ids existed: 410 differs from 404.
#[test]
fn authorization_sees_uploads_that_have_expired_or_are_invalid() {
    const HOUR: Duration = Duration::from_secs(3600);
    type Ask = fn(&mut World, &UploadId) -> Answer;
    let asks: [(Operation, Ask); 7] = [
        (Operation::Inspect, |world, id| world.head(id).send()),
        (Operation::Append, |world, id| world.patch(id).offset(3).body(b"lo").send()),
        (Operation::Terminate, |world, id| world.delete(id).send()),
        (Operation::Concatenate, |world, id| world.post().concat(&[id]).send()),
        (Operation::Download, |world, id| world.request(Method::GET, &world.url(id)).without("tus-resumable").send()),
        (Operation::Inspect, |world, id| draft::head(world, draft::DRAFT_12, id).send()),
        (Operation::Append, |world, id| draft::patch(world, draft::DRAFT_12, id, 3, true, b"lo").send()),
    ];
    let expire: fn(&mut World, &UploadId) = |world, _| world.wait(HOUR);
    let invalidate: fn(&mut World, &UploadId) =
        |world, id| world.uploads.edit(id, |upload, _| upload.phase = Phase::Invalid);
    for (operation, ask) in asks {
        for spoil in [expire, invalidate] {
            let config = Config::default().expire_after(HOUR).download(Download::attachment());
            let mut world = World::with(config);
            let id = world.partial(b"hel", 5);
            spoil(&mut world, &id);
            world.application.rejects = Box::new(|_, id| id.is_some());
            ask(&mut world, &id).is(403);
            assert!(world.log.asked.contains(&(operation, Some(id.clone()))), "{:?}", world.log.asked);
            ask(&mut world, &UploadId::from_random(0)).is(404);
            world.application.rejects = Box::new(|_, _| false);
            let is_deleted = operation == Operation::Terminate && world.record(&id).phase == Phase::Invalid;
            ask(&mut world, &id).is(if is_deleted { 204 } else { 410 });
        }
    }
}

/// Without a dialect in the request, the response would show that of the upload.
#[test]
fn a_refusal_does_not_reveal_whether_an_upload_exists() {
    let mut world = World::with(Config::default().download(Download::attachment()));
    let of_draft = draft::begun(&mut world, draft::DRAFT_12, b"hello");
    let of_tus = world.upload(b"hello", 11);
    world.application.rejects = Box::new(|_, _| true);
    for method in [Method::HEAD, Method::GET, Method::DELETE] {
        let mut ask = |id: &UploadId| {
            let url = world.url(id);
            let answer = world.request(method.clone(), &url).without("tus-resumable").send();
            (answer.0.status(), answer.0.headers().clone())
        };
        let absent = ask(&UploadId::from_random(0));
        assert_eq!(absent.0, 403);
        assert_eq!(ask(&of_draft), absent, "{method}");
        assert_eq!(ask(&of_tus), absent, "{method}");
    }
}

/// The id may belong to somebody else by the time an older request has left.
#[test]
fn the_state_of_a_later_upload_of_the_same_id_is_not_revealed() {
    let mut world = World::new();
    let id = world.upload(b"hel", 5);
    let key = id.clone();
    world.meanwhile("Hold", move |uploads| {
        uploads.edit(&key, |upload, _| {
            upload.incarnation = Incarnation::from_random(99);
            upload.phase = Phase::Invalid;
        });
    });
    world.head(&id).send().is(404);
}

#[test]
fn each_part_of_a_final_upload_is_authorized_once() {
    let (mut world, ids) = world();
    let parts = [&ids.other_part, &ids.part, &ids.other_part, &ids.part, &ids.part];
    let id = world.concatenate(&parts);
    let concatenate = |id: &UploadId| (Operation::Concatenate, Some(id.clone()));
    assert_eq!(world.log.asked, [(Operation::Create, None), concatenate(&ids.other_part), concatenate(&ids.part)]);
    assert_eq!(world.bytes(&id), b"worldhelloworldhellohello");
}

#[test]
fn one_rejected_part_rejects_the_final_upload() {
    for rejected in 0..3 {
        let (mut world, ids) = world();
        let parts = [ids.part, ids.unfinished_part, ids.other_part];
        let no = parts[rejected].clone();
        world.application.rejects = Box::new(move |_, id| id == Some(&no));
        let before = world.uploads.clone();
        world.post().concat(&parts.each_ref()).send().is(403);
        assert_eq!(world.log.asked.len(), rejected + 2);
        assert!(!world.passed("Create"));
        assert_eq!(world.uploads, before);
    }
}

/// Authorization comes before validation: an unauthorized client learns neither a part's kind nor whether it is
/// complete.
#[test]
fn nothing_is_revealed_about_parts_before_all_are_authorized() {
    let (mut world, ids) = world();
    let no = ids.finished.clone();
    world.application.rejects = Box::new(move |_, id| id == Some(&no));
    let answer = world.post().concat(&[&ids.concatenated, &ids.finished]).send().is(403);
    assert_eq!(answer.text(), "the application says no");
}

#[test]
fn invalid_requests_do_not_reach_the_application() {
    let (mut world, ids) = world();
    world.post().send().is(400);
    assert_eq!(world.path(), "Respond");
    world.patch(&ids.unfinished).offset(3).without("content-type").send().is(415);
    assert_eq!(world.path(), "Respond");
    world.options().send().is(204);
    assert_eq!(world.path(), "Respond");
}

/// A client that may not use a part does not learn whether it exists.
#[test]
fn a_missing_part_is_reported_only_to_authorized_clients() {
    let (mut world, ids) = world();
    world.application.rejects = Box::new(|operation, _| operation == Operation::Concatenate);
    let missing = UploadId::from_random(0);
    let there = world.post().concat(&[&ids.part]).send().is(403);
    let absent = world.post().concat(&[&missing]).send().is(403);
    assert_eq!(there.text(), absent.text());
    world.application.rejects = Box::new(|_, _| false);
    world.post().concat(&[&missing]).send().is(404);
}

/// Not even by the number of authorization calls.
#[test]
fn every_part_is_authorized_before_a_missing_part_is_reported() {
    let (mut world, ids) = world();
    let missing = UploadId::from_random(0);
    let parts = [&missing, &ids.part, &missing, &ids.other_part, &ids.part];
    let concatenate = |id: Option<&UploadId>| (Operation::Concatenate, id.cloned());
    let asked = [
        (Operation::Create, None),
        concatenate(None),
        concatenate(Some(&ids.part)),
        concatenate(Some(&ids.other_part)),
    ];
    world.post().concat(&parts).send().says(404, missing.as_str());
    assert_eq!(world.path(), "Authorize LoadParts Authorize Authorize Authorize Respond");
    assert_eq!(world.log.asked, asked);
    let no = ids.other_part.clone();
    world.application.rejects = Box::new(move |_, id| id == Some(&no));
    world.post().concat(&parts).send().says(403, "the application says no");
    assert_eq!(world.log.asked, asked);
}

fn world() -> (World, Ids) {
    let mut world = World::new();
    let (part, other_part) = (world.partial(b"hello", 5), world.partial(b"world", 5));
    let unfinished_part = world.partial(b"he", 5);
    let ids = Ids {
        unfinished: world.upload(b"hel", 5),
        finished: world.upload(b"hello", 5),
        deferred: world.deferred(b"hel"),
        concatenated: world.concatenate(&[&part, &other_part]),
        pending: world.concatenate(&[&part, &unfinished_part]),
        part,
        other_part,
        unfinished_part,
    };
    (world, ids)
}
