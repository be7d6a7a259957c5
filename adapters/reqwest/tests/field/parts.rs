//! Parts are a queue for a few workers.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{Error, Metadata, Options, Source};

use crate::{
    bytes, client, plain,
    server::{Tus, tus, tus_but},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parts_are_sent_a_few_at_a_time() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, max) = (running.clone(), most.clone());
    let tus = Tus::default();
    let behind = tus.clone();
    let server = crate::server::Server::start(move |request| {
        max.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let reply = behind.answer(request);
        now.fetch_sub(1, Ordering::Relaxed);
        reply
    });
    let client = client(&server).build().unwrap();
    let uploaded = client.upload(Source::bytes(bytes(10_000))).parts(1000).parts_at_once(8).send().await.unwrap();
    assert_eq!(tus.uploads()[uploaded.url.path()].content, bytes(10_000));
    assert!(most.load(Ordering::Relaxed) <= 8);
    assert!(server.connections() < 100, "{} connections for a thousand parts", server.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_has_a_connection_of_its_own() {
    let (_, server) = tus_but(|request| {
        // Long enough for all of them to begin.
        if request.method == "PATCH" {
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    });
    let client = client(&server).build().unwrap();
    client.upload(Source::bytes(bytes(1000))).parts(4).send().await.unwrap();
    let patches = server.requests().into_iter().filter(|request| request.method == "PATCH");
    let used: HashSet<_> = patches.map(|request| request.connection).collect();
    assert_eq!(used.len(), 4);
}

#[tokio::test]
async fn boundaries_metadata_and_removal_are_the_callers() {
    let (tus, server) = tus();
    let client = client(&server).build().unwrap();
    let upload = client.upload(Source::bytes(bytes(100))).part_boundaries([10, 90]).metadata("kind", "film");
    let uploaded = upload.parts_metadata("kind", "part").remove_parts(true).send().await.unwrap();
    assert_eq!(tus.only(), bytes(100), "the parts are removed");
    assert_eq!(tus.uploads()[uploaded.url.path()].metadata, "kind ZmlsbQ==");
    let created: Vec<_> = server.requests().into_iter().filter(|request| request.method == "POST").collect();
    let mut lengths: Vec<_> = created.iter().filter_map(|request| request.header("upload-length")).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, ["10", "10", "80"]);
    assert_eq!(created[0].header("upload-metadata"), Some("kind cGFydA=="));

    for boundaries in [&[0][..], &[100], &[50, 50]] {
        let upload = client.upload(Source::bytes(bytes(100))).part_boundaries(boundaries.iter().copied());
        assert!(matches!(upload.send().await, Err(Error::Invalid(_))));
    }
    let none = client.upload(Source::bytes(bytes(100))).parts(2).parts_at_once(0).send().await;
    assert!(matches!(none, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn parts_can_be_made_by_hand() {
    let (tus, server) = tus();
    let client = client(&server).options(plain().chunk_size(Some(3))).build().unwrap();
    let source = Source::bytes("hello world");
    let mut urls = Vec::new();
    for range in [0..5, 5..11] {
        urls.push(client.upload(source.clone()).partial(range).send().await.unwrap().url);
    }
    let metadata = Metadata::from_pairs([("kind", "film")]).unwrap();
    let uploaded = client.concatenate(urls, metadata).await.unwrap();
    assert_eq!(tus.uploads()[uploaded.url.path()].content, b"hello world");
    let outside = client.upload(source).partial(5..12).send().await;
    assert!(matches!(outside, Err(Error::Invalid(_))));
    let stream = client.upload(Source::stream(&b"hello"[..])).partial(0..2).send().await;
    assert!(matches!(stream, Err(Error::Invalid(_))));
    let _ = Options::default();
}
