//! Uploads that are gone: the client starts again if possible.

use super::{
    super::{Error, NewUpload, Options, Retry, Verification, create, inspect, resume, resume_or_create, terminate},
    script::{Script, answer, broken},
    wire::endpoint,
};

fn plain() -> Options {
    Options::default().verification(Verification::Off).chunk_size(None).retry(Retry::default().retries(2))
}

const CREATED: &[(&str, &str)] = &[("location", "/files/new")];
const COMPLETE: &[(&str, &str)] = &[("upload-offset", "100"), ("upload-length", "100")];

fn kept() -> url::Url {
    endpoint().join("files/old").unwrap()
}

#[test]
fn a_stored_url_that_is_gone_or_of_another_source_is_replaced() {
    let other = answer(200, &[("upload-offset", "0"), ("upload-length", "99")]);
    let answers = [404, 410].map(|status| answer(status, &[])).into_iter().chain([other]);
    for refusal in answers {
        let mut script = Script::new([refusal, answer(201, CREATED), answer(204, COMPLETE)]);
        let step = resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
        let uploaded = script.run(step).unwrap();
        assert_eq!(uploaded.url.path(), "/files/new");
        assert_eq!(script.lines(), ["HEAD /files/old", "POST /files", "PATCH /files/new 0..100"]);
        assert!(script.waits.is_empty());
    }
    // 500 may be temporary.
    let mut script = Script::new([answer(500, &[]), answer(200, COMPLETE)]);
    let step = resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert_eq!(script.run(step).unwrap().url.path(), "/files/old");
}

#[test]
fn a_rejection_of_the_caller_does_not_replace_a_stored_url() {
    for status in [400, 401, 403] {
        let mut script = Script::new([answer(status, &[])]);
        let step = resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
        let error = script.run(step).unwrap_err();
        assert_eq!((error.status().unwrap().as_u16(), error.is_gone()), (status, false));
        assert_eq!(script.lines(), ["HEAD /files/old"]);
    }
    // With renewable credentials, 401 is final only when new ones are rejected, too.
    let options = plain().renews_credentials(true);
    let step = || resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), options.clone(), None).unwrap();
    assert_eq!(Script::new([answer(401, &[]), answer(401, &[])]).run(step()).unwrap_err().status().unwrap(), 401);
    assert_eq!(Script::new([answer(401, &[]), answer(200, COMPLETE)]).run(step()).unwrap().url.path(), "/files/old");
}

#[test]
fn an_upload_that_disappears_is_started_again() {
    for status in [404, 410] {
        let half = answer(204, &[("upload-offset", "50")]);
        let mut script = Script::new([
            answer(201, &[("location", "/files/old")]),
            half,
            answer(status, &[]),
            answer(201, CREATED),
            answer(204, &[("upload-offset", "50")]),
            answer(204, COMPLETE),
        ]);
        let step = create(endpoint(), NewUpload::new(Some(100)), plain().chunk_size(Some(50)), None).unwrap();
        assert_eq!(script.run(step).unwrap().url.path(), "/files/new");
        assert_eq!(script.lines()[3..], ["POST /files", "PATCH /files/new 0..50", "PATCH /files/new 50..100"]);
    }
}

#[test]
fn restarts_are_limited() {
    let answers = (0..4).flat_map(|_| [answer(201, CREATED), answer(404, &[])]);
    let step = create(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert!(Script::new(answers).run(step).unwrap_err().is_gone());
}

#[test]
fn a_source_that_cannot_be_reread_is_not_restarted() {
    let stream = || create(endpoint(), NewUpload::new(None), plain().chunk_size(Some(50)), None).unwrap();
    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "50")]), answer(404, &[])]);
    assert!(script.run(stream()).unwrap_err().is_gone());
    // Nothing was acknowledged, so everything is still in memory.
    let mut script = Script::new([answer(201, CREATED), answer(404, &[]), answer(201, CREATED), broken()]);
    let _ = script.run(stream());
    assert_eq!(script.lines()[3], "PATCH /files/new 0..50");
}

#[test]
fn the_callers_url_is_never_replaced() {
    let step = resume(kept(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert!(Script::new([answer(404, &[])]).run(step).unwrap_err().is_gone());
}

/// The 404 of a proxy, as while the server restarts.
fn foreign(status: u16) -> Result<http::Response<bytes::Bytes>, Error> {
    Ok(http::Response::builder().status(status).body(bytes::Bytes::from_static(b"<h1>no upstream</h1>")).unwrap())
}

#[test]
fn a_404_of_a_proxy_passes() {
    for status in [404, 410] {
        let answers =
            [foreign(status), foreign(status), answer(200, &[("upload-offset", "50")]), answer(204, COMPLETE)];
        let mut script = Script::new(answers);
        let step = resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
        assert_eq!(script.run(step).unwrap().url.path(), "/files/old");
        assert_eq!(script.waits, [1.0, 2.0]);
        let mut script = Script::new([foreign(status), answer(204, &[])]);
        script.run(terminate(kept(), plain())).unwrap();
        assert_eq!(script.lines(), ["DELETE /files/old", "DELETE /files/old"]);
        let mut script = Script::new([foreign(status), answer(200, COMPLETE)]);
        assert!(script.run(inspect(kept(), plain())).unwrap().complete);
    }
    // Between other failures, it proves nothing.
    let step = resume(kept(), NewUpload::new(Some(100)), plain(), None).unwrap();
    let error = Script::new([broken(), broken(), foreign(404)]).run(step).unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 2, .. }) && !error.is_gone(), "{error}");
}

#[test]
fn a_404_that_stays_is_believed() {
    let stays = || [foreign(404), foreign(404), foreign(404)].into_iter();
    let step = resume(kept(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert!(Script::new(stays()).run(step).unwrap_err().is_gone());
    Script::new(stays()).run(terminate(kept(), plain())).unwrap();
    // After another failure, too.
    let mixed = [broken(), foreign(404), foreign(404)];
    let step = resume(kept(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert!(Script::new(mixed).run(step).unwrap_err().is_gone());
    // The new upload has its own retries.
    let again = [answer(503, &[]), answer(201, CREATED), answer(204, COMPLETE)];
    let mut script = Script::new(stays().chain(again));
    let step = resume_or_create(kept(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert_eq!(script.run(step).unwrap().url.path(), "/files/new");
    assert_eq!(script.waits, [1.0, 2.0, 1.0]);
    // Endless retries are no reason to ask for ever.
    let endless = plain().retry(Retry::default().retries(u32::MAX));
    let error = Script::new((0..9).map(|_| foreign(410))).run(inspect(kept(), endless)).unwrap_err();
    assert!(error.is_gone(), "{error}");
    // No upload is asked for: the endpoint is wrong.
    let step = create(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert_eq!(Script::new([foreign(404)]).run(step).unwrap_err().status().unwrap(), 404);
    // The caller knows better.
    let sure = plain().retry(Retry::default().judge(|error, _| (error.status()? == 404).then_some(false)));
    assert_eq!(Script::new([foreign(404)]).run(inspect(kept(), sure)).unwrap_err().status().unwrap(), 404);
}

/// A proxy may spoil the URL of a new upload. Waiting does not help.
#[test]
fn a_new_url_that_leads_nowhere_is_an_error_at_once() {
    let mut script = Script::new((0..4).flat_map(|_| [answer(201, CREATED), foreign(404)]));
    let error = script.run(create(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
    assert!(error.is_gone(), "{error}");
    assert!(script.waits.is_empty(), "{:?}", script.waits);
    // It did not lead nowhere from the beginning: the server restarts.
    let [restarting, back] = [foreign(404), answer(200, &[("upload-offset", "50")])];
    let mut script = Script::new([answer(201, CREATED), broken(), restarting, back, answer(204, COMPLETE)]);
    script.run(create(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap();
    assert_eq!(script.lines().last().unwrap(), "PATCH /files/new 50..100");
    // Any response from there shows that it leads to an upload.
    for first in [401, 413, 502] {
        let back = answer(200, &[("upload-offset", "0")]);
        let answers = [answer(201, CREATED), answer(first, &[]), foreign(404), back, answer(403, &[])];
        let mut script = Script::new(answers);
        let options = plain().renews_credentials(true);
        let error = script.run(create(endpoint(), NewUpload::new(Some(1 << 20)), options, None).unwrap()).unwrap_err();
        assert_eq!(error.status().unwrap(), 403, "{:?}", script.lines());
    }
}

fn parts() -> NewUpload {
    NewUpload::concatenation(vec![kept(), endpoint().join("files/other").unwrap()])
}

#[test]
fn a_concatenation_is_awaited() {
    let waiting = || answer(200, &[("upload-concat", "final;/a /b"), ("upload-length", "100")]);
    let some = answer(200, &[("upload-length", "100"), ("upload-offset", "40")]);
    let done = answer(200, &[("upload-length", "100"), ("upload-offset", "100")]);
    let mut script = Script::new([answer(201, CREATED), waiting(), waiting(), some, done]);
    let uploaded = script.run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap();
    assert_eq!((uploaded.offset, uploaded.length), (Some(100), Some(100)));
    assert_eq!(script.waits, [1.0, 2.0, 4.0]);

    let answers = std::iter::once(answer(201, CREATED)).chain((0..21).map(|_| waiting()));
    let error = Script::new(answers).run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Pending), "{error}");
    // A server that reports nothing about it has created it nevertheless.
    let mut script = Script::new([answer(201, CREATED), answer(404, &[])]);
    assert_eq!(script.run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap().offset, None);
}

#[test]
fn a_concatenation_without_a_response_is_not_repeated() {
    let silent = || Err(Error::Silent(std::time::Duration::from_secs(600)));
    let mut script = Script::new([silent(), answer(404, &[])]);
    let error = script.run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Unlocated), "{error}");
    assert_eq!(script.lines(), ["POST /files", "HEAD /files/old"]);
    // A proxy does not know whether they exist.
    let done = || answer(200, &[("upload-length", "100"), ("upload-offset", "100")]);
    let mut script = Script::new([silent(), foreign(404), answer(200, COMPLETE), answer(201, CREATED), done()]);
    script.run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap();
    // The parts exist, so it was not made.
    let mut script = Script::new([silent(), answer(200, COMPLETE), answer(201, CREATED), done()]);
    script.run(create(endpoint(), parts(), plain(), None).unwrap()).unwrap();
    assert_eq!(script.lines(), ["POST /files", "HEAD /files/old", "POST /files", "HEAD /files/new"]);
}
