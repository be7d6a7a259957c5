//! What is retried, when, and how often; and what is not.

use std::time::Duration;

use super::{
    super::{Error, NewUpload, Options, Retry, Step, Uploading, Verification, create, discover, inspect, resume},
    script::{Script, answer, broken},
    wire::endpoint,
};

fn plain() -> Options {
    Options::default().verification(Verification::Off).chunk_size(None)
}

fn upload(options: Options) -> Step<Uploading> {
    create(endpoint(), NewUpload::new(Some(100)), options, None).unwrap()
}

const CREATED: &[(&str, &str)] = &[("location", "/files/a")];
const COMPLETE: &[(&str, &str)] = &[("upload-offset", "100")];

fn head(offset: &str) -> Result<http::Response<bytes::Bytes>, Error> {
    answer(200, &[("upload-offset", offset), ("upload-length", "100")])
}

#[test]
fn temporary_failures_are_retried_and_others_are_final() {
    for status in [408, 423, 425, 429, 460, 500, 502, 503, 504, 507] {
        let mut script = Script::new([answer(201, CREATED), answer(status, &[]), head("0"), answer(204, COMPLETE)]);
        script.run(upload(plain())).unwrap();
        assert_eq!(script.waits, [1.0], "{status}");
    }
    for status in [400, 401, 403, 405, 412, 415, 422, 501, 505] {
        let mut script = Script::new([answer(201, CREATED), answer(status, &[])]);
        let error = script.run(upload(plain())).unwrap_err();
        assert_eq!(error.status().unwrap().as_u16(), status);
    }
}

#[test]
fn after_a_conflict_the_offset_is_requested_immediately() {
    let mut script = Script::new([answer(201, CREATED), answer(409, &[]), head("40"), answer(204, COMPLETE)]);
    script.run(upload(plain())).unwrap();
    assert_eq!(script.lines()[2..], ["HEAD /files/a", "PATCH /files/a 40..100"]);
    assert_eq!(script.waits, [0.0]);
}

#[test]
fn retries_are_counted_from_the_last_progress() {
    let mut answers = vec![answer(201, CREATED)];
    for offset in ["1", "2", "3", "4", "5"] {
        answers.extend([broken(), broken(), head(offset)]);
    }
    answers.push(answer(204, COMPLETE));
    let mut script = Script::new(answers);
    script.run(upload(plain())).unwrap();
    assert_eq!(script.waits, [1.0, 2.0].repeat(5));

    let mut script = Script::new([answer(201, CREATED), broken(), broken(), head("0"), broken(), broken()]);
    let error = script.run(upload(plain().retry(Retry::default().retries(3)))).unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 3, .. }), "{error}");
    assert_eq!(script.waits, [1.0, 2.0, 4.0]);
}

#[test]
fn retry_after_is_obeyed() {
    let date = ("date", "Wed, 25 Jun 2014 16:00:00 GMT");
    for (headers, waited) in [
        (&[("retry-after", "7")][..], 7.0),
        (&[("retry-after", "Wed, 25 Jun 2014 16:00:30 GMT"), date], 30.0),
        (&[("retry-after", "Wed, 25 Jun 2014 15:00:30 GMT"), date], 1.0),
        (&[("retry-after", "Wed, 25 Jun 2014 16:00:30 GMT")], 1.0),
        (&[("retry-after", "soon")], 1.0),
        (&[("retry-after", "0")], 1.0),
    ] {
        let mut script = Script::new([answer(503, headers), head("0")]);
        script.run(inspect(endpoint(), plain())).unwrap();
        assert_eq!(script.waits, [waited], "{headers:?}");
    }
}

#[test]
fn a_deadline_prevents_a_wait_beyond_it() {
    let options = plain().retry(Retry::default().retries(100).deadline(Duration::from_secs(10)));
    let mut script = Script::new([broken(), broken(), broken(), broken()]);
    let error = script.run(inspect(endpoint(), options)).unwrap_err();
    assert!(matches!(error, Error::Late { last: Some(_), .. }), "{error}");
    assert_eq!(script.waits, [1.0, 2.0, 4.0]);

    // A deadline that never comes.
    let options = plain().retry(Retry::default().deadline(Duration::MAX));
    Script::new([broken(), head("0")]).run(inspect(endpoint(), options)).unwrap();
}

#[test]
fn the_caller_may_decide_what_is_retried() {
    let teapot = |error: &Error, _: u32| match error.status()?.as_u16() {
        418 => Some(true),
        503 => Some(false),
        _ => None,
    };
    let options = plain().retry(Retry::default().judge(teapot));
    Script::new([answer(418, &[]), head("0")]).run(inspect(endpoint(), options.clone())).unwrap();
    assert!(Script::new([answer(503, &[])]).run(inspect(endpoint(), options.clone())).is_err());
    Script::new([answer(500, &[]), head("0")]).run(inspect(endpoint(), options)).unwrap();
}

#[test]
fn credentials_are_renewed_once() {
    let options = plain().renews_credentials(true);
    let mut script = Script::new([
        answer(201, CREATED),
        answer(401, &[]),
        answer(204, &[("upload-offset", "60")]),
        answer(401, &[]),
        answer(204, COMPLETE),
    ]);
    let chunked = options.clone().chunk_size(Some(60));
    script.run(upload(chunked)).unwrap();
    assert!(script.waits.is_empty());
    let mut script = Script::new([answer(201, CREATED), answer(401, &[]), answer(401, &[])]);
    assert_eq!(script.run(upload(options)).unwrap_err().status().unwrap(), 401);
}

#[test]
fn requests_shrink_after_payload_too_large() {
    let length = 1 << 30;
    let upload = || create(endpoint(), NewUpload::new(Some(length)), plain(), None).unwrap();
    let mut script = Script::new([
        answer(201, CREATED),
        answer(413, &[]),
        answer(413, &[]),
        answer(204, &[("upload-offset", "33554432")]),
    ]);
    let _ = script.run(upload());
    let mib = |from: u64, to: u64| format!("PATCH /files/a {}..{}", from << 20, to << 20);
    assert_eq!(script.lines()[1..], [mib(0, 1024), mib(0, 64), mib(0, 32), mib(32, 64)]);
    assert!(script.waits.is_empty());

    let mut script = Script::new(std::iter::once(answer(201, CREATED)).chain((0..14).map(|_| answer(413, &[]))));
    assert_eq!(script.run(upload()).unwrap_err().status().unwrap(), 413);
}

#[test]
fn a_response_that_is_not_tus_is_retried() {
    let portal = || Ok(http::Response::new(bytes::Bytes::from_static(b"<h1>Free WiFi</h1>")));
    let mut script =
        Script::new([portal(), answer(201, CREATED), portal(), portal(), head("50"), answer(204, COMPLETE)]);
    script.run(upload(plain())).unwrap();
    assert_eq!(script.lines().last().unwrap(), "PATCH /files/a 50..100");
}

#[test]
fn an_invalid_http_url_is_an_error() {
    for odd in ["http://a}b/files", "mailto:tus@example.org"] {
        let error = Script::new([]).run(discover(odd.parse().unwrap(), plain())).unwrap_err();
        assert!(matches!(&error, Error::Invalid(text) if text.contains(odd)), "{error}");
    }
}

#[test]
fn a_different_source_is_an_error() {
    let other = answer(200, &[("upload-offset", "0"), ("upload-length", "99")]);
    let error =
        Script::new([other]).run(resume(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Source { problem, .. } if problem.to_string().contains("99")), "{error}");

    let mut script = Script::new([answer(201, CREATED)]);
    script.source = 60;
    let options = plain().verification(Verification::Required(crate::Algorithm::Sha1));
    let error = script.run(upload(options)).unwrap_err();
    assert!(matches!(&error, Error::Source { problem, .. } if problem.to_string().contains("60")), "{error}");
}

#[test]
fn a_source_longer_than_the_upload_is_an_error() {
    for stands_at in ["0", "60"] {
        let answers = || {
            let created_for_60 = answer(200, &[("upload-offset", stands_at), ("upload-length", "60")]);
            let appended = (stands_at == "0").then(|| answer(204, &[("upload-offset", "60")]));
            [created_for_60].into_iter().chain(appended)
        };
        let of_unknown_length = || resume(endpoint(), NewUpload::new(None), plain(), None).unwrap();
        let error = Script::new(answers()).run(of_unknown_length()).unwrap_err();
        assert!(
            matches!(&error, Error::Source { problem, .. } if problem.to_string().contains("after the 60 bytes")),
            "{error}"
        );
        let mut script = Script::new(answers());
        script.source = 60;
        assert_eq!(script.run(of_unknown_length()).unwrap().offset, Some(60));
    }
}

#[test]
fn a_source_shorter_than_the_upload_is_an_error() {
    // Its length is unknown, so it is read before bytes are promised.
    let created_for_200 = answer(200, &[("upload-offset", "0"), ("upload-length", "200")]);
    let step = resume(endpoint(), NewUpload::new(None), plain().chunk_size(None), None).unwrap();
    let error = Script::new([created_for_200]).run(step).unwrap_err();
    assert!(
        matches!(&error, Error::Source { problem, .. } if problem.to_string().contains("ends at byte 100")),
        "{error}"
    );
}

#[test]
fn an_upload_can_stop_at_an_offset() {
    let options = plain().stop_at(Some(70)).chunk_size(Some(40));
    let mut script = Script::new([
        answer(201, CREATED),
        answer(204, &[("upload-offset", "40")]),
        answer(204, &[("upload-offset", "70")]),
    ]);
    let uploaded = script.run(upload(options.clone())).unwrap();
    assert_eq!((uploaded.offset, uploaded.length), (Some(70), Some(100)));
    assert_eq!(script.lines()[2], "PATCH /files/a 40..70");
    let mut script = Script::new([head("80")]);
    let uploaded = script.run(resume(endpoint(), NewUpload::new(Some(100)), options, None).unwrap()).unwrap();
    assert_eq!(uploaded.offset, Some(80));
}

#[test]
fn a_partial_upload_reads_its_own_bytes_of_the_source() {
    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "30")])]);
    script.run(create(endpoint(), NewUpload::partial(70..100), plain(), None).unwrap()).unwrap();
    assert_eq!(script.lines()[1], "PATCH /files/a 70..100");
    assert_eq!((script.header(0, "upload-length"), script.header(1, "upload-offset")), (Some("30"), Some("0")));
}
