//! Every loop ends: lost bytes, disagreeing replicas, deadlines, long waits, slow lines.

use std::time::Duration;

use super::{
    super::{
        Error, Moment, NewUpload, Options, Retry, SourceProblem, Step, Truncated, Uploading, Verification, create,
        inspect, resume,
    },
    script::{Script, answer, broken},
    wire::endpoint,
};
use crate::Algorithm;

fn plain() -> Options {
    Options::default().verification(Verification::Off).chunk_size(None).retry(Retry::default().retries(3))
}

fn upload(options: Options) -> Step<Uploading> {
    create(endpoint(), NewUpload::new(Some(100)), options, None).unwrap()
}

const CREATED: &[(&str, &str)] = &[("location", "/files/a")];
const SECOND: Duration = Duration::from_secs(1);

fn head(offset: &str) -> Result<http::Response<bytes::Bytes>, Error> {
    answer(200, &[("upload-offset", offset), ("upload-length", "100")])
}

fn patched(offset: &str) -> Result<http::Response<bytes::Bytes>, Error> {
    answer(204, &[("upload-offset", offset)])
}

#[test]
fn repeatedly_lost_bytes_are_not_progress() {
    let options = plain().chunk_size(Some(50));
    let lost = || [answer(409, &[]), head("0"), patched("50")];
    let answers = [answer(201, CREATED), patched("50")].into_iter().chain((0..3).flat_map(|_| lost()));
    let mut script = Script::new(answers.chain([answer(409, &[])]));
    let error = script.run(upload(options)).unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 3, .. }), "{error}");
    assert_eq!(script.waits, [0.0, 2.0, 4.0]);
}

#[test]
fn disagreeing_replicas_are_not_retried_forever() {
    // One replica has 60 bytes and one has 40, and each request reaches the other one.
    let answers = ["40", "60", "40", "60", "40"].into_iter().flat_map(|offset| [head(offset), answer(409, &[])]);
    let mut script = Script::new(answers);
    let error = script.run(resume(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap()).unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 3, .. }), "{error}");
    assert_eq!(script.waits, [0.0, 0.0, 2.0, 4.0]);
}

#[test]
fn an_offset_beyond_the_sent_bytes_is_an_error() {
    let mut script = Script::new([answer(201, CREATED), broken(), head("100")]);
    let error = script.run(upload(plain().chunk_size(Some(50)))).unwrap_err();
    assert!(error.to_string().contains("only 50 were sent: another client"), "{error}");
    // Another process may have sent more.
    let step = resume(endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert_eq!(Script::new([head("100")]).run(step).unwrap().offset, Some(100));
}

#[test]
fn the_deadline_applies_to_successful_tasks() {
    let options = plain().chunk_size(Some(1)).retry(Retry::default().deadline(SECOND * 5));
    let mut step = upload(options);
    let mut now = SECOND * 1000;
    for offset in 0.. {
        let Step::Transmit(transmit) = step else {
            assert!(matches!(step, Step::Finished(Err(Error::Late { limit, last: None })) if limit == SECOND * 5));
            assert_eq!(offset, 7, "the creation, and one byte a second");
            return;
        };
        let offset = offset.to_string();
        let answer = answer(204, &[("location", "/files/a"), ("upload-offset", &offset)]);
        step = transmit.done(answer, Moment { now, jitter: 0.0, took: SECOND });
        now += SECOND;
    }
}

#[test]
fn any_time_limit_is_accepted() {
    let never = Retry::default().delay(Duration::MAX, Duration::MAX).deadline(Duration::MAX);
    for jitter in [0.0, 0.5, 1.0] {
        let Step::Transmit(transmit) = inspect(endpoint(), plain().retry(never.clone())) else { panic!() };
        let waits = transmit.done(broken(), Moment { now: Duration::MAX, jitter, took: SECOND });
        assert!(matches!(waits, Step::Wait(_)), "{waits:?}");
    }
}

#[test]
fn a_demanded_wait_of_a_day_is_an_error() {
    let mut script = Script::new([answer(503, &[("retry-after", "86400")])]);
    let error = script.run(inspect(endpoint(), plain())).unwrap_err();
    assert!(error.to_string().contains("86400") && error.to_string().contains("600"), "{error}");
    assert_eq!(error.status().unwrap(), 503);
    let error =
        Script::new([answer(503, &[("retry-after", "18446744073709551615")])]).run(inspect(endpoint(), plain()));
    assert!(matches!(error, Err(Error::LongWait { .. })), "{error:?}");
    // No number.
    Script::new([answer(503, &[("retry-after", "99999999999999999999999")]), head("0")])
        .run(inspect(endpoint(), plain()))
        .unwrap();
}

#[test]
fn permanent_failures_are_final_unless_the_server_has_answered_before() {
    let unknown = || Err(Error::Unreachable("no such host".into()));
    let mut script = Script::new([unknown()]);
    assert!(matches!(script.run(upload(plain())), Err(Error::Unreachable(_))));
    let mut script = Script::new([answer(201, CREATED), unknown(), head("0"), patched("100")]);
    script.run(upload(plain())).unwrap();
}

#[test]
fn requests_shrink_after_a_failure_without_progress() {
    const LENGTH: u64 = 4 << 20;
    let found = |offset: u64| answer(200, &[("upload-offset", &offset.to_string())]);
    let silent = || Err(Error::Silent(SECOND * 30));
    let sizes_with = |options: Options, failures: Vec<Result<_, Error>>, offset: u64| {
        let answers = failures.into_iter().flat_map(|failure| [failure, found(offset)]);
        let mut script = Script::new(std::iter::once(answer(201, CREATED)).chain(answers));
        script.source = LENGTH;
        let _ = script.run(create(endpoint(), NewUpload::new(Some(LENGTH)), options, None).unwrap());
        let bodies = script.asked.iter().filter_map(|request| request.body().clone());
        bodies.map(|range| (range.end - range.start) >> 10).collect::<Vec<_>>()
    };
    let adapting = || Options::default().verification(Verification::Off);
    let sizes = |failures, offset| sizes_with(adapting(), failures, offset);
    assert_eq!(sizes(vec![silent(), silent(), silent(), silent()], 0), [1024, 256, 64, 16, 16]);
    for status in [408, 502, 503, 504, 524] {
        assert_eq!(sizes(vec![answer(status, &[])], 0), [1024, 256], "{status}");
    }
    assert_eq!(sizes(vec![broken(), broken()], 0), [1024, 256, 64]);
    assert_eq!(sizes(vec![answer(500, &[])], 0), [1024, 1024], "it is not the line");
    for failure in [silent(), broken()] {
        assert_eq!(sizes(vec![failure], 1000 << 10), [1024, 1024], "most of it arrived");
    }
    // A size that the caller chose may be one that the server demands.
    let chosen = || adapting().chunk_size(Some(1 << 20));
    for failure in [broken(), answer(502, &[]), answer(503, &[])] {
        assert_eq!(sizes_with(chosen(), vec![failure], 0), [1024, 1024]);
    }
    assert_eq!(sizes_with(chosen(), vec![silent()], 0), [1024, 256]);
}

#[test]
fn requests_grow_again_after_broken_connections() {
    const KIB: u64 = 1 << 10;
    let found = || answer(200, &[("upload-offset", "0")]);
    let mut answers = vec![answer(201, CREATED), broken(), found(), broken(), found()];
    let mut offset = 0;
    let sizes = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 8192];
    for size in sizes {
        offset += size * KIB;
        answers.push(patched(&offset.to_string()));
    }
    let mut script = Script::new(answers);
    script.source = offset;
    let options = Options::default().verification(Verification::Off);
    script.run(create(endpoint(), NewUpload::new(Some(offset)), options, None).unwrap()).unwrap();
    let bodies = script.asked.iter().filter_map(|request| request.body().clone());
    let sent: Vec<_> = bodies.map(|range| (range.end - range.start) / KIB).collect();
    assert_eq!(sent, [vec![1024, 256], sizes.to_vec()].concat());
}

#[test]
fn pauses_of_the_caller_do_not_make_requests_smaller() {
    let options = Options::default().verification(Verification::Off);
    let mut step = create(endpoint(), NewUpload::new(Some(100 << 20)), options, None).unwrap();
    let mut now = SECOND;
    let mut sizes = Vec::new();
    while sizes.len() < 5 {
        let Step::Transmit(transmit) = step else { panic!("{step:?}") };
        let answer = match transmit.body() {
            None => answer(201, CREATED),
            Some(range) => {
                sizes.push((range.end - range.start) >> 20);
                patched(&range.end.to_string())
            }
        };
        step = transmit.done(answer, Moment { now, jitter: 0.0, took: SECOND });
        // A caller that sends one request a minute.
        now += SECOND * 60;
    }
    assert_eq!(sizes, [1, 2, 4, 8, 8]);
}

#[test]
fn checksums_cover_only_requests_of_limited_size() {
    let capabilities = super::super::Capabilities {
        extensions: Some(vec!["creation".into(), "checksum".into()]),
        ..Default::default()
    };
    for (length, verified) in [(16 << 20, true), ((16 << 20) + 1, false)] {
        let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", &length.to_string())])]);
        script.source = length;
        let options = Options::default().chunk_size(None);
        script.run(create(endpoint(), NewUpload::new(Some(length)), options, Some(&capabilities)).unwrap()).unwrap();
        assert_eq!(script.header(1, "upload-checksum").is_some(), verified, "{length}");
    }
    let mut script = Script::new([answer(201, CREATED), answer(204, &[("upload-offset", "16777216")])]);
    script.source = 20 << 20;
    let required = Options::default().chunk_size(None).verification(Verification::Required(Algorithm::Sha1));
    let _ = script.run(create(endpoint(), NewUpload::new(Some(20 << 20)), required, Some(&capabilities)).unwrap());
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..16777216", "PATCH /files/a 16777216..20971520"]);
    assert!(script.header(1, "upload-checksum").is_some() && script.header(2, "upload-checksum").is_some());
}

#[test]
fn a_stream_must_have_its_declared_length() {
    let step = || create(endpoint(), NewUpload::stream(100), plain().chunk_size(Some(60)), None).unwrap();
    let answers = || [answer(201, CREATED), patched("60"), patched("100")];
    let mut script = Script::new(answers());
    let uploaded = script.run(step()).unwrap();
    assert_eq!((uploaded.offset, uploaded.response.unwrap().status.as_u16()), (Some(100), 204));
    assert_eq!(script.header(0, "upload-length"), Some("100"));
    let mut script = Script::new(answers());
    script.source = 101;
    let error = script.run(step()).unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Long { length: 100 }, .. }), "{error}");
    let mut script = Script::new(answers().into_iter().take(2));
    script.source = 99;
    let error = script.run(step()).unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Short { end: 99, length: 100 }, .. }), "{error}");
}

#[test]
fn the_result_has_the_last_response() {
    for truncated in [false, true] {
        let mut last = patched("100").unwrap();
        *last.body_mut() = bytes::Bytes::from_static(b"film 7");
        if truncated {
            last.extensions_mut().insert(Truncated);
        }
        let uploaded = Script::new([answer(201, CREATED), Ok(last)]).run(upload(plain())).unwrap();
        let response = uploaded.response.unwrap();
        assert_eq!((response.status.as_u16(), &response.body[..]), (204, &b"film 7"[..]));
        assert_eq!(response.truncated, truncated);
    }
}

#[test]
fn the_driver_knows_which_request_is_the_last_one() {
    let mut step = upload(plain().chunk_size(Some(50)));
    let mut seen = Vec::new();
    for answer in [answer(201, CREATED), patched("50"), broken(), head("50"), patched("100")] {
        if let Step::Wait(wait) = step {
            step = wait.done();
        }
        let Step::Transmit(transmit) = step else { panic!("{step:?}") };
        seen.push((transmit.request().method().to_string(), transmit.is_result(&http::HeaderMap::new())));
        step = transmit.done(answer, Moment { now: SECOND, jitter: 0.0, took: SECOND });
    }
    let seen: Vec<_> = seen.iter().map(|(method, last)| (&**method, *last)).collect();
    assert_eq!(seen, [("POST", false), ("PATCH", false), ("PATCH", true), ("HEAD", false), ("PATCH", true)]);
    // An empty upload is complete when it is created.
    let step = create(endpoint(), NewUpload::new(Some(0)), plain(), None).unwrap();
    assert!(matches!(step, Step::Transmit(transmit) if transmit.is_result(&http::HeaderMap::new())));
}

#[test]
fn a_chunk_has_at_least_one_byte() {
    let error = Script::new([]).run(upload(plain().chunk_size(Some(0)))).unwrap_err();
    assert!(matches!(&error, Error::Invalid(why) if why.contains("chunk size")), "{error}");
}

#[test]
fn causes_are_typed_and_printed_once() {
    let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
    let error = Error::unreadable("film", cause);
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), "the source film cannot be read");
    assert_eq!(error.with_causes(), "the source film cannot be read: no such file");
    let given_up = Error::GivenUp { retries: 2, last: Box::new(Error::connection("reset")) };
    assert_eq!(given_up.with_causes(), "gave up after 2 retries without progress: the connection failed: reset");
}
