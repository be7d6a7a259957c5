//! Pages of allowed origins see every response, including rejections; pages of other origins see none (R36).

use std::sync::Arc;

use http::{HeaderName, Method};

use super::{request::Answer, world::World};
use crate::{Config, Cors, UploadId};

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

/// Every header that a response of the protocol may have and a script may need.
const RESPONSE_HEADERS: [&str; 12] = [
    "location",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-concat",
    "upload-defer-length",
    "upload-expires",
    "upload-length",
    "upload-metadata",
    "upload-offset",
];

/// Every header that a request of the protocol may have.
const REQUEST_HEADERS: [&str; 9] = [
    "content-type",
    "tus-resumable",
    "upload-checksum",
    "upload-concat",
    "upload-defer-length",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
];

#[test]
fn any_origin_sees_every_response_even_rejections() {
    for answer in every_kind_of_answer(Cors::Any, APP) {
        let answer = answer.has(ALLOW_ORIGIN, "*").lacks("access-control-allow-credentials");
        let exposed = list(&answer, "access-control-expose-headers");
        for name in RESPONSE_HEADERS {
            assert!(exposed.iter().any(|exposed| exposed.eq_ignore_ascii_case(name)), "{name}");
        }
    }
}

#[test]
fn a_listed_origin_sees_every_response_even_rejections() {
    for cors in [listed(), matching()] {
        for answer in every_kind_of_answer(cors, APP) {
            let answer = answer.has(ALLOW_ORIGIN, APP).has("access-control-allow-credentials", "true");
            answer.has("vary", "origin");
        }
    }
}

#[test]
fn another_origin_sees_nothing() {
    for cors in [listed(), matching()] {
        for other in [EVIL, "null", "https://app.example.evil", "http://app.example", "https://app.example:8443"] {
            for answer in every_kind_of_answer(cors.clone(), other) {
                has_no_cors(&answer.has("vary", "origin"));
            }
        }
    }
}

#[test]
fn cors_is_off_by_default() {
    for answer in every_kind_of_answer(Cors::Off, APP) {
        has_no_cors(&answer.lacks("vary"));
    }
}

#[test]
fn a_request_without_origin_gets_no_cors_headers() {
    for (cors, varies) in [(Cors::Any, None), (listed(), Some("origin")), (matching(), Some("origin"))] {
        let mut world = World::with(Config::default().cors(cors));
        let answer = world.post().length(5).send().is(201);
        assert_eq!(answer.header("vary"), varies);
        has_no_cors(&answer);
    }
}

#[test]
fn a_preflight_allows_every_method_and_header_of_the_protocol() {
    for (cors, origin) in [(Cors::Any, "*"), (listed(), APP)] {
        let mut world = World::with(Config::default().cors(cors));
        let id = world.upload(b"hello", 11);
        for path in ["/files", &format!("/files/{id}")] {
            let preflight = world.request(Method::OPTIONS, path).without("tus-resumable").header("origin", APP);
            let answer = preflight.header("access-control-request-method", "PATCH").send().is(204);
            let answer = answer.has(ALLOW_ORIGIN, origin).lacks("access-control-expose-headers");
            let methods = list(&answer, "access-control-allow-methods");
            for method in ["POST", "HEAD", "PATCH", "DELETE"] {
                assert!(methods.iter().any(|allowed| allowed == method), "{method}");
            }
            let headers = list(&answer, "access-control-allow-headers");
            for name in REQUEST_HEADERS {
                assert!(headers.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)), "{name}");
            }
        }
    }
}

#[test]
fn a_preflight_allows_the_applications_own_headers() {
    let mut world = World::with(Config::default().cors(listed()));
    let ask = |world: &mut World, origin: &str| {
        let preflight = world.options().header("origin", origin).header("access-control-request-method", "POST");
        preflight.header("access-control-request-headers", "x-mine,tus-resumable").send().is(204)
    };
    let answer = ask(&mut world, APP).has("access-control-allow-headers", "x-mine,tus-resumable");
    assert!(answer.header("access-control-max-age").is_some());
    let varies: Vec<_> = answer.0.headers().get_all("vary").iter().collect();
    assert_eq!(varies, ["origin", "access-control-request-headers"], "the answer repeats what was asked for");
    has_no_cors(&ask(&mut world, EVIL));
}

#[test]
fn the_applications_own_response_headers_are_exposed() {
    let mine = ["x-mine", "x-too"].map(HeaderName::from_static);
    for (cors, exposes) in [(Cors::Any, true), (listed(), true), (Cors::Off, false)] {
        let mut world = World::with(Config::default().cors(cors).expose_headers(mine.clone()));
        let answer = world.options().header("origin", APP).send().is(204);
        match exposes {
            false => has_no_cors(&answer),
            true => {
                let expected: Vec<_> = Cors::RESPONSE_HEADERS.into_iter().chain(["x-mine", "x-too"]).collect();
                assert_eq!(list(&answer, "access-control-expose-headers"), expected);
            }
        }
    }
}

#[test]
fn the_applications_vary_header_is_kept() {
    let mut world = World::with(Config::default().cors(listed()));
    world.application.reply = Ok(super::super::FinishReply {
        headers: [("vary".parse().unwrap(), "accept-language".parse().unwrap())].into_iter().collect(),
        body: "done".into(),
        ..Default::default()
    });
    let answer = world.post().length(5).body(b"hello").header("origin", APP).send().is(201);
    let varies: Vec<_> = answer.0.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(varies.contains(&"origin") && varies.contains(&"accept-language"), "{varies:?}");
}

fn listed() -> Cors {
    Cors::Origins(vec!["https://other.example".parse().unwrap(), APP.parse().unwrap()])
}

fn matching() -> Cors {
    Cors::Matching(Arc::new(|origin| origin == APP))
}

fn every_kind_of_answer(cors: Cors, origin: &str) -> Vec<Answer> {
    let mut world = World::with(Config::default().max_size(100).cors(cors));
    let id = world.upload(b"hello", 11);
    let missing = UploadId::from_random(0);
    vec![
        world.options().header("origin", origin).send().is(204),
        world.post().length(5).header("origin", origin).send().is(201),
        world.head(&id).header("origin", origin).send().is(200),
        world.patch(&id).offset(5).body(b" ").header("origin", origin).send().is(204),
        world.post().header("origin", origin).send().is(400),
        world.head(&missing).header("origin", origin).send().is(404),
        world.request(Method::PUT, "/files").header("origin", origin).send().is(405),
        world.patch(&id).offset(0).header("origin", origin).send().is(409),
        world.head(&id).without("tus-resumable").header("origin", origin).send().is(412),
        world.post().length(101).header("origin", origin).send().is(413),
        world.patch(&id).without("content-type").header("origin", origin).send().is(415),
        world.patch(&id).offset(6).sha1_of(b"a").body(b"b").header("origin", origin).send().is(460),
        rejected(&mut world, &id, origin).is(403),
        world.delete(&id).header("origin", origin).send().is(204),
    ]
}

fn rejected(world: &mut World, id: &UploadId, origin: &str) -> Answer {
    world.application.rejects = Box::new(|_, _| true);
    let answer = world.head(id).header("origin", origin).send();
    world.application.rejects = Box::new(|_, _| false);
    answer
}

fn list(answer: &Answer, name: &str) -> Vec<String> {
    answer.header(name).unwrap().split(',').map(|item| item.trim().to_owned()).collect()
}

#[track_caller]
fn has_no_cors(answer: &Answer) {
    let mut names = answer.0.headers().keys().map(|name| name.as_str());
    assert!(!names.any(|name| name.starts_with("access-control-")), "{answer:?}");
}
