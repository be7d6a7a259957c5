//! "Resumable Uploads for HTTP", draft 12, as far as it applies to clients. A test quotes the sentence that it tests;
//! `DRAFT.md` lists all of them.

mod ends;
mod limits;

use std::time::Duration;

use http::Response;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
    test_runner::{Config, TestRunner},
};
use url::Url;

use super::{
    super::{
        Capabilities, Error, Moment, NewUpload, Options, ProblemType, Protocol, Retry, SourceProblem, Step, Uploading,
        Verification, create, discover, inspect, resume, resume_or_create, terminate,
    },
    script::{Script, answer, broken},
    wire::endpoint,
};
use crate::{Algorithm, Metadata};

const PARTIAL: &str = "application/partial-upload";
const SECOND: Duration = Duration::from_secs(1);

fn plain() -> Options {
    let retry = Retry::default().retries(3);
    Options::default().protocol(Protocol::Draft).verification(Verification::Off).chunk_size(None).retry(retry)
}

fn url() -> Url {
    endpoint().join("/files/a").unwrap()
}

fn new(length: impl Into<Option<u64>>, options: Options) -> Step<Uploading> {
    create(endpoint(), NewUpload::new(length.into()), options, None).unwrap()
}

/// A response of a server with the draft.
fn said(status: u16, headers: &[(&str, &str)]) -> Result<Response<bytes::Bytes>, Error> {
    let response = headers
        .iter()
        .fold(Response::builder().status(status), |response, (name, value)| response.header(*name, *value));
    Ok(response.body(bytes::Bytes::new()).unwrap())
}

fn created() -> Result<Response<bytes::Bytes>, Error> {
    said(201, &[("location", "/files/a"), ("upload-complete", "?0")])
}

fn created_with(limits: &str) -> Result<Response<bytes::Bytes>, Error> {
    said(201, &[("location", "/files/a"), ("upload-complete", "?0"), ("upload-limit", limits)])
}

/// The response to a request for the offset.
fn at(offset: &str) -> Result<Response<bytes::Bytes>, Error> {
    said(204, &[("upload-offset", offset), ("upload-complete", "?0"), ("upload-length", "100")])
}

fn appended() -> Result<Response<bytes::Bytes>, Error> {
    said(204, &[("upload-complete", "?0")])
}

fn done() -> Result<Response<bytes::Bytes>, Error> {
    said(200, &[("upload-complete", "?1")])
}

/// "Careful Upload Creation": "the client knows that the resource targeted in the initial request supports resumable
/// uploads and sends an empty upload creation request without including any representation data." "Upload Creation": "If
/// the client knows the representation's length, it SHOULD indicate the length in the request".
#[test]
fn a_creation_is_empty_and_has_the_length() {
    let mut script = Script::new([created(), done()]);
    let uploaded = script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines(), ["POST /files", "PATCH /files/a 0..100"]);
    assert_eq!((script.header(0, "upload-complete"), script.header(0, "upload-length")), (Some("?0"), Some("100")));
    assert_eq!((script.header(0, "tus-resumable"), script.header(0, "upload-defer-length")), (None, None));
    assert_eq!((uploaded.url, uploaded.offset, uploaded.complete), (url(), Some(100), true));
    // A representation without bytes.
    let mut script = Script::new([created(), done()]);
    assert_eq!(script.run(new(0, plain())).unwrap().offset, Some(0));
    assert_eq!(script.lines(), ["POST /files", "PATCH /files/a 0..0"]);
    assert_eq!((script.header(1, "upload-complete"), script.header(1, "upload-offset")), (Some("?1"), Some("0")));
}

/// "Upload Append": "The client MUST indicate the offset of the request content inside the representation data by
/// including the Upload-Offset header field. To ensure that the upload resource will accept the request, the offset SHOULD
/// be taken from an immediate previous response". "The request MUST include the Upload-Complete header field."
#[test]
fn an_append_declares_its_offset_and_whether_it_is_the_last() {
    let mut script = Script::new([created(), appended(), appended(), done()]);
    script.run(new(100, plain().chunk_size(Some(40)))).unwrap();
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..40", "PATCH /files/a 40..80", "PATCH /files/a 80..100"]);
    for (number, offset, complete) in [(1, "0", "?0"), (2, "40", "?0"), (3, "80", "?1")] {
        assert_eq!(script.header(number, "upload-offset"), Some(offset));
        assert_eq!(script.header(number, "upload-complete"), Some(complete));
        assert_eq!(script.header(number, "content-type"), Some(PARTIAL));
        assert_eq!(script.header(number, "upload-length"), None, "the server knows it");
    }
}

/// "Length": "a client SHOULD communicate the representation's length to the server as soon as it becomes known". "If
/// indicators (1) and (2) are both present in the same request, their indicated lengths MUST match. The representation's
/// length, if known, MUST stay consistent across subsequent requests."
#[test]
fn an_unknown_length_is_declared_with_the_last_bytes() {
    let mut script = Script::new([created(), appended(), appended(), done()]);
    let uploaded = script.run(new(None, plain().chunk_size(Some(40)))).unwrap();
    assert_eq!((uploaded.length, script.header(0, "upload-length")), (Some(100), None));
    let said = |number| (script.header(number, "upload-complete"), script.header(number, "upload-length"));
    assert_eq!([1, 2, 3].map(said), [(Some("?0"), None), (Some("?0"), None), (Some("?1"), Some("100"))]);
    // "the request has no content. Once the request is processed by the server, the upload is complete."
    let mut script = Script::new([created(), appended(), appended(), done()]);
    script.run(new(None, plain().chunk_size(Some(50)))).unwrap();
    assert_eq!(script.lines()[3], "PATCH /files/a 100..100");
    assert_eq!((script.header(3, "upload-complete"), script.header(3, "upload-length")), (Some("?1"), Some("100")));
    // Nothing at all.
    let mut script = Script::new([created(), done()]);
    script.source = 0;
    assert_eq!(script.run(new(None, plain())).unwrap().length, Some(0));
}

/// "Draft Version Identification": "Client implementations of draft versions of the protocol MUST send a header field
/// Upload-Draft-Interop-Version with the interop version as its value to its requests." "The current interop version is
/// 9."
#[test]
fn every_request_names_the_interop_version() {
    let mut script = Script::new([created(), broken(), at("0"), done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines(), ["POST /files", "PATCH /files/a 0..100", "HEAD /files/a", "PATCH /files/a 0..100"]);
    let mut deleted = Script::new([said(204, &[])]);
    deleted.run(terminate(url(), plain())).unwrap();
    let mut found = Script::new([at("0")]);
    found.run(inspect(url(), plain())).unwrap();
    let mut asked = Script::new([said(204, &[])]);
    asked.run(discover(endpoint(), plain())).unwrap();
    for script in [&script, &deleted, &found, &asked] {
        for number in 0..script.asked.len() {
            assert_eq!(script.header(number, "upload-draft-interop-version"), Some("9"));
            assert_eq!(script.header(number, "tus-resumable"), None);
        }
    }
}

/// "Upload Creation": "The Content-Type header field indicates the media type of the representation." "The
/// Content-Disposition header field can be used to transmit a filename. For this purpose, the inline disposition type is
/// RECOMMENDED."
#[test]
fn metadata_uses_http_fields() {
    let pairs = [("filename", "größe.txt"), ("filetype", "text/plain"), ("content-encoding", "gzip"), ("kind", "film")];
    let upload = NewUpload::new(Some(100)).metadata(Metadata::from_pairs(pairs).unwrap());
    let mut script = Script::new([created(), done()]);
    script.run(create(endpoint(), upload, plain(), None).unwrap()).unwrap();
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("content-disposition", "inline; filename=\"gr__e.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"),
        ("upload-metadata", "kind ZmlsbQ=="),
    ] {
        assert_eq!(script.header(0, name), Some(value));
    }
    // Metadata without a field of its own is not lost.
    let pairs = [("filename", &b"\xff"[..]), ("filetype", b"a\nb")];
    let upload = NewUpload::new(Some(100)).metadata(Metadata::from_pairs(pairs).unwrap());
    let mut script = Script::new([created(), done()]);
    script.run(create(endpoint(), upload, plain(), None).unwrap()).unwrap();
    assert_eq!(script.header(0, "upload-metadata"), Some("filename /w==,filetype YQpi"));
    assert_eq!((script.header(0, "content-type"), script.header(0, "content-disposition")), (None, None));
}

/// "Completeness": "The client SHOULD NOT perform upload resumption to the upload resource after receiving a response with
/// the Upload-Complete field value set to true." "Upload Creation" and "Upload Append": "Note that this does not
/// necessarily indicate success. 4xx (Client Error) or 5xx (Server Error) status codes indicate in this case an error
/// occurred while processing the representation, and therefore, resuming the upload would not resolve this error."
#[test]
fn the_response_of_the_resource_is_the_result() {
    for status in [200, 201, 204, 303, 307] {
        let mut last = said(status, &[("upload-complete", "?1"), ("location", "/films/7")]).unwrap();
        *last.body_mut() = "film 7".into();
        let uploaded = Script::new([created(), Ok(last)]).run(new(100, plain())).unwrap();
        let response = uploaded.response.unwrap();
        assert_eq!((response.status.as_u16(), &response.body[..]), (status, &b"film 7"[..]));
        assert_eq!((uploaded.url, response.headers["location"].to_str().unwrap()), (url(), "/films/7"));
    }
    for status in [400, 401, 403, 404, 409, 413, 422, 429, 500, 503] {
        let final_word = || said(status, &[("upload-complete", "?1")]);
        let options = plain().renews_credentials(true);
        let error = Script::new([created(), final_word()]).run(new(100, options)).unwrap_err();
        assert_eq!((error.status().unwrap().as_u16(), error.is_final(), error.is_gone()), (status, true, false));
        // The caller's function cannot change that.
        let stubborn = plain().retry(Retry::default().judge(|_, _| Some(true)));
        let error = Script::new([final_word()]).run(new(100, stubborn)).unwrap_err();
        assert!(error.is_final(), "{error}");
    }
}

/// "Completeness": "Note that Upload-Complete can be true even when the full representation data was not transmitted in
/// the case that the server decides to generate an early response when processing the targeted resource."
#[test]
fn an_early_response_ends_the_upload() {
    for early in [1, 2] {
        let answers = (0..early).map(|number| if number == 0 { created() } else { appended() }).chain([done()]);
        let mut script = Script::new(answers);
        let uploaded = script.run(new(100, plain().chunk_size(Some(40)))).unwrap();
        assert_eq!((uploaded.complete, uploaded.offset), (true, Some(40 * (early - 1))));
    }
    // Immediately.
    let uploaded = Script::new([done()]).run(new(100, plain())).unwrap();
    assert_eq!((uploaded.url, uploaded.offset), (endpoint(), Some(0)));
}

/// "Upload-Offset", "Completeness", "Length": "Other values MUST cause the entire header field to be ignored."
#[test]
fn values_of_the_wrong_type_are_ignored() {
    for other in ["", "-1", "1.0", "?1", "\"100\"", "100, 100", "many", "1000000000000000"] {
        // Missing where it must exist.
        let mut script = Script::new([said(204, &[("upload-offset", other), ("upload-complete", "?0")])]);
        let error = script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
        assert!(matches!(error, Error::Misbehaved { by_server: true, .. }), "{other}: {error}");
        // And where it need not exist.
        let mut script = Script::new([created(), said(204, &[("upload-offset", other)]), done()]);
        script.run(new(100, plain().chunk_size(Some(50)))).unwrap();
        let length = said(204, &[("upload-offset", "100"), ("upload-length", other)]);
        assert_eq!(Script::new([length]).run(inspect(url(), plain())).unwrap().length, None, "{other}");
    }
    for other in ["1", "true", "?2", "?1, ?1", ""] {
        let found = said(204, &[("upload-offset", "100"), ("upload-length", "100"), ("upload-complete", other)]);
        assert!(!Script::new([found]).run(inspect(url(), plain())).unwrap().complete, "{other}");
    }
    // A parameter changes nothing.
    let found = said(204, &[("upload-offset", "5;a"), ("upload-complete", "?1;b=2")]);
    let info = Script::new([found]).run(inspect(url(), plain())).unwrap();
    assert_eq!((info.offset, info.complete), (Some(5), true));
}

/// "Length": "the length and offset values do not determine whether an upload is complete. [...] The offset could match the
/// length, but the upload can still be incomplete." "Upload Append": "the request has no content."
#[test]
fn an_upload_at_its_length_is_completed_by_an_empty_request() {
    let mut script = Script::new([at("100"), done()]);
    let uploaded = script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap();
    assert_eq!(script.lines(), ["HEAD /files/a", "PATCH /files/a 100..100"]);
    assert_eq!((script.header(1, "upload-complete"), uploaded.complete), (Some("?1"), true));
}

/// "Upload Append": "the client might still perform an upload append after an offset retrieval due to the response being
/// lost during transmission. The server can choose to replay the final response to the client".
#[test]
fn a_lost_response_is_fetched_again() {
    let complete = || said(204, &[("upload-offset", "100"), ("upload-complete", "?1"), ("upload-length", "100")]);
    let mut script = Script::new([created(), broken(), complete(), said(202, &[("upload-complete", "?1")])]);
    let uploaded = script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines()[2..], ["HEAD /files/a", "PATCH /files/a"]);
    assert_eq!((script.header(3, "upload-complete"), uploaded.response.unwrap().status.as_u16()), (Some("?1"), 202));
    // If the server does not repeat it, the upload exists nevertheless.
    for status in [400, 403, 404, 405, 409, 410] {
        let refused = said(status, &[("upload-complete", "?0")]);
        let uploaded = Script::new([created(), broken(), complete(), refused]).run(new(100, plain())).unwrap();
        assert_eq!((uploaded.complete, uploaded.response), (true, None), "{status}");
    }
    // A busy server is asked again.
    let busy = said(503, &[("upload-complete", "?0")]);
    let uploaded = Script::new([created(), broken(), complete(), busy, complete(), done()]).run(new(100, plain()));
    assert_eq!(uploaded.unwrap().response.unwrap().status.as_u16(), 200);
    // A stream that ends earlier is a different one.
    let mut script = Script::new([said(204, &[("upload-offset", "101"), ("upload-complete", "?1")]), done()]);
    let step = resume(url(), NewUpload::new(None), plain(), None).unwrap();
    assert_eq!(script.run(step).unwrap().length, Some(101));
    // A stop does not keep it from being complete.
    let step = resume(url(), NewUpload::new(Some(100)), plain().stop_at(Some(60)), None).unwrap();
    assert!(Script::new([complete(), done()]).run(step).unwrap().complete);
}

/// An upload that is complete with a length other than the source's is not the upload of this source.
#[test]
fn an_upload_complete_at_another_length_is_a_different_upload() {
    let complete = || said(204, &[("upload-offset", "50"), ("upload-complete", "?1")]);
    let resumed =
        |length, answer| Script::new([answer]).run(resume(url(), NewUpload::new(length), plain(), None).unwrap());
    let Err(Error::Source { problem, .. }) = resumed(Some(100), complete()) else { panic!("it is not refused") };
    assert_eq!(problem, SourceProblem::Other { length: 100, declared: 50 });
    let mut script = Script::new([created(), broken(), complete()]);
    let error = script.run(new(100, plain())).unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Other { .. }, .. }), "{error}");
    // The length of a stream is known only from the server.
    let contradictory = said(204, &[("upload-offset", "50"), ("upload-complete", "?1"), ("upload-length", "100")]);
    let error = resumed(None, contradictory).unwrap_err();
    assert!(matches!(error, Error::Misbehaved { .. }), "{error}");
    // An upload that an earlier process left is replaced.
    let mut script = Script::new([complete(), created(), done()]);
    let step = resume_or_create(url(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert_eq!(script.run(step).unwrap().offset, Some(100));
    assert_eq!(script.lines(), ["HEAD /files/a", "POST /files", "PATCH /files/a 0..100"]);
}

/// "Retry": "409 (Conflict) with the Upload-Complete header field set to false can be resumed with the correct offset. If
/// no Upload-Offset header field is provided, the client SHOULD retrieve the offset before resuming."
#[test]
fn a_conflict_with_the_offset_continues_from_there() {
    let conflict = |offset| said(409, &[("upload-complete", "?0"), ("upload-offset", offset)]);
    let mut script = Script::new([created(), appended(), conflict("20"), done()]);
    script.run(new(100, plain().chunk_size(Some(50)))).unwrap();
    assert_eq!(script.lines()[2..], ["PATCH /files/a 50..100", "PATCH /files/a 20..70"]);
    let mut script = Script::new([at("0"), conflict("60"), done()]);
    script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap();
    assert_eq!(script.lines(), ["HEAD /files/a", "PATCH /files/a 0..100", "PATCH /files/a 60..100"]);
    assert_eq!(script.waits, [0.0]);
    // An impossible length, or none.
    for refused in [conflict("101"), said(409, &[("upload-complete", "?0")]), conflict("x")] {
        let mut script = Script::new([at("0"), refused, at("60"), done()]);
        script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap();
        assert_eq!(script.lines()[2..], ["HEAD /files/a", "PATCH /files/a 60..100"]);
    }
    // "The client SHOULD limit the number of retries it performs before considering the upload a failure."
    let mut script = Script::new([created()].into_iter().chain((0..4).map(|_| conflict("0"))));
    let error = script.run(new(100, plain())).unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 3, .. }), "{error}");
}

/// "Retry": "429 (Too Many Requests) can be retried after appropriate delays. 5xx (Server Error) status codes can be
/// retried." "If no final response was received at all due to connectivity issues, the client MAY automatically attempt
/// upload resumption by retrieving the current offset". "The client SHOULD limit the number of retries".
#[test]
fn temporary_failures_are_retried_a_few_times() {
    for passing in [broken(), said(429, &[("retry-after", "7")]), said(500, &[("upload-complete", "?0")])] {
        let mut script = Script::new([created(), passing, at("30"), done()]);
        script.run(new(100, plain())).unwrap();
        assert_eq!(script.lines()[2..], ["HEAD /files/a", "PATCH /files/a 30..100"]);
    }
    for status in [400, 403, 415] {
        let refused = said(status, &[("upload-complete", "?0")]);
        let error = Script::new([created(), refused]).run(new(100, plain())).unwrap_err();
        assert_eq!((error.status().unwrap().as_u16(), error.is_final()), (status, false));
    }
    let mut script =
        Script::new([created()].into_iter().chain((0..3).flat_map(|_| [broken(), at("0")])).chain([broken()]));
    assert!(matches!(script.run(new(100, plain())), Err(Error::GivenUp { retries: 3, .. })));
}
