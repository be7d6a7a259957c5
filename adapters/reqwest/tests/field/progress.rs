//! Progress is always correct and never panics, and the URL is always reported.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use tus_reqwest::{Fingerprint, MemoryStore, Options, Progress, Source};

use crate::{
    bytes, client, plain,
    server::{answer, tus, tus_but},
};

#[tokio::test]
async fn a_resumed_upload_reports_its_speed_from_the_start() {
    let (_, server) = tus();
    let client = client(&server).options(plain().chunk_size(Some(10))).build().unwrap();
    let url = client.upload(Source::bytes(bytes(100))).stop_at(60).send().await.unwrap().url;
    let seen = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let noted = seen.clone();
    let upload = client.resume(url, Source::bytes(bytes(100))).on_progress(move |progress| {
        assert!(progress.speed() >= 0.0);
        let _ = progress.remaining();
        noted.lock().unwrap().push(progress.clone());
    });
    upload.send().await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen[0].resumed, seen[0].uploaded, seen[0].sent), (60, 60, 60));
    assert!(seen.iter().all(|progress| progress.percent().unwrap() <= 100.0));
    assert_eq!((seen.last().unwrap().uploaded, seen.last().unwrap().sent), (100, 100));
}

#[tokio::test]
async fn the_url_of_an_empty_upload_is_reported() {
    for (content, options) in [("", plain()), ("hello", Options::default().data_in_creation(true))] {
        let (_, server) = tus_but(move |request| match &*request.method {
            "OPTIONS" => Some(answer(204, &[("Tus-Extension", "creation,creation-with-upload")])),
            "POST" => {
                let offset = request.body.len().to_string();
                Some(answer(201, &[("Location", "/files/1"), ("Upload-Offset", &offset)]))
            }
            _ => None,
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let client = client(&server).options(options).build().unwrap();
        let upload = client.upload(Source::bytes(content));
        let uploaded = upload.on_url(move |url| noted.lock().unwrap().push(url.clone())).send().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [uploaded.url]);
        assert_eq!(server.count("PATCH"), 0);
    }
}

#[tokio::test]
async fn a_partial_upload_has_its_own_total() {
    let (_, server) = tus();
    let client = client(&server).build().unwrap();
    let upload = client.upload(Source::bytes(bytes(100))).partial(70..100);
    let progress = upload.progress();
    upload.on_progress(|progress| assert_eq!(progress.total, Some(30))).send().await.unwrap();
    assert_eq!((progress.borrow().uploaded, progress.borrow().percent()), (30, Some(100.0)));
}

#[tokio::test]
async fn the_clock_starts_after_the_fingerprint() {
    let (_, server) = tus();
    let digested = Arc::new(OnceLock::new());
    let noted = digested.clone();
    let fingerprint = Fingerprint::Custom(Arc::new(move |_| {
        let noted = noted.clone();
        Box::pin(async move {
            noted.get_or_init(Instant::now);
            Ok("film".to_owned())
        })
    }));
    let client = client(&server).url_store(MemoryStore::default(), fingerprint).build().unwrap();
    let upload = client.upload(Source::bytes("hello"));
    let progress = upload.progress();
    let prepared = progress.borrow().started;
    upload.send().await.unwrap();
    let (started, digested) = (progress.borrow().started, *digested.get().unwrap());
    assert!(prepared <= digested && digested <= started);
}
