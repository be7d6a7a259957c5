//! Where requests go, and with which headers: redirects, `Location`, and credentials.

use url::Url;

use super::{
    super::{
        Error, NewUpload, Options, Retry, Step, Task, Uploading, Verification, create, discover, inspect, resume,
        resume_or_create, terminate,
    },
    script::{Script, answer, broken},
    wire::endpoint,
};

fn plain() -> Options {
    Options::default().verification(Verification::Off).chunk_size(None).retry(Retry::default().retries(0))
}

fn upload(options: Options) -> Step<Uploading> {
    create(endpoint(), NewUpload::new(Some(100)), options, None).unwrap()
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn to(status: u16, location: &str) -> Result<http::Response<bytes::Bytes>, Error> {
    answer(status, &[("location", location)])
}

fn asked(script: &Script) -> Vec<String> {
    script.asked.iter().map(|request| format!("{} {}", request.method(), request.uri())).collect()
}

const CREATED: &[(&str, &str)] = &[("location", "/files/a")];
const COMPLETE: &[(&str, &str)] = &[("upload-offset", "100"), ("upload-length", "100")];

#[test]
fn a_temporary_redirect_counts_once_for_every_method() {
    let there = || to(307, "//other.example.org/there");
    let mut script = Script::new([
        there(),
        answer(201, CREATED),
        there(),
        answer(204, &[("upload-offset", "60")]),
        answer(204, COMPLETE),
    ]);
    script.run(upload(plain().chunk_size(Some(60)))).unwrap();
    assert_eq!(
        asked(&script),
        [
            "POST http://tus.example.org/files",
            "POST http://other.example.org/there",
            // Relative URLs are relative to the URL that answered.
            "PATCH http://other.example.org/files/a",
            "PATCH http://other.example.org/there",
            "PATCH http://other.example.org/files/a",
        ]
    );
    assert_eq!(script.home, [true, false, false, false, false], "credentials stay with the first origin");
    assert_eq!(script.asked[3].body(), &Some(0..60), "the bytes are sent again");

    fn follows<T: Task>(step: Step<T>, answers: &[(&str, &str)]) {
        let mut script = Script::new([to(307, "/b"), answer(200, answers)]);
        script.run(step).unwrap();
        assert_eq!(script.lines()[1].split(' ').next_back(), Some("/b"));
    }
    follows(inspect(endpoint(), plain()), COMPLETE);
    follows(terminate(endpoint(), plain()), &[]);
    follows(discover(endpoint(), plain()), &[]);
}

#[test]
fn a_permanent_redirect_counts_for_good() {
    let mut script = Script::new([
        answer(201, CREATED),
        to(308, "/moved"),
        answer(204, &[("upload-offset", "60")]),
        answer(204, COMPLETE),
    ]);
    let uploaded = script.run(upload(plain().chunk_size(Some(60)))).unwrap();
    assert_eq!(script.lines()[1..], ["PATCH /files/a 0..60", "PATCH /moved 0..60", "PATCH /moved 60..100"]);
    assert_eq!(uploaded.url.path(), "/moved");
}

#[test]
fn other_redirects_too_many_and_downgrades_are_errors() {
    for answers in [
        vec![to(301, "/elsewhere")],
        vec![to(302, "/elsewhere")],
        vec![to(303, "/elsewhere")],
        vec![to(201, "/files/a"), to(302, "/elsewhere")],
        (0..6).map(|_| to(307, "/files")).collect(),
    ] {
        let error = Script::new(answers).run(upload(plain())).unwrap_err();
        assert!(matches!(error, Error::Redirected { .. }), "{error}");
    }
    for elsewhere in ["http://tus.example.org/files", "http://example.com/"] {
        let secure = create(url("https://tus.example.org/files"), NewUpload::new(Some(1)), plain(), None);
        let error = Script::new([to(307, elsewhere)]).run(secure.unwrap()).unwrap_err();
        assert!(matches!(error, Error::Redirected { .. }), "{error}");
    }
}

#[test]
fn nothing_is_sent_in_clear_text_if_the_endpoint_is_https() {
    for (endpoint, location, expected) in [
        ("https://tus.example.org/files", "http://tus.example.org/files/a", "https://tus.example.org/files/a"),
        (
            "https://tus.example.org:8443/files",
            "http://tus.example.org/files/a",
            "https://tus.example.org:8443/files/a",
        ),
        ("https://tus.example.org/files", "http://tus.example.org:8080/files/a", "https://tus.example.org/files/a"),
        ("https://tus.example.org/files", "https://cdn.example.org/a", "https://cdn.example.org/a"),
    ] {
        let mut script = Script::new([to(201, location), broken()]);
        let _ = script.run(create(url(endpoint), NewUpload::new(Some(1)), plain(), None).unwrap());
        assert_eq!(asked(&script)[1], format!("PATCH {expected}"));
    }
    let mut script = Script::new([to(201, "http://cdn.example.org/a")]);
    let error =
        script.run(create(url("https://tus.example.org/files"), NewUpload::new(Some(1)), plain(), None).unwrap());
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::Redirected { location, .. } if location.contains("cdn")), "{error}");
}

#[test]
fn a_location_may_be_relative_and_is_never_guessed() {
    for (location, url) in [
        ("a", "http://tus.example.org/a"),
        ("/b/c", "http://tus.example.org/b/c"),
        ("//cdn.example.org/d", "http://cdn.example.org/d"),
        ("https://cdn.example.org/e?f#g", "https://cdn.example.org/e?f"),
        ("https://user:secret@cdn.example.org/e", "https://cdn.example.org/e"),
    ] {
        let mut script = Script::new([to(201, location)]);
        let _ = script.run(upload(plain()));
        assert_eq!(asked(&script)[1], format!("PATCH {url}"));
        assert_eq!(script.header(1, "authorization"), None);
    }
    for location in ["", " ", "file:///etc/passwd", "http://", "\\\\a}b", "/files", "#top", "?"] {
        let error = Script::new([to(201, location)]).run(upload(plain())).unwrap_err();
        let wrong = matches!(&error, Error::Misbehaved { header, .. } if *header == "location");
        // A query makes it a different URL.
        assert!(wrong || location == "?", "{location:?}: {error}");
    }
    let error = Script::new([answer(201, &[])]).run(upload(plain())).unwrap_err();
    assert!(matches!(&error, Error::Misbehaved { header, .. } if *header == "location"), "{error}");
}

#[test]
fn only_named_origins_are_trusted() {
    let mut options = plain();
    options.trust(endpoint());
    let elsewhere = url("https://evil.example.com/files/a");
    let homes = |options: &Options| {
        let mut homes = Vec::new();
        let mut run = |script: &mut Script| homes.append(&mut script.home);
        let mut script = Script::new([answer(200, COMPLETE)]);
        let _ = script.run(resume(elsewhere.clone(), NewUpload::new(Some(100)), options.clone(), None).unwrap());
        run(&mut script);
        let kept = resume_or_create(elsewhere.clone(), endpoint(), NewUpload::new(Some(100)), options.clone(), None);
        let mut script = Script::new([answer(200, COMPLETE)]);
        let _ = script.run(kept.unwrap());
        run(&mut script);
        let mut script = Script::new([answer(200, COMPLETE)]);
        let _ = script.run(inspect(elsewhere.clone(), options.clone()));
        run(&mut script);
        let mut script = Script::new([answer(204, &[])]);
        let _ = script.run(terminate(elsewhere.clone(), options.clone()));
        run(&mut script);
        homes
    };
    assert_eq!(homes(&options), [false; 4]);
    options.trust(url("https://evil.example.com/"));
    assert_eq!(homes(&options), [true; 4]);
}

#[test]
fn a_password_in_a_url_goes_only_to_its_origin_and_is_never_shown() {
    let secret = url("http://user:secret@tus.example.org/files");
    let mut script = Script::new([to(201, "//cdn.example.org/a"), answer(403, &[])]);
    let step = create(secret.clone(), NewUpload::new(Some(100)), plain(), None).unwrap();
    assert!(!format!("{step:?}").contains("secret"), "{step:?}");
    let error = script.run(step).unwrap_err();
    assert_eq!(script.header(0, "authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(script.header(1, "authorization"), None);
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    assert!(asked(&script).iter().all(|line| !line.contains("secret")));

    // After a redirect back they are sent again.
    let mut script =
        Script::new([to(307, "//cdn.example.org/"), to(307, "//tus.example.org/b"), answer(200, COMPLETE)]);
    script.run(inspect(secret, plain())).unwrap();
    let sent = [0, 1, 2].map(|at| script.header(at, "authorization").is_some());
    assert_eq!(sent, [true, false, true]);
}
