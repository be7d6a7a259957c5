//! Uploads that are gone, and keys that identify one upload.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tus_reqwest::{Entry, Fingerprint, MemoryStore, Source, UrlStore};

use crate::{
    bytes, client, plain,
    server::{answer, tus, tus_but},
};

/// A store that a test can inspect.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub(crate) Arc<MemoryStore>);

impl UrlStore for Shared {
    fn get(&self, key: &str) -> std::io::Result<Option<Entry>> {
        self.0.get(key)
    }

    fn set(&self, key: &str, entry: &Entry) -> std::io::Result<()> {
        self.0.set(key, entry)
    }

    fn remove(&self, key: &str) -> std::io::Result<()> {
        self.0.remove(key)
    }

    fn list(&self) -> std::io::Result<Vec<(String, Entry)>> {
        self.0.list()
    }
}

#[tokio::test]
async fn a_stored_url_that_is_gone_is_replaced() {
    for status in [404, 410] {
        let (tus, server) = tus_but(move |request| (request.path == "/files/old").then(|| answer(status, &[])));
        let store = Shared::default();
        store.set("key", &Entry::new(server.url("/files/old"))).unwrap();
        let client = client(&server).url_store(store.clone(), Fingerprint::Content).build().unwrap();
        let upload = || client.upload(Source::bytes("hello")).key("key");
        upload().stop_at(2).send().await.unwrap();
        assert_eq!(store.get("key").unwrap().unwrap().url, server.url("/files/1"), "{status}");
        upload().send().await.unwrap();
        assert_eq!(tus.only(), b"hello");
        assert!(store.list().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_rejection_of_the_caller_keeps_the_stored_url() {
    for status in [400, 401, 403] {
        let rejects = Arc::new(AtomicBool::new(false));
        let rejecting = rejects.clone();
        let (tus, server) = tus_but(move |_| rejecting.load(Ordering::Relaxed).then(|| answer(status, &[])));
        let store = Shared::default();
        let client = client(&server).url_store(store.clone(), Fingerprint::Content).build().unwrap();
        let upload = || client.upload(Source::bytes("hello")).key("rejected");
        upload().stop_at(2).send().await.unwrap();
        // A token has expired, and is renewed later.
        rejects.store(true, Ordering::Relaxed);
        assert_eq!(upload().send().await.unwrap_err().status().unwrap(), status);
        assert_eq!(store.get("rejected").unwrap().unwrap().url, server.url("/files/1"), "{status}");
        rejects.store(false, Ordering::Relaxed);
        upload().send().await.unwrap();
        assert_eq!(tus.only(), b"hello");
    }
}

#[tokio::test]
async fn a_stored_url_stays_until_another_one_replaces_it() {
    let full = Arc::new(AtomicBool::new(true));
    let refusing = full.clone();
    let (_, server) = tus_but(move |request| {
        let refuses = request.method == "POST" && refusing.load(Ordering::Relaxed);
        refuses.then(|| answer(400, &[]))
    });
    let store = Shared::default();
    store.set("replaced", &Entry::new(server.url("/files/old"))).unwrap();
    let client = client(&server).url_store(store.clone(), Fingerprint::Content).build().unwrap();
    let upload = || client.upload(Source::bytes("hello")).key("replaced");
    assert_eq!(upload().send().await.unwrap_err().status().unwrap(), 400);
    assert_eq!(server.lines(), ["HEAD /files/old", "POST /files"]);
    assert_eq!(store.get("replaced").unwrap().unwrap().url, server.url("/files/old"));
    full.store(false, Ordering::Relaxed);
    upload().stop_at(2).send().await.unwrap();
    assert_eq!(store.get("replaced").unwrap().unwrap().url, server.url("/files/1"));
}

#[tokio::test]
async fn the_entry_of_an_upload_that_is_gone_for_good_is_removed() {
    let (tus, server) = tus();
    let store = Shared::default();
    let client = client(&server).options(plain().chunk_size(Some(2)));
    let client = client.url_store(store.clone(), Fingerprint::Content).build().unwrap();
    // A stream that was read cannot begin again.
    let upload = client.upload(Source::stream(&b"hello"[..])).key("gone for good").on_progress(move |progress| {
        if progress.uploaded == 2 {
            tus.uploads().clear();
        }
    });
    assert!(upload.send().await.unwrap_err().is_gone());
    assert!(store.list().unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_is_gone_starts_again_and_so_does_its_progress() {
    let (tus, server) = tus_but(|_| None);
    let vanished = Arc::new(AtomicBool::new(false));
    let (removing, uploads) = (vanished.clone(), tus.clone());
    let client = client(&server).options(plain().chunk_size(Some(100))).build().unwrap();
    let upload = client.upload(Source::bytes(bytes(300)));
    let urls = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = urls.clone();
    let upload = upload.on_url(move |url| noted.lock().unwrap().push(url.path().to_owned()));
    let begun_again = Arc::new(AtomicBool::new(false));
    let began = begun_again.clone();
    let upload = upload.on_progress(move |progress| {
        if removing.load(Ordering::Relaxed) && progress.uploaded == 0 {
            began.store(true, Ordering::Relaxed);
        }
        assert!(progress.sent <= 300 && progress.uploaded <= progress.sent, "{progress:?}");
        if progress.uploaded == 200 && !removing.swap(true, Ordering::Relaxed) {
            // Its id stays in use.
            let mut uploads = uploads.uploads();
            uploads.clear();
            uploads.insert("/files/other".into(), Default::default());
        }
    });
    let progress = upload.progress();
    let uploaded = upload.send().await.unwrap();
    assert!(vanished.load(Ordering::Relaxed) && begun_again.load(Ordering::Relaxed));
    assert_eq!(*urls.lock().unwrap(), ["/files/1", "/files/2"]);
    assert_eq!(tus.uploads()[uploaded.url.path()].content, bytes(300));
    assert_eq!((progress.borrow().uploaded, progress.borrow().sent), (300, 300));
}

#[tokio::test]
async fn equal_bytes_with_different_metadata_are_different_uploads() {
    let (tus, server) = tus();
    let client = client(&server).url_store(MemoryStore::default(), Fingerprint::Content).build().unwrap();
    let upload = |kind: &str| client.upload(Source::bytes("hello")).metadata("kind", kind.to_owned()).stop_at(2).send();
    let (one, other) = (upload("a").await.unwrap().url, upload("b").await.unwrap().url);
    assert_ne!(one, other);
    assert_eq!((upload("a").await.unwrap().url, upload("b").await.unwrap().url), (one, other));
    assert_eq!(tus.uploads().len(), 2);
    let unfinished = client.unfinished().await.unwrap();
    let kinds = unfinished.iter().map(|(_, entry)| entry.read_metadata().text("kind").unwrap().to_owned());
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort();
    assert_eq!(kinds, ["a", "b"]);
    assert!(unfinished.iter().all(|(_, entry)| entry.length == Some(5) && entry.created.is_some()));
    client.forget(&unfinished[0].0).await;
    assert_eq!(client.unfinished().await.unwrap().len(), 1);
    // Another path of the same server.
    let elsewhere = tus_reqwest::Client::builder(&server.url("/files/2/")).options(plain());
    let store = MemoryStore::default();
    let elsewhere = elsewhere.url_store(store, Fingerprint::Content).build().unwrap();
    elsewhere.upload(Source::bytes("hello")).stop_at(2).send().await.unwrap();
    assert!(elsewhere.unfinished().await.unwrap()[0].0.contains("/files/2/"));
}

#[tokio::test]
async fn the_caller_chooses_the_key_and_keeps_the_entry() {
    let (tus, server) = tus();
    let store = Shared::default();
    // Signed URLs differ each time.
    let signed = |signature: &str| {
        let url = server.url(&format!("/files?signature={signature}"));
        let client = tus_reqwest::Client::builder(&url).options(plain());
        client.url_store(store.clone(), Fingerprint::Content).build().unwrap()
    };
    signed("a").upload(Source::bytes("hello")).key("film 7").stop_at(2).send().await.unwrap();
    signed("b").upload(Source::bytes("hello")).key("film 7").keep_entry(true).send().await.unwrap();
    assert_eq!(tus.only(), b"hello");
    assert_eq!(store.list().unwrap().len(), 1, "it is kept");
    let before = server.requests().len();
    signed("c").upload(Source::bytes("hello")).key("film 7").send().await.unwrap();
    assert_eq!(server.lines()[before..], ["HEAD /files/1"], "it is found complete");
    assert!(store.list().unwrap().is_empty());
    let fresh = signed("d").upload(Source::bytes("hello")).key("film 7").fresh(true).send().await.unwrap();
    assert_eq!(fresh.url.path(), "/files/2");
}

#[tokio::test]
async fn two_uploads_with_one_key_do_not_interfere() {
    let (tus, server) = tus();
    let client = client(&server).options(plain().chunk_size(Some(10)));
    let client = client.url_store(MemoryStore::default(), Fingerprint::Content).build().unwrap();
    let mut first = client.upload(Source::bytes(bytes(100))).begin().await.unwrap();
    first.upload_chunk().await.unwrap();
    let second = client.upload(Source::bytes(bytes(100))).send().await.unwrap();
    while first.upload_chunk().await.unwrap().is_none() {}
    assert_ne!(Some(&second.url), first.url());
    assert!(tus.uploads().values().all(|stored| stored.content == bytes(100)));
    assert_eq!(tus.uploads().len(), 2);
}

#[tokio::test]
async fn abort_deletes_the_upload() {
    let (tus, server) = tus();
    let client = client(&server).options(plain().chunk_size(Some(10)));
    let client = client.url_store(MemoryStore::default(), Fingerprint::Content).build().unwrap();
    let mut uploader = client.upload(Source::bytes(bytes(100))).begin().await.unwrap();
    uploader.upload_chunk().await.unwrap();
    uploader.abort().await.unwrap();
    assert!(tus.uploads().is_empty() && client.unfinished().await.unwrap().is_empty());
    client.upload(Source::bytes("hello")).begin().await.unwrap().abort().await.unwrap();
}

#[tokio::test]
async fn an_upload_that_began_again_continues_after_an_error() {
    let forbids = Arc::new(AtomicBool::new(false));
    let forbidding = forbids.clone();
    let (tus, server) = tus_but(move |_| forbidding.load(Ordering::Relaxed).then(|| answer(403, &[])));
    let store = Shared::default();
    let client = client(&server).options(plain().chunk_size(Some(10)));
    let client = client.url_store(store.clone(), Fingerprint::Content).build().unwrap();
    let mut uploader = client.upload(Source::bytes(bytes(30))).key("began again").begin().await.unwrap();
    uploader.upload_chunk().await.unwrap();
    tus.uploads().clear();
    uploader.upload_chunk().await.unwrap();
    assert_eq!(uploader.url().unwrap().path(), "/files/2");
    forbids.store(true, Ordering::Relaxed);
    assert_eq!(uploader.upload_chunk().await.unwrap_err().status().unwrap(), 403);
    forbids.store(false, Ordering::Relaxed);
    uploader.upload_chunk().await.unwrap();
    // It was not resumed: its first bytes were sent by this one.
    assert_eq!((uploader.progress().uploaded, uploader.progress().resumed), (20, 0));
    assert_eq!(store.get("began again").unwrap().unwrap().url, server.url("/files/2"));
    while uploader.upload_chunk().await.unwrap().is_none() {}
    assert_eq!(tus.only(), bytes(30));
}

#[tokio::test]
async fn the_entry_of_another_process_stays() {
    let (_, server) = tus();
    let store = Shared::default();
    let client = client(&server).options(plain().chunk_size(Some(10)));
    let client = client.url_store(store.clone(), Fingerprint::Content).build().unwrap();
    let send = async |parts: u32| {
        let (other, url) = (store.clone(), server.url("/files/theirs"));
        let upload = client.upload(Source::bytes(bytes(30))).parts(parts);
        let upload = upload.on_progress(move |_| {
            // The other process has begun later.
            for (key, _) in other.list().unwrap() {
                other.set(&key, &Entry::new(&*url)).unwrap();
            }
        });
        upload.send().await.unwrap();
        let left = store.list().unwrap();
        assert!(!left.is_empty() && left.iter().all(|(_, entry)| entry.url == server.url("/files/theirs")), "{left:?}");
        left.iter().for_each(|(key, _)| store.remove(key).unwrap());
    };
    send(1).await;
    send(2).await;
}
