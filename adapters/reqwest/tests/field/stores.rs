//! The store never blocks an upload, unless it is required.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tus_reqwest::{Client, Entry, Error, Fingerprint, JsonFile, Source, UrlStore};

use crate::{
    client,
    server::{Server, tus},
};

/// Places where a store of this format cannot be.
fn odd_places(directory: &TempDir) -> Vec<PathBuf> {
    let at = |name: &str| directory.path().join(name);
    let contents = [("empty", ""), ("broken", "{\"a\": "), ("foreign", "my diary"), ("list", "[]"), ("file", "")];
    contents.iter().for_each(|(name, content)| std::fs::write(at(name), content).unwrap());
    std::fs::create_dir(at("directory")).unwrap();
    vec![
        at("missing/urls.json"),
        at("file/urls.json"),
        at("directory"),
        at("empty"),
        at("broken"),
        at("foreign"),
        at("list"),
    ]
}

fn over(server: &Server, path: &PathBuf, required: bool) -> Client {
    client(server).url_store(JsonFile::new(path), Fingerprint::Content).store_required(required).build().unwrap()
}

#[tokio::test]
async fn an_upload_continues_if_the_store_fails() {
    let directory = TempDir::new().unwrap();
    for place in odd_places(&directory) {
        let (tus, server) = tus();
        over(&server, &place, false).upload(Source::bytes("hello")).send().await.unwrap();
        assert_eq!(tus.only(), b"hello", "{place:?}");
    }
}

#[tokio::test]
async fn a_failing_required_store_is_reported_before_the_creation() {
    let directory = TempDir::new().unwrap();
    for place in odd_places(&directory) {
        let (tus, server) = tus();
        let error = over(&server, &place, true).upload(Source::bytes("hello")).send().await.unwrap_err();
        assert!(matches!(error, Error::Local(_)), "{error}");
        let text = error.with_causes();
        assert!(text.contains(&*place.display().to_string()), "{text}");
        assert!(tus.uploads().is_empty() && server.requests().is_empty(), "{place:?}");
    }
    let (tus, server) = tus();
    let place = directory.path().join("urls.json");
    over(&server, &place, true).upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(tus.only(), b"hello");
}

/// A store that another process has locked forever.
struct Locked;

impl UrlStore for Locked {
    fn get(&self, _: &str) -> std::io::Result<Option<Entry>> {
        std::thread::sleep(Duration::from_secs(3));
        Ok(None)
    }

    fn set(&self, _: &str, _: &Entry) -> std::io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }

    fn list(&self) -> std::io::Result<Vec<(String, Entry)>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_store_that_blocks_does_not_block_the_others() {
    let (_, server) = tus();
    let client = client(&server).url_store(Locked, Fingerprint::Content).build().unwrap();
    let other = tokio::spawn(async { 7 });
    // This runtime has one thread.
    tokio::select! {
        biased;
        sent = client.upload(Source::bytes("hello")).send() => panic!("{sent:?}"),
        seven = other => assert_eq!(seven.unwrap(), 7),
    }
}
