//! Limits that a server announces, and what a client does where it cannot keep to them.

use super::*;

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

fn limits(text: &str) -> Capabilities {
    Script::new([said(204, &[("upload-limit", text)])]).run(discover(endpoint(), plain())).unwrap()
}
