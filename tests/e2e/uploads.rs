//! This project's client against its servers.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{
    Builder, Client, Error, Fingerprint, JsonFile, Options, Progress, Retry, Source, SourceProblem, Uploaded,
    Verification, block_on,
    reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use tus_service::{Config, Location};

use crate::{
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::{Server, Started},
};

const LENGTH: u64 = (5 << 20) + 3;

fn client(address: SocketAddr) -> Builder {
    Client::builder(&format!("http://{address}/files"))
}

/// Retries quickly, more often than a busy machine needs, and sends everything in one request.
fn eager() -> Options {
    let retry = Retry::default().retries(1000).delay(Duration::from_millis(1), Duration::from_millis(20));
    Options::default().retry(retry).chunk_size(None).verification(Verification::Off)
}

fn film(server: &Server, length: u64) -> PathBuf {
    let path = server.directory.path().join("größer.film");
    std::fs::write(&path, bytes(1, 0..length)).unwrap();
    path
}

#[track_caller]
fn arrived(started: &Started, uploaded: &Uploaded, length: u64) {
    assert_eq!((uploaded.offset, uploaded.length), (Some(length), Some(length)));
    assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..length));
}

pub(crate) fn a_file_arrives_completely(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let client = client(started.running.address).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let uploaded = block_on(async {
        let upload = client.upload(Source::path(&path).await?).metadata("kind", "test");
        let note = move |progress: &Progress| noted.lock().unwrap().push((progress.uploaded, progress.sent));
        upload.on_progress(note).send().await
    });
    let uploaded = uploaded.unwrap();
    arrived(&started, &uploaded, LENGTH);
    let record = started.upload(uploaded.url.path()).unwrap();
    assert_eq!(record.metadata.text("filename"), Some("größer.film"));
    assert_eq!(record.metadata.text("kind"), Some("test"));
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by_key(|(uploaded, _)| uploaded) && seen.is_sorted_by_key(|(_, sent)| sent), "{seen:?}");
    assert!(seen.iter().all(|(uploaded, sent)| uploaded <= sent), "{seen:?}");
    assert_eq!(seen.last(), Some(&(LENGTH, LENGTH)));

    let info = block_on(client.info(uploaded.url.clone())).unwrap();
    assert!(info.complete);
    block_on(client.terminate(uploaded.url.clone())).unwrap();
    block_on(client.terminate(uploaded.url.clone())).unwrap();
    assert!(block_on(client.info(uploaded.url)).unwrap_err().is_gone());
    let with_a_slash = format!("http://{}/files/", started.running.address);
    let options = Options::default().data_in_creation(true);
    let client = Client::builder(&with_a_slash).options(options).build().unwrap();
    for length in [0, 1, 1 << 20] {
        let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..length))).send()).unwrap();
        arrived(&started, &uploaded, length);
    }
}

pub(crate) fn an_upload_completes_over_connections_that_always_break(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    for (fault, seed) in [(Fault::Breaks, 1), (Fault::Refuses, 6), (Fault::Slows, 11)] {
        let line = Line::to(started.running.address, fault, 40, 300_000, seed);
        let client = client(line.address).options(eager()).build().unwrap();
        let uploaded = block_on(async { client.upload(Source::path(&path).await?).send().await }).unwrap();
        arrived(&started, &uploaded, LENGTH);
        assert!(line.faults_left() < 30, "no connection failed");
        assert!(line.carried() < LENGTH * 2, "{} bytes for {LENGTH}", line.carried());
    }
}

pub(crate) fn an_upload_resumes_after_a_connection_stalls(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let line = Line::to(started.running.address, Fault::FallsSilent, 3, 1 << 20, 2);
    let client = client(line.address).options(eager()).timeout(Duration::from_millis(300)).build().unwrap();
    let uploaded = block_on(async { client.upload(Source::path(&path).await?).send().await }).unwrap();
    arrived(&started, &uploaded, LENGTH);
    assert_eq!(line.faults_left(), 0);
}

pub(crate) fn another_process_resumes_an_upload(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let urls = server.directory.path().join("urls.json");
    let client = |address| {
        let store = JsonFile::new(&urls);
        client(address).options(eager()).url_store(store, Fingerprint::Fast).build().unwrap()
    };
    // Its connection stalls within the one request, and the process ends while it waits for the response.
    let line = Line::to(started.running.address, Fault::FallsSilent, u64::MAX, 1 << 20, 3);
    let left = block_on(async {
        let upload = client(line.address).upload(Source::path(&path).await?);
        let mut progress = upload.progress();
        tokio::select! {
            result = upload.send() => panic!("{result:?}"),
            sent = progress.wait_for(|progress| progress.sent == LENGTH) => Ok(sent.unwrap().clone()),
        }
    });
    let left = left.unwrap();
    assert_eq!((left.uploaded, left.completed), (0, 0), "only a response reports what was stored");
    // The keys contain the endpoint, which is the proxy's.
    line.mend();
    assert!(std::fs::read_to_string(&urls).unwrap().contains("/files/"));
    let uploaded = block_on(async { client(line.address).upload(Source::path(&path).await?).send().await }).unwrap();
    arrived(&started, &uploaded, LENGTH);
    assert_eq!(started.count(), 1, "it is the same upload");
    assert_eq!(std::fs::read_to_string(&urls).unwrap(), "{}");
}

pub(crate) fn a_missing_upload_is_started_again(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let urls = server.directory.path().join("urls.json");
    let store = JsonFile::new(&urls);
    let client = client(started.running.address).url_store(store, Fingerprint::Fast).build().unwrap();
    let upload = async || client.upload(Source::path(&path).await?).stop_at(1000).send().await;
    let first = block_on(upload()).unwrap();
    assert_eq!(first.offset, Some(1000));
    assert_eq!(block_on(upload()).unwrap().url, first.url, "the upload is found again");
    block_on(client.terminate(first.url.clone())).unwrap();
    let second = block_on(async { client.upload(Source::path(&path).await?).send().await }).unwrap();
    assert_ne!(second.url, first.url);
    arrived(&started, &second, LENGTH);
}

pub(crate) fn parts_are_concatenated(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let line = Line::to(started.running.address, Fault::Breaks, 10, 300_000, 4);
    let client = client(line.address).options(eager()).build().unwrap();
    let sent = block_on(async {
        let upload = client.upload(Source::path(&path).await?).parts(4);
        let progress = upload.progress();
        let uploaded = upload.send().await?;
        let progress = progress.borrow().clone();
        Ok((uploaded, progress))
    });
    let (uploaded, progress) = sent.unwrap();
    arrived(&started, &uploaded, LENGTH);
    assert_eq!((progress.uploaded, progress.percent()), (LENGTH, Some(100.0)));
    assert_eq!(started.count(), 5);
}

pub(crate) fn a_stream_of_unknown_length_arrives_completely(server: Server) {
    let started = server.start();
    let line = Line::to(started.running.address, Fault::Breaks, 10, 300_000, 5);
    for length in [0, 1, 1 << 20, LENGTH] {
        let options = eager().chunk_size(Some(1 << 20));
        let client = client(line.address).options(options).build().unwrap();
        let stream = std::io::Cursor::new(bytes(1, 0..length));
        let uploaded = block_on(client.upload(Source::stream(stream)).send()).unwrap();
        arrived(&started, &uploaded, length);
    }
    // It resumes an upload whose length the server knows.
    let mut connection = started.connect();
    let path = connection.create(LENGTH);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..1000)).status, 204);
    let url = format!("http://{}{path}", line.address);
    let client = client(line.address).options(eager()).build().unwrap();
    let stream = std::io::Cursor::new(bytes(1, 0..LENGTH));
    let uploaded = block_on(client.resume(&*url, Source::stream(stream)).send()).unwrap();
    arrived(&started, &uploaded, LENGTH);
    // A stream that is shorter than the stored bytes is a different one.
    let path = connection.create_with(&[("Upload-Defer-Length", "1")]);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..1000)).status, 204);
    let url = format!("http://{}{path}", line.address);
    let short = Source::stream(std::io::Cursor::new(bytes(1, 0..900)));
    let error = block_on(client.resume(&*url, short).send()).unwrap_err();
    assert!(matches!(&error, Error::Source { .. }) && error.to_string().contains("900"), "{error}");
    assert!(!started.upload(&path).unwrap().is_complete());
}

pub(crate) fn a_changed_file_is_an_error(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let client = client(started.running.address).options(eager()).build().unwrap();
    let error = block_on(async {
        let source = Source::path(&path).await?;
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        client.upload(source).send().await
    });
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::Source { problem: SourceProblem::Changed(_), .. }), "{error}");
    let missing = block_on(async { Source::path(path.with_extension("gone")).await }).unwrap_err();
    assert!(matches!(&missing, Error::Source { problem: SourceProblem::Unreadable(_), .. }), "{missing}");
}

pub(crate) fn a_refusal_is_reported_with_its_text(server: Server) {
    let started = server
        .start_with(|builder| builder.authorize(async |_| Err(tus_service::Rejection::forbidden("not on Mondays\n"))));
    let client = client(started.running.address).build().unwrap();
    let error = block_on(client.upload(Source::bytes("hello")).send()).unwrap_err();
    assert_eq!(error.to_string(), "the server answered POST with 403 Forbidden: not on Mondays");

    let started = server.start_with(|builder| builder.config(Config::default().max_size(4)));
    let client = crate::uploads::client(started.running.address).build().unwrap();
    let error = block_on(client.upload(Source::bytes("hello")).send()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { length: 5, limit: 4 }), "{error}");
    for (key, url) in [("", "http://x/"), ("a b", "http://x/"), ("ü", "http://x/")] {
        let error = block_on(Client::new(url).unwrap().upload(Source::bytes("")).metadata(key, "").send()).unwrap_err();
        assert!(matches!(&error, Error::Invalid(why) if why.contains("metadata")), "{error}");
    }
    assert!(matches!(Client::new("ftp://example.org"), Err(Error::Invalid(_))));
}

pub(crate) fn an_upload_can_be_sent_request_by_request(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let options = || eager().chunk_size(Some(1 << 20));
    let direct = client(started.running.address).options(options()).build().unwrap();
    let uploaded = block_on(async {
        let mut uploader = direct.upload(Source::path(&path).await?).begin().await?;
        assert!(uploader.url().is_none());
        for chunk in 1..=5 {
            assert_eq!(uploader.upload_chunk().await?, None);
            assert_eq!((uploader.progress().uploaded, uploader.progress().completed), (chunk << 20, chunk));
            assert!(uploader.url().is_some());
        }
        uploader.upload_chunk().await
    });
    arrived(&started, &uploaded.unwrap().expect("a complete upload"), LENGTH);

    // A request is abandoned in the middle, and the next one resumes.
    let line = Line::to(started.running.address, Fault::FallsSilent, u64::MAX, 1 << 20, 10);
    let client = client(line.address).options(eager()).build().unwrap();
    let uploaded = block_on(async {
        let upload = client.upload(Source::path(&path).await?);
        let mut progress = upload.progress();
        let mut uploader = upload.begin().await?;
        tokio::select! {
            result = uploader.upload_chunk() => panic!("{result:?}"),
            sent = progress.wait_for(|progress| progress.sent > 0) => drop(sent.unwrap()),
        }
        line.mend();
        uploader.upload_chunk().await
    });
    arrived(&started, &uploaded.unwrap().expect("a complete upload"), LENGTH);
    assert_eq!(started.count(), 2, "it is the same upload");
}

pub(crate) fn parts_resume_in_another_process(server: Server) {
    let started = server.start();
    let path = film(&server, LENGTH);
    let urls = server.directory.path().join("urls.json");
    let line = Line::to(started.running.address, Fault::FallsSilent, u64::MAX, 1 << 20, 8);
    let upload = async || {
        let store = JsonFile::new(&urls);
        let client = client(line.address).options(eager()).url_store(store, Fingerprint::Fast).build()?;
        Ok(client.upload(Source::path(&path).await?).parts(3))
    };
    let all_known = || std::fs::read_to_string(&urls).is_ok_and(|urls| urls.matches("/files/").count() == 3);
    block_on(async {
        let upload = upload().await?;
        let mut progress = upload.progress();
        let known = async {
            while !all_known() {
                progress.changed().await.unwrap()
            }
        };
        tokio::select! {
            result = upload.send() => panic!("{result:?}"),
            () = known => Ok(()),
        }
    })
    .unwrap();
    line.mend();
    let uploaded = block_on(async { upload().await?.send().await }).unwrap();
    arrived(&started, &uploaded, LENGTH);
    assert_eq!(started.count(), 4, "they are the same parts");
    assert_eq!(std::fs::read_to_string(&urls).unwrap(), "{}");
}

pub(crate) fn credentials_are_requested_and_renewed(server: Server) {
    let valid = Arc::new(AtomicU64::new(0));
    let checked = valid.clone();
    // Each token is valid for two requests.
    let started = server.start_with(move |builder| {
        builder.authorize(move |cx| {
            let headers = &cx.request.headers;
            let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.parse().ok());
            let uses = checked.fetch_add(1, Ordering::Relaxed);
            assert!(headers.contains_key("x-extra") && headers["x-request-id"].len() == 32);
            let valid = token == Some(uses / 2);
            async move { if valid { Ok(()) } else { Err(tus_service::Rejection::unauthorized("Token")) } }
        })
    });
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (asking, noted) = (asked.clone(), seen.clone());
    let client = client(started.running.address)
        .options(eager().chunk_size(Some(1 << 20)))
        .request_ids(true)
        .credentials(move || {
            asking.fetch_add(1, Ordering::Relaxed);
            // Every third token has just expired.
            let uses = valid.load(Ordering::Relaxed);
            let token = if uses % 3 == 2 { u64::MAX } else { uses / 2 };
            async move { Ok(HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from(token))])) }
        })
        .before_request(|request| {
            request.headers_mut().insert("x-extra", HeaderValue::from_static("yes"));
        })
        .after_response(move |_, response| noted.lock().unwrap().push(response.status().as_u16()))
        .build()
        .unwrap();
    let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send()).unwrap();
    arrived(&started, &uploaded, LENGTH);
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&401), "{seen:?}");
    assert_eq!(asked.load(Ordering::Relaxed), seen.len() as u64, "for each request");
}

pub(crate) fn credentials_are_not_sent_to_other_origins(server: Server) {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/files", elsewhere.local_addr().unwrap());
    let started = server.start_with(move |builder| {
        builder.config(Config::default().location(Location::base(&base).unwrap())).authorize(async |cx| {
            let there = cx.request.headers.get("authorization").is_some_and(|value| value == "Bearer secret");
            if there { Ok(()) } else { Err(tus_service::Rejection::unauthorized("Bearer")) }
        })
    });
    let head = std::thread::spawn(move || {
        let (mut stream, _) = elsewhere.accept().unwrap();
        let mut head = vec![0; 4096];
        let read = std::io::Read::read(&mut stream, &mut head).unwrap();
        String::from_utf8_lossy(&head[..read]).to_lowercase()
    });
    let options = eager().retry(Retry::default().retries(0));
    let client = client(started.running.address).options(options);
    let client = client.header(AUTHORIZATION, HeaderValue::from_static("Bearer secret")).build().unwrap();
    let _ = block_on(client.upload(Source::bytes("hello")).send());
    let head = head.join().unwrap();
    assert!(head.starts_with("patch /files/"), "{head}");
    assert!(!head.contains("authorization") && !head.contains("secret"), "{head}");
}
