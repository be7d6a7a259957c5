//! How uploads end otherwise, redirects, stored URLs, and whatever a server may answer.

use super::*;

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

/// A rejection of the caller does not end a stored upload, only its absence does.
#[test]
fn a_stored_url_that_is_gone_is_replaced() {
    for status in [400, 401, 403] {
        let mut script = Script::new([said(status, &[("upload-complete", "?0")])]);
        let step = resume_or_create(url(), endpoint(), NewUpload::new(Some(100)), plain(), None).unwrap();
        assert_eq!(script.run(step).unwrap_err().status().unwrap().as_u16(), status);
    }
    for status in [404, 410] {
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
                        transmit.done(answer, Moment { now, jitter: 0.5, took: SECOND })
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
