//! "Resumable Uploads for HTTP", draft 12, as far as it applies to clients. A test quotes the sentence that it tests;
//! `DRAFT.md` lists all of them.

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
        assert!(!Script::new([found]).run(inspect(url(), plain())).unwrap().is_complete(), "{other}");
    }
    // A parameter changes nothing.
    let found = said(204, &[("upload-offset", "5;a"), ("upload-complete", "?1;b=2")]);
    let info = Script::new([found]).run(inspect(url(), plain())).unwrap();
    assert_eq!((info.offset, info.is_complete()), (Some(5), true));
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

/// "Limits": "A client that is aware of this limit MUST NOT send larger upload append or upload creation requests."
#[test]
fn no_request_is_larger_than_the_limit() {
    let mut script = Script::new([created_with("max-append-size=60"), appended(), done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..60", "PATCH /files/a 60..100"]);
    // The limit of a later response counts, too, as do limits that are known beforehand.
    let smaller = said(204, &[("upload-complete", "?0"), ("upload-limit", "max-append-size=30")]);
    let mut script = Script::new([created_with("max-append-size=60"), smaller, appended(), done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines()[2..], ["PATCH /files/a 60..90", "PATCH /files/a 90..100"]);
    let known = limits("max-append-size=70");
    let mut script = Script::new([created(), appended(), done()]);
    script.run(create(endpoint(), NewUpload::new(Some(100)), plain(), Some(&known)).unwrap()).unwrap();
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..70", "PATCH /files/a 70..100"]);
}

/// "Limits": "A client that is aware of this limit MUST NOT send smaller upload append or upload creation requests. [...]
/// This limit does not apply to upload creation requests with no content, or to requests completing the upload by
/// including the Upload-Complete: ?1 header field."
#[test]
fn no_request_is_smaller_than_the_limit_unless_it_is_the_last() {
    let small = || plain().chunk_size(Some(10));
    let mut script = Script::new([created_with("min-append-size=40"), appended(), appended(), done()]);
    script.run(new(100, small())).unwrap();
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..40", "PATCH /files/a 40..80", "PATCH /files/a 80..100"]);
    let mut script = Script::new([created_with("min-append-size=40"), appended(), appended(), done()]);
    script.run(new(None, small())).unwrap();
    assert_eq!(script.header(3, "upload-complete"), Some("?1"));
    // If it should stop, it stops before a request that is too small.
    let mut script = Script::new([created_with("min-append-size=40"), appended()]);
    let stopped = script.run(new(100, small().stop_at(Some(70)))).unwrap();
    assert_eq!((stopped.offset, stopped.complete), (Some(40), false));
    // A server's minimum does not fill the memory: a stream is read in pieces of at most 64 MiB.
    let mut script = Script::new([created_with("min-append-size=999999999999999"), said(400, &[])]);
    script.source = 1 << 40;
    script.run(new(None, plain())).unwrap_err();
    assert_eq!(script.lines()[1], format!("PATCH /files/a 0..{}", 64 << 20));
}

/// "Limits": "After the resource's lifetime is reached, the server might make the upload resource inaccessible and a client
/// SHOULD NOT attempt to access the upload resource as these requests will likely fail."
#[test]
fn an_expired_upload_is_started_again() {
    let mut script = Script::new([created_with("max-age=5"), said(503, &[("retry-after", "5")]), created(), done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines()[2..], ["POST /files", "PATCH /files/a 0..100"]);
    // A missing one is requested.
    let mut script = Script::new([created_with("max-age=5"), said(503, &[("retry-after", "4")]), at("0"), done()]);
    script.run(new(100, plain())).unwrap();
    // Without an endpoint this is an error.
    let found = said(204, &[("upload-offset", "0"), ("upload-complete", "?0"), ("upload-limit", "max-age=5")]);
    let mut script = Script::new([found, said(503, &[("retry-after", "5")])]);
    let error = script.run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Expired(_)) && error.is_gone(), "{error}");
}

/// "Limits": "If the client discovers that it cannot continue the upload while adhering to the limits, it SHOULD stop the
/// current request immediately and cancel the upload." "Upload Creation": "if the allowed maximum size is less than the
/// amount of representation data the client intends to upload, the client SHOULD stop [...] and cancel the upload".
#[test]
fn an_upload_that_is_too_large_is_deleted() {
    let too_large = |error: Error| matches!(error, Error::TooLarge { length: 100, limit: 99 });
    for ends in [said(204, &[]), said(404, &[]), said(500, &[]), broken()] {
        let mut script = Script::new([created_with("max-size=99"), ends]);
        assert!(too_large(script.run(new(100, plain())).unwrap_err()));
        assert_eq!(script.lines(), ["POST /files", "DELETE /files/a"]);
        assert!(script.waits.is_empty());
    }
    // A stream shows that only when it is read.
    let mut script = Script::new([created_with("max-size=99"), appended(), said(204, &[])]);
    assert!(too_large(script.run(new(None, plain().chunk_size(Some(50)))).unwrap_err()));
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..50", "DELETE /files/a"]);
    let mut script = Script::new([created_with("max-size=99"), appended(), done()]);
    script.source = 99;
    script.run(new(None, plain().chunk_size(Some(50)))).unwrap();
    // An upload that is known to be too large is not started, and a rejection shows it, too.
    let known = limits("max-size=99");
    assert!(too_large(create(endpoint(), NewUpload::new(Some(100)), plain(), Some(&known)).map(drop).unwrap_err()));
    let refused = said(413, &[("upload-limit", "max-size=99"), ("upload-complete", "?0")]);
    assert!(too_large(Script::new([refused]).run(new(100, plain())).unwrap_err()));
    // An upload that fits exactly continues.
    Script::new([created_with("max-size=100"), done()]).run(new(100, plain())).unwrap();
}

/// "Limits": "When a client receives a response with a 413 (Content Too Large) status code [...], it SHOULD retry the
/// request with a smaller size residing between min-append-size and max-append-size."
#[test]
fn requests_shrink_if_they_are_too_large() {
    const MIB: u64 = 1 << 20;
    let refused = || said(413, &[("upload-complete", "?0")]);
    let sizes = |limits: &str, answers: Vec<Result<Response<bytes::Bytes>, Error>>| {
        let mut script = Script::new([created_with(limits)].into_iter().chain(answers));
        script.source = 2 * MIB;
        let step = create(endpoint(), NewUpload::new(Some(2 * MIB)), plain(), None).unwrap();
        let result = script.run(step);
        let bodies = script.asked.iter().filter_map(|request| request.body().clone());
        (result.is_ok(), bodies.map(|range| (range.end - range.start) >> 10).collect::<Vec<_>>())
    };
    assert_eq!(sizes("min-size=0", vec![refused(), appended(), done()]), (true, vec![2048, 1024, 1024]));
    // "Cases where the request content size matches the min-append-size limit yet fails [...] might indicate a deployment
    // mismatch that cannot be recovered from."
    let least = format!("min-append-size={}", 1536 << 10);
    assert_eq!(sizes(&least, vec![refused()]), (false, vec![2048]));
    // The limit may be in the rejection.
    let limited = said(413, &[("upload-complete", "?0"), ("upload-limit", "max-append-size=1048576")]);
    assert_eq!(sizes("min-size=0", vec![limited, appended(), done()]), (true, vec![2048, 1024, 1024]));
}

/// "Upload Creation": "If the client knows that the representation data is smaller than min-size, it cannot expect
/// resumability to be offered. The client might still attempt to transfer the representation in a single request, either in
/// a request with the Upload-Complete header field set to true or via a conventional upload." "Upgrading To Resumable
/// Uploads": "The Upload-Length header field SHOULD be added if the representation's length is known upfront."
#[test]
fn an_upload_below_the_minimum_is_sent_in_one_request() {
    let known = limits("min-size=101");
    let small = || create(endpoint(), NewUpload::new(Some(100)), plain().chunk_size(Some(10)), Some(&known)).unwrap();
    for last in [said(200, &[]), done()] {
        let mut script = Script::new([last]);
        let uploaded = script.run(small()).unwrap();
        assert_eq!(script.lines(), ["POST /files 0..100"]);
        assert_eq!((script.header(0, "upload-complete"), script.header(0, "upload-length")), (Some("?1"), Some("100")));
        assert_eq!((uploaded.offset, uploaded.complete), (Some(100), true));
    }
    // A failure repeats all of it, because it cannot be resumed.
    let mut script = Script::new([broken(), done()]);
    script.run(small()).unwrap();
    assert_eq!(script.lines(), ["POST /files 0..100", "POST /files 0..100"]);
    // A rejection may contain it.
    let refused = said(400, &[("upload-limit", "min-size=101"), ("upload-complete", "?0")]);
    let mut script = Script::new([refused, done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.lines(), ["POST /files", "POST /files 0..100"]);
    // If a server offers more than it announced, the client uses it.
    let mut script = Script::new([created(), at("100"), done()]);
    script.run(small()).unwrap();
    // One that is large enough is created without content.
    let large = create(endpoint(), NewUpload::new(Some(101)), plain(), Some(&known)).unwrap();
    let mut script = Script::new([created(), done()]);
    script.source = 101;
    script.run(large).unwrap();
}

/// "Offset Retrieval": "The client is expected to handle backtracking of a reasonable length." "If the client is not able
/// to provide the representation data at the given offset, the upload MUST be considered a failure. The client then MUST
/// NOT continue the upload".
#[test]
fn an_offset_that_the_source_does_not_have_is_a_failure() {
    let mut script = Script::new([created(), appended(), broken(), at("20"), done()]);
    script.run(new(100, plain().chunk_size(Some(50)))).unwrap();
    assert_eq!(script.lines()[3..], ["HEAD /files/a", "PATCH /files/a 20..70"]);
    let further = said(204, &[("upload-offset", "101"), ("upload-complete", "?0")]);
    let error = Script::new([further]).run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap());
    assert!(matches!(error, Err(Error::Misbehaved { .. })), "{error:?}");
    let other = said(204, &[("upload-offset", "0"), ("upload-complete", "?0"), ("upload-length", "99")]);
    let error = Script::new([other]).run(resume(url(), NewUpload::new(Some(100)), plain(), None).unwrap());
    let Err(Error::Source { problem, .. }) = error else { panic!("{error:?}") };
    assert_eq!(problem, SourceProblem::Other { length: 100, declared: 99 });
}

/// "Upload Cancellation": "it can send a DELETE request to the upload resource."
#[test]
fn an_upload_is_deleted() {
    for status in [200, 204, 404, 410] {
        let mut script = Script::new([said(status, &[])]);
        script.run(terminate(url(), plain())).unwrap();
        assert_eq!(script.lines(), ["DELETE /files/a"]);
    }
    Script::new([said(403, &[])]).run(terminate(url(), plain())).unwrap_err();
}

/// "Problem Types": "Mismatching Offset", "Inconsistent Length".
#[test]
fn problem_details_become_errors() {
    let mut refused = said(400, &[("upload-complete", "?0"), ("content-type", "application/problem+json")]).unwrap();
    let kind = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
    *refused.body_mut() = format!("{{\"type\":\"{kind}\",\"title\":\"a\",\"detail\":\"7 is not 8\"}}").into();
    let error = Script::new([created(), Ok(refused)]).run(new(100, plain())).unwrap_err();
    assert_eq!(error.to_string(), "the server answered PATCH with 400 Bad Request: 7 is not 8");
    let Error::Refused(refused) = error else { panic!("{error}") };
    assert_eq!(refused.problem.unwrap().kind, ProblemType::InconsistentLength);
}

/// "Limits": "A client can use an OPTIONS request without the Upload-Complete header field to discover whether the resource
/// supports resumable uploads and to learn potential limits before creating an upload resource."
#[test]
fn capabilities_show_the_protocol() {
    let mut script = Script::new([said(204, &[("upload-limit", "max-size=9")])]);
    let capabilities = script.run(discover(endpoint(), plain())).unwrap();
    assert_eq!((script.header(0, "upload-complete"), capabilities.limits.unwrap().max_size), (None, Some(9)));
    let announced = |headers: &[(&str, &str)]| {
        let mut script = Script::new([said(204, headers)]);
        let capabilities = script.run(discover(endpoint(), plain().protocol(None))).unwrap();
        assert_eq!(script.header(0, "upload-draft-interop-version"), Some("9"));
        capabilities
    };
    let draft = announced(&[("upload-limit", "min-size=0")]);
    let both = announced(&[("upload-limit", "min-size=0"), ("tus-version", "1.0.0")]);
    for (capabilities, protocol) in
        [(&draft, Protocol::Draft), (&both, Protocol::Tus), (&announced(&[]), Protocol::Tus)]
    {
        assert_eq!(capabilities.protocol().unwrap_or_default(), protocol);
        let step = create(endpoint(), NewUpload::new(Some(100)), plain().protocol(None), Some(capabilities)).unwrap();
        assert_eq!(step.task().unwrap().protocol(), protocol);
    }
    assert!(NewUpload::new(Some(5)).needs_capabilities(&plain().protocol(None)));
    assert!(!NewUpload::new(None).needs_capabilities(&Options::default().protocol(Protocol::Draft)));
    // An explicit choice is used.
    let step = create(endpoint(), NewUpload::new(Some(100)), plain(), Some(&both)).unwrap();
    assert_eq!(step.task().unwrap().protocol(), Protocol::Draft);
}

/// "Introduction": "Unlike ranged downloads, this protocol does not support transferring an upload as multiple requests in
/// parallel." "Concurrency": "The client MUST NOT perform multiple representation data transfers for the same upload
/// resource in parallel." A task makes one request at a time.
#[test]
fn the_draft_has_neither_parts_nor_method_override() {
    for upload in [NewUpload::partial(0..5), NewUpload::concatenation(vec![url()])] {
        let error = create(endpoint(), upload, plain(), None).map(drop).unwrap_err();
        assert!(matches!(&error, Error::Unsupported(what) if what.contains("parts")), "{error}");
    }
    let error = Script::new([]).run(new(100, plain().override_method(true))).unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("override")), "{error}");
}

/// RFC 9530, "The Content-Digest Field".
#[test]
fn a_digest_covers_the_content_of_its_request() {
    let sent = |verification| {
        let mut script = Script::new([created(), done()]);
        script.run(create(endpoint(), NewUpload::new(Some(11)), plain().verification(verification), None)?)?;
        Ok::<_, Error>(script.header(1, "content-digest").map(str::to_owned))
    };
    // Of "hello world".
    let expected = Some("sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:".to_owned());
    assert_eq!(sent(Verification::Required(Algorithm::Sha256)).unwrap(), expected);
    assert_eq!(sent(Verification::IfOffered(Algorithm::Sha256)).unwrap(), expected);
    assert_eq!(sent(Verification::IfOffered(Algorithm::Sha1)).unwrap(), None);
    assert!(matches!(sent(Verification::Required(Algorithm::Sha1)), Err(Error::Unsupported(_))));
}

/// "Upload Creation": "A client can start a resumable upload from any request that can carry content by including the
/// Upload-Complete header field."
#[test]
fn the_creation_may_have_the_first_bytes() {
    let options = || plain().data_in_creation(true).chunk_size(Some(60));
    let first = said(201, &[("location", "/files/a"), ("upload-complete", "?0"), ("upload-offset", "60")]);
    let mut script = Script::new([first, done()]);
    script.run(new(100, options())).unwrap();
    assert_eq!(script.lines(), ["POST /files 0..60", "PATCH /files/a 60..100"]);
    assert_eq!((script.header(0, "upload-complete"), script.header(0, "content-type")), (Some("?0"), None));
    assert_eq!(script.header(0, "expect"), Some("100-continue"));
    // All of them.
    let mut script = Script::new([said(200, &[("upload-complete", "?1"), ("location", "/films/7")])]);
    let uploaded = script.run(new(100, options().chunk_size(None))).unwrap();
    assert_eq!((script.header(0, "upload-complete"), uploaded.complete), (Some("?1"), true));
    // "Without a 104 response, the client needs to either treat the upload as failed or retry the entire upload creation
    // request": the next one has none, so that it can be resumed.
    let mut script = Script::new([broken(), created(), done()]);
    script.run(new(100, options().chunk_size(None))).unwrap();
    assert_eq!(script.lines(), ["POST /files 0..100", "POST /files", "PATCH /files/a 0..100"]);
}

/// "Upload Creation", "Upload Append": the server "SHOULD NOT generate a response with the 301, 302, or 303 status codes":
/// they are not followed, since the method would be lost. 307 and 308 are.
#[test]
fn redirects_keep_the_method() {
    for status in [301, 302, 303] {
        let error = Script::new([said(status, &[("location", "/other")])]).run(new(100, plain())).unwrap_err();
        assert!(matches!(error, Error::Redirected { .. }), "{error}");
    }
    let moved = |status, to| said(status, &[("location", to)]);
    let mut script = Script::new([moved(307, "/b"), created(), moved(308, "/c"), appended(), done()]);
    script.run(new(100, plain().chunk_size(Some(60)))).unwrap();
    let expected = ["POST /files", "POST /b", "PATCH /files/a 0..60", "PATCH /c 0..60", "PATCH /c 60..100"];
    assert_eq!(script.lines(), expected);
    // The caller's headers are not sent elsewhere.
    let away = said(201, &[("location", "http://cdn.example.org/a"), ("upload-complete", "?0")]);
    let mut script = Script::new([away, done()]);
    script.run(new(100, plain())).unwrap();
    assert_eq!(script.home, [true, false]);
}

/// A stored URL may lead to anything by now.
#[test]
fn an_unusable_stored_url_is_replaced() {
    for status in [400, 403, 404, 410] {
        let mut script = Script::new([said(status, &[("upload-complete", "?0")]), created(), done()]);
        let step = resume_or_create(url(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
        script.run(step).unwrap();
        assert_eq!(script.lines(), ["HEAD /files/a", "POST /files", "PATCH /files/a 0..100"]);
    }
}

/// A response without signs of the draft does not come from its server.
#[test]
fn responses_of_intermediaries_are_retried() {
    let mut script = Script::new([said(200, &[]), created(), said(200, &[]), at("0"), done()]);
    script.run(new(100, plain())).unwrap();
    let mut script = Script::new([said(200, &[]), created(), done()]);
    script.run(new(100, plain())).unwrap();
    // But a server that does not report completeness would not do so the next time either.
    let error = Script::new([created(), appended()]).run(new(100, plain())).unwrap_err();
    assert!(matches!(error, Error::Misbehaved { by_server: true, .. }), "{error}");
    // A response of tus is not one of the draft.
    assert!(matches!(
        Script::new([answer(204, &[])]).run(inspect(url(), plain())),
        Err(Error::GivenUp { .. }) | Err(Error::Invalid(_))
    ));
}

/// A stream must have its declared length.
#[test]
fn a_stream_must_have_its_declared_length() {
    let step = || create(endpoint(), NewUpload::stream(100), plain().chunk_size(Some(60)), None).unwrap();
    let mut script = Script::new([created(), appended(), done()]);
    let uploaded = script.run(step()).unwrap();
    assert_eq!((uploaded.offset, uploaded.complete), (Some(100), true));
    let mut script = Script::new([created(), appended(), done()]);
    script.source = 101;
    let error = script.run(step()).unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Long { length: 100 }, .. }), "{error}");
    let mut script = Script::new([created(), appended()]);
    script.source = 99;
    let error = script.run(step()).unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Short { end: 99, length: 100 }, .. }), "{error}");
}

#[test]
fn any_duration_is_accepted() {
    let found = said(204, &[("upload-offset", "0"), ("upload-limit", "max-age=999999999999999")]);
    let options = plain().retry(Retry::default().delay(SECOND, SECOND * 4).retries(1));
    let mut script = Script::new([found, broken(), at("0"), done()]);
    script.run(resume(url(), NewUpload::new(Some(100)), options, None).unwrap()).unwrap();
}

fn limits(text: &str) -> Capabilities {
    Script::new([said(204, &[("upload-limit", text)])]).run(discover(endpoint(), plain())).unwrap()
}

fn any_response() -> impl Strategy<Value = Option<(u16, Vec<(&'static str, &'static str)>)>> {
    let status = prop_oneof![
        4 => Just(204),
        2 => Just(201),
        2 => Just(409),
        1 => prop_oneof![Just(200), Just(303), Just(307), Just(400), Just(404), Just(413), Just(503)],
    ];
    let numbers = ["0", "1", "50", "99", "100", "101", "x", "999999999999999"];
    let limits = [
        "max-append-size=1, min-append-size=70",
        "min-append-size=999999999999999",
        "max-append-size=0",
        "max-append-size=30",
        "max-size=99",
        "min-size=101",
        "max-age=0",
        "max-age=2",
    ];
    let header = prop_oneof![
        4 => select(vec!["?0", "?0", "?0", "?1"]).prop_map(|value| ("upload-complete", value)),
        4 => select(numbers.to_vec()).prop_map(|value| ("upload-offset", value)),
        2 => select(numbers.to_vec()).prop_map(|value| ("upload-length", value)),
        3 => select(vec!["/files/a", "/files", "/files/b"]).prop_map(|value| ("location", value)),
        1 => select(limits.to_vec()).prop_map(|value| ("upload-limit", value)),
    ];
    option::weighted(0.9, (status, vec(header, 0..4)))
}

/// Every loop of the machine ends, whatever a server answers, and reports an upload as complete only if the server
/// did.
#[test]
fn the_client_ends_whatever_the_server_responds() {
    let options = (option::of(1u64..120), option::of(0u64..120), any::<bool>());
    let upload = (any::<bool>(), any::<bool>(), any::<bool>());
    let case = (options, upload, vec(any_response(), 0..20), any_response());
    let config = Config { cases: 3000, source_file: Some(file!()), ..Config::default() };
    TestRunner::new(config)
        .run(&case, |((chunk_size, stop_at, data), (known, resumes, streamed), first, last)| {
            let options = plain().chunk_size(chunk_size).stop_at(stop_at).data_in_creation(data);
            let upload = match (known, streamed) {
                (true, true) => NewUpload::stream(100),
                (true, false) => NewUpload::new(Some(100)),
                (false, _) => NewUpload::new(None),
            };
            let mut step = match resumes {
                true => resume_or_create(url(), endpoint(), upload, options, None).unwrap(),
                false => create(endpoint(), upload, options, None).unwrap(),
            };
            let mut answers = first.into_iter().chain(std::iter::repeat(last));
            let (mut now, mut said_complete) = (SECOND, false);
            for number in 0.. {
                assert!(number < 5000, "it does not end: {step:?}");
                step = match step {
                    Step::Read(read) => {
                        let range = read.range();
                        let Some(there) = range.end.min(100).checked_sub(range.start) else { return Ok(()) };
                        read.done(there, None)
                    }
                    Step::Transmit(transmit) => {
                        if let Some(range) = transmit.body() {
                            assert!(range.start <= range.end && range.end <= 100, "{range:?}");
                        }
                        let answer = answers.next().flatten().map_or_else(broken, |(status, headers)| {
                            said_complete |= headers.iter().filter(|(name, _)| *name == "upload-complete").count() == 1
                                && headers.contains(&("upload-complete", "?1"));
                            // An upload below the minimum may be accepted without any report.
                            said_complete |= headers.contains(&("upload-limit", "min-size=101"));
                            said(status, &headers)
                        });
                        now += SECOND;
                        transmit.done(answer, Moment { now, jitter: 0.5 })
                    }
                    Step::Wait(wait) => {
                        now += wait.duration();
                        wait.done()
                    }
                    Step::Finished(result) => {
                        assert!(result.is_err() || said_complete || !result.as_ref().unwrap().complete, "{result:?}");
                        return Ok(());
                    }
                };
            }
            Ok(())
        })
        .unwrap();
}
