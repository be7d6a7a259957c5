//! A few workers process a queue of parts.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{Client, Entry, Error, Fingerprint, MemoryStore, Metadata, Options, Source, UrlStore};

use crate::{
    bytes, client, plain,
    server::{Reply, Server, Tus, answer, tus, tus_but},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parts_are_sent_a_few_at_a_time() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, max) = (running.clone(), most.clone());
    let tus = Tus::default();
    let behind = tus.clone();
    let server = Server::start(move |request| {
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
async fn each_part_has_its_own_connection() {
    let all = Barrier::new(4);
    let (_, server) = tus_but(move |request| {
        // None is answered before all of them have arrived.
        if request.method == "PATCH" {
            all.wait();
        }
        None
    });
    let client = client(&server).build().unwrap();
    client.upload(Source::bytes(bytes(1000))).parts(4).send().await.unwrap();
    let patches = server.requests().into_iter().filter(|request| request.method == "PATCH");
    let used: HashSet<_> = patches.map(|request| request.connection).collect();
    assert_eq!(used.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_costs_all_idle_connections() {
    let (all, waiting) = (Barrier::new(4), AtomicUsize::new(0));
    let dead = Arc::new(AtomicUsize::new(0));
    let dying = dead.clone();
    let (_, server) = tus_but(move |request| {
        if request.connection < dying.load(Ordering::Relaxed) {
            return Some(Reply::Nothing);
        }
        // Four connections at once.
        if request.method == "PATCH" && waiting.fetch_add(1, Ordering::Relaxed) < 4 {
            all.wait();
        }
        None
    });
    let client = client(&server).timeout(Duration::from_secs(10)).build().unwrap();
    client.upload(Source::bytes(bytes(1000))).parts(4).send().await.unwrap();
    // The network has changed: nothing comes over the old connections any more.
    dead.store(server.connections(), Ordering::Relaxed);
    let waits = Arc::new(AtomicUsize::new(0));
    let counted = waits.clone();
    let upload = client.upload(Source::bytes("hello")).on_wait(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    upload.send().await.unwrap();
    assert_eq!(waits.load(Ordering::Relaxed), 1, "{} connections", server.connections());
}

/// `Tus-Max-Size` is "the maximum allowed size of an entire upload in bytes" (tus 1.0.0).
#[tokio::test]
async fn parts_of_an_upload_that_is_too_large_are_not_sent() {
    let (_, server) = tus_but(|request| {
        let announced = [("Tus-Version", "1.0.0"), ("Tus-Extension", "creation,concatenation"), ("Tus-Max-Size", "99")];
        (request.method == "OPTIONS").then(|| answer(204, &announced))
    });
    for options in [plain(), plain().protocol(None)] {
        let client = client(&server).options(options).build().unwrap();
        let before = server.requests().len();
        let error = client.upload(Source::bytes(bytes(100))).parts(4).send().await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { length: 100, limit: 99 }), "{error:?}");
        assert_eq!(server.lines()[before..], ["OPTIONS /files"]);
        client.upload(Source::bytes(bytes(99))).parts(4).send().await.unwrap();
    }
}

#[tokio::test]
async fn the_caller_chooses_boundaries_metadata_and_removal() {
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
    let before = server.requests().len();
    let stops = client.upload(Source::bytes(bytes(100))).parts(2).stop_at(10).send().await;
    assert!(matches!(stops, Err(Error::Invalid(_))), "{stops:?}");
    assert_eq!(server.requests().len(), before);
}

#[tokio::test]
async fn a_kept_entry_finds_the_finished_upload() {
    let (tus, server) = tus();
    let client = client(&server).url_store(MemoryStore::default(), Fingerprint::Content).build().unwrap();
    let upload = |keep: bool| client.upload(Source::bytes(bytes(100))).parts(2).keep_entry(keep);
    let first = upload(true).send().await.unwrap();
    let before = server.requests().len();
    for keep in [true, false] {
        let again = upload(keep);
        let progress = again.progress();
        let again = again.send().await.unwrap();
        assert_eq!((&again.url, again.length, again.complete), (&first.url, Some(100), true));
        assert_eq!(progress.borrow().uploaded, 100);
    }
    assert!(server.lines()[before..].iter().all(|line| line.starts_with("HEAD")), "{:?}", server.lines());
    assert!(client.unfinished().await.unwrap().is_empty());
    // One that is gone, or not complete, is sent in parts.
    upload(true).send().await.unwrap();
    tus.uploads().clear();
    upload(false).send().await.unwrap();
    client.upload(Source::bytes(bytes(100))).stop_at(10).send().await.unwrap();
    let before = server.count("PATCH");
    upload(false).send().await.unwrap();
    assert_eq!(server.count("PATCH") - before, 2);
    // So is one whose entry is damaged.
    let store = MemoryStore::default();
    store.set("damaged", &Entry::new("mailto:films@example.org")).unwrap();
    let client = crate::client(&server).url_store(store, Fingerprint::Content).build().unwrap();
    client.upload(Source::bytes(bytes(100))).parts(2).key("damaged").send().await.unwrap();
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

/// A server that loses its first response to a concatenation. `keeps`: whether it keeps the parts.
fn forgetful(keeps: bool) -> (Tus, Server) {
    let tus = Tus::default();
    let (behind, first) = (tus.clone(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let reply = behind.answer(request);
        let is_final = request.header("upload-concat").is_some_and(|concat| concat.starts_with("final"));
        if !is_final || first.fetch_add(1, Ordering::Relaxed) > 0 {
            return reply;
        }
        if !keeps {
            behind.uploads().retain(|_, stored| stored.concat.as_deref() != Some("partial"));
        }
        Reply::Close
    });
    (tus, server)
}

#[tokio::test]
async fn parts_are_concatenated_again_after_a_lost_response() {
    let (tus, server) = forgetful(true);
    let client = client(&server).build().unwrap();
    let uploaded = client.upload(Source::bytes(bytes(100))).parts(2).send().await.unwrap();
    assert_eq!(tus.uploads()[uploaded.url.path()].content, bytes(100));
    assert_eq!(server.count("PATCH"), 2, "nothing is sent twice");
    // Nobody knows the URL of the first one.
    assert_eq!(tus.uploads().len(), 4);
}

#[tokio::test]
async fn parts_missing_after_a_lost_response_are_an_error() {
    let (tus, server) = forgetful(false);
    let client = client(&server).url_store(MemoryStore::default(), Fingerprint::Content).build().unwrap();
    let upload = || client.upload(Source::bytes(bytes(100))).parts(2).send();
    let error = upload().await.unwrap_err();
    assert!(matches!(error, Error::Unlocated), "{error:?}");
    assert_eq!(server.count("PATCH"), 2, "nothing was sent again in secret");
    let uploaded = upload().await.unwrap();
    assert_eq!(tus.uploads()[uploaded.url.path()].content, bytes(100));
    assert!(client.unfinished().await.unwrap().is_empty());
}

/// Sends parts of the file in the environment to the endpoint there. The test below runs this in a separate process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of another test"]
async fn send_a_thousand_parts() {
    let client = Client::builder(&std::env::var("TUS_TO").unwrap()).options(Options::default()).build().unwrap();
    let film = Source::path(std::env::var("TUS_FILM").unwrap()).await.unwrap();
    client.upload(film).parts(1000).send().await.unwrap();
}

/// The memory in KiB that a client uses for a file in a thousand parts, including the program itself, the system's
/// certificates and the runtime. The file has 128 MiB.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_parts_need_little_memory() {
    const LENGTH: u64 = 128 << 20;
    const MOST: u64 = 48 * 1024;
    let peak = Arc::new(AtomicU64::new(0));
    let (client, seen) = (Arc::new(AtomicU64::new(0)), peak.clone());
    let (process, parts) = (client.clone(), AtomicUsize::new(0));
    let lengths = Mutex::new(HashMap::new());
    let server = Server::start(move |request| match &*request.method {
        "OPTIONS" => answer(204, &[("Tus-Version", "1.0.0"), ("Tus-Extension", "creation,checksum,concatenation")]),
        "POST" if request.header("upload-concat").is_some_and(|concat| concat.starts_with("final")) => {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.load(Ordering::Relaxed))).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            seen.store(line.trim().trim_end_matches(" kB").parse().unwrap(), Ordering::Relaxed);
            answer(201, &[("Location", "/files/final")])
        }
        "POST" => {
            let path = format!("/files/{}", parts.fetch_add(1, Ordering::Relaxed));
            lengths.lock().unwrap().insert(path.clone(), request.header("upload-length").unwrap().to_owned());
            answer(201, &[("Location", &path)])
        }
        "PATCH" => answer(204, &[("Upload-Offset", &lengths.lock().unwrap()[&request.path])]),
        _ => answer(200, &[("Upload-Offset", &LENGTH.to_string()), ("Upload-Length", &LENGTH.to_string())]),
    });
    let film = tempfile::NamedTempFile::new().unwrap();
    film.as_file().set_len(LENGTH).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parts::send_a_thousand_parts", "--ignored"])
        .envs([("TUS_TO", server.url("/files")), ("TUS_FILM", film.path().display().to_string())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    client.store(child.id().into(), Ordering::Relaxed);
    assert!(child.wait().unwrap().success());
    let peak = peak.load(Ordering::Relaxed);
    eprintln!("{peak} KiB");
    assert!(peak > 0 && peak < MOST, "{peak} KiB");
}
