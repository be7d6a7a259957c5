//! Every upload ends: loops, silence, deadlines, and responses that never come.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{
    Error, Retry, Source, client_builder,
    reqwest::dns::{Addrs, Name, Resolve, Resolving},
};

use crate::{
    bytes, client, plain,
    server::{Reply, answer, tus, tus_but},
};

#[tokio::test]
async fn a_server_that_loses_bytes_is_not_retried_forever() {
    let (_, server) = tus_but(|request| match &*request.method {
        "POST" => Some(answer(201, &[("Location", "/files/1")])),
        "PATCH" if request.header("upload-offset") == Some("0") => Some(answer(204, &[("Upload-Offset", "50")])),
        "PATCH" => Some(answer(409, &[])),
        "HEAD" => Some(answer(200, &[("Upload-Offset", "0"), ("Upload-Length", "100")])),
        _ => None,
    });
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = waits.clone();
    let client = client(&server).options(plain().chunk_size(Some(50))).build().unwrap();
    let upload = client.upload(Source::bytes(bytes(100)));
    let upload = upload.on_wait(move |wait| noted.lock().unwrap().push((wait.retry, wait.reason.status())));
    let error = upload.send().await.unwrap_err();
    assert!(matches!(error, Error::GivenUp { retries: 8, .. }), "{error}");
    assert!(server.requests().len() < 40, "{:?}", server.lines());
    let waits = waits.lock().unwrap();
    assert_eq!(waits.iter().map(|(retry, _)| *retry).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(waits.iter().all(|(_, status)| status.is_some_and(|status| status == 409)));
}

#[tokio::test]
async fn the_deadline_ends_whatever_hangs() {
    let deadline = Retry::default().deadline(Duration::from_millis(200));
    let (_, server) = tus_but(|request| (request.method == "PATCH").then_some(Reply::Nothing));
    let client = client(&server).options(plain().retry(deadline)).build().unwrap();
    let error = client.upload(Source::bytes("hello")).send().await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
    // A source and credentials that never arrive.
    let (reader, _writer) = tokio::io::duplex(1);
    let error = client.upload(Source::stream(reader)).send().await.unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error}");
}

#[tokio::test]
async fn the_longest_durations_mean_never() {
    let (tus, server) = tus();
    let retry = Retry::default().delay(Duration::MAX, Duration::MAX).deadline(Duration::MAX);
    let client = client(&server).options(plain().retry(retry)).timeout(Duration::MAX).build().unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(tus.only(), b"hello");
    assert!(client.info(&*server.url("/files/1")).await.unwrap().complete);
}

struct Unknown;

impl Resolve for Unknown {
    fn resolve(&self, _: Name) -> Resolving {
        let message = "failed to lookup address information: Name or service not known";
        Box::pin(async move { Err::<Addrs, _>(std::io::Error::other(message).into()) })
    }
}

#[tokio::test]
async fn an_unknown_host_name_is_an_immediate_error() {
    let http = client_builder().no_proxy().dns_resolver(Arc::new(Unknown));
    let retry = Retry::default().delay(Duration::from_secs(3600), Duration::from_secs(3600));
    let client = tus_reqwest::Client::builder("http://tus.invalid/files").options(plain().retry(retry)).http(http);
    let error = client.build().unwrap().upload(Source::bytes("hello")).send().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(error.with_causes().contains("Name or service not known"), "{}", error.with_causes());
}

#[tokio::test]
async fn a_refused_connection_is_retried() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = tus_reqwest::Client::builder(&format!("http://{nobody}/files"));
    let client = client.options(plain()).build().unwrap();
    let error = client.upload(Source::bytes("hello")).send().await.unwrap_err();
    assert!(matches!(&error, Error::GivenUp { last, .. } if matches!(**last, Error::Connection(_))), "{error:?}");
}

#[tokio::test]
async fn the_head_of_a_response_is_enough() {
    let (tus, server) = tus();
    let heads = Arc::new(AtomicUsize::new(0));
    let counted = heads.clone();
    let behind = tus.clone();
    // What follows the heads of the first responses never arrives.
    let odd = crate::server::Server::start(move |request| {
        let reply = behind.answer(request);
        let is_ok = matches!(reply, Reply::Answer { status: 201, .. });
        match is_ok && counted.fetch_add(1, Ordering::Relaxed) == 0 {
            true => Reply::HeadOf(Box::new(reply)),
            false => reply,
        }
    });
    drop(server);
    let client = client(&odd).timeout(Duration::from_millis(500)).build().unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(heads.load(Ordering::Relaxed), 1);
    assert_eq!(tus.only(), b"hello");
    assert_eq!(odd.lines(), ["POST /files", "PATCH /files/1"]);
}

#[tokio::test]
async fn the_last_response_is_read_up_to_its_limit() {
    const MIB: usize = 1 << 20;
    for (length, read) in [(0, 0), (100_000, 100_000), (MIB, MIB), (MIB + 1, MIB), (3 * MIB, MIB)] {
        let (_, server) = tus_but(move |request| {
            let headers = vec![("Tus-Resumable".into(), "1.0.0".into()), ("Upload-Offset".into(), "5".into())];
            (request.method == "PATCH").then(|| Reply::Answer { status: 200, headers, body: bytes(length) })
        });
        let uploaded = client(&server).build().unwrap().upload(Source::bytes("hello")).send().await.unwrap();
        let response = uploaded.response.unwrap();
        assert!(response.body == bytes(length)[..read], "{length}");
        assert_eq!(response.truncated, read < length, "{length}");
    }
    // One that never arrives.
    let (_, server) = tus_but(|request| {
        let last = || Reply::HeadOf(Box::new(answer(200, &[("Upload-Offset", "5")])));
        (request.method == "PATCH").then(last)
    });
    let client = client(&server).timeout(Duration::from_secs(2)).build().unwrap();
    let uploaded = client.upload(Source::bytes("hello")).send().await.unwrap();
    assert!(uploaded.complete && uploaded.response.unwrap().truncated);
    assert_eq!(server.lines(), ["POST /files", "PATCH /files/1"]);
}

#[tokio::test]
async fn a_slow_concatenation_is_not_repeated() {
    let (tus, server) = tus_but(|request| {
        if request.header("upload-concat").is_some_and(|concat| concat.starts_with("final")) {
            std::thread::sleep(Duration::from_millis(700));
        }
        None
    });
    let client = client(&server).timeout(Duration::from_millis(300)).build().unwrap();
    let uploaded = client.upload(Source::bytes(bytes(1000))).parts(2).send().await.unwrap();
    assert_eq!(uploaded.offset, Some(1000));
    assert_eq!(tus.uploads().len(), 3, "two parts and one upload");
}

#[tokio::test]
async fn a_silence_makes_requests_smaller() {
    // A line too slow for any request of more than 20,000 bytes.
    let (tus, server) = tus_but(|request| (request.body.len() > 20_000).then_some(Reply::Nothing));
    let client = client(&server).timeout(Duration::from_millis(200)).build().unwrap();
    client.upload(Source::bytes(bytes(200_000))).send().await.unwrap();
    assert_eq!(tus.only(), bytes(200_000));
    let sizes: Vec<_> = server.requests().iter().filter(|r| r.method == "PATCH").map(|r| r.body.len()).collect();
    assert_eq!(sizes[..3], [200_000, 50_000, 16_384], "{sizes:?}");
}
