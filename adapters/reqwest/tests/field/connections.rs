//! Which settings of a builder or client stay in force.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tus_reqwest::{
    Client, Connections, Error, Source, client_builder,
    reqwest::{
        self,
        header::{HeaderMap, HeaderValue},
        redirect::Policy,
    },
};

use crate::{
    client, plain,
    server::{Reply, Server, answer, tus, tus_but},
};

fn with_header() -> reqwest::ClientBuilder {
    let headers = HeaderMap::from_iter([("x-own".parse().unwrap(), HeaderValue::from_static("yes"))]);
    reqwest::Client::builder().default_headers(headers)
}

#[tokio::test]
async fn the_user_agent_has_name_and_version() {
    let (_, server) = tus();
    client(&server).build().unwrap().upload(Source::bytes("hello")).send().await.unwrap();
    let expected = concat!("tus-reqwest/", env!("CARGO_PKG_VERSION"));
    assert!(server.requests().iter().all(|request| request.header("user-agent") == Some(expected)));
    let own = client_builder().user_agent("mine/1");
    client(&server).http(own).build().unwrap().upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(server.requests().last().unwrap().header("user-agent"), Some("mine/1"));
}

#[tokio::test]
async fn a_builder_and_a_finished_client_keep_their_headers() {
    let (_, server) = tus();
    let ways = [
        Connections::from(with_header()),
        Connections::from(with_header().build().unwrap()),
        Connections::each(with_header),
    ];
    for connections in ways {
        let before = server.requests().len();
        client(&server).http(connections).build().unwrap().upload(Source::bytes("hello")).send().await.unwrap();
        assert!(server.requests()[before..].iter().all(|request| request.header("x-own") == Some("yes")));
    }
}

fn redirecting() -> Server {
    let (_, server) = tus_but(|request| (request.path == "/files").then(|| answer(302, &[("Location", "/elsewhere")])));
    server
}

#[tokio::test]
async fn this_crate_follows_redirects_unless_a_finished_client_does() {
    let server = redirecting();
    let following = || reqwest::Client::builder().redirect(Policy::limited(3));
    let builder = client(&server).http(following()).build().unwrap();
    let error = builder.upload(Source::bytes("hello")).send().await.unwrap_err();
    assert!(matches!(error, Error::Redirected { .. }), "{error}");
    assert_eq!(server.lines(), ["POST /files"]);
    let finished = client(&server).http(following().build().unwrap()).build().unwrap();
    let _ = finished.upload(Source::bytes("hello")).send().await;
    assert_eq!(server.lines()[1..3], ["POST /files", "GET /elsewhere"], "as documented");
}

#[tokio::test]
async fn timeouts_of_the_builder_stay_in_force() {
    let (_, server) = tus_but(|_| Some(Reply::Nothing));
    let hasty = || reqwest::Client::builder().timeout(Duration::from_millis(50));
    for connections in [Connections::from(hasty()), Connections::from(hasty().build().unwrap())] {
        let client = client(&server).http(connections).build().unwrap();
        let error = client.upload(Source::bytes("hello")).send().await.unwrap_err();
        assert!(matches!(error.last(), Error::Connection(_)), "{error:?}");
    }
}

#[tokio::test]
async fn hooks_see_request_and_response_and_may_be_async() {
    let (_, server) = tus();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let builder = Client::builder(&server.url("/files")).options(plain());
    let client = builder
        .before_request_async(async |mut request| {
            tokio::task::yield_now().await;
            request.headers_mut().insert("x-extra", HeaderValue::from_static("yes"));
            Ok(request)
        })
        .after_response_async(move |request, response| {
            noted.lock().unwrap().push((request.method().to_string(), response.status().as_u16()));
            async { Ok(()) }
        })
        .build()
        .unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [("POST".to_owned(), 201), ("PATCH".to_owned(), 204)]);
    assert!(server.requests().iter().all(|request| request.header("x-extra") == Some("yes")));
    let refusing = Client::builder(&server.url("/files")).options(plain());
    let refusing = refusing.after_response_async(async |_, _| Err(Error::local("not this one"))).build().unwrap();
    let error = refusing.upload(Source::bytes("hello")).send().await.unwrap_err();
    assert_eq!(error.with_causes(), "the client failed: not this one");
}

#[tokio::test]
async fn the_last_response_is_in_the_result() {
    let (_, server) = tus_but(|request| {
        let headers = vec![("Tus-Resumable".into(), "1.0.0".into()), ("Upload-Offset".into(), "5".into())];
        let body = b"film 7".to_vec();
        (request.method == "PATCH").then_some(Reply::Answer { status: 200, headers, body })
    });
    let uploaded = client(&server).build().unwrap().upload(Source::bytes("hello")).send().await.unwrap();
    let response = uploaded.response.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"film 7"[..]));
}

#[tokio::test]
async fn requests_without_a_body_declare_its_length() {
    let (tus, server) = tus();
    let client = client(&server).options(plain().override_method(true)).build().unwrap();
    // A stream of unknown length ends with a request that only declares the length.
    let uploaded = client.upload(Source::stream(tokio::io::empty())).send().await.unwrap();
    assert_eq!(tus.only(), b"");
    client.terminate(uploaded.url).await.unwrap();
    let requests = server.requests();
    let posts: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    assert_eq!(posts.len(), 3, "{:?}", server.lines());
    assert!(posts.iter().all(|request| request.header("content-length") == Some("0")));
}
