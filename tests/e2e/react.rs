//! The page made with React and Uppy, in a real browser.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tus_reqwest::{Client, Source};

use crate::{
    chromium::Chromium,
    content::{assert_same, bytes},
    example::Example,
    harness::{block_on, id, missing},
    log,
};

const LENGTH: u64 = (3 << 20) + 1;

#[test]
#[cfg_attr(
    not(all(has_chromium, has_react)),
    ignore = "chromium or chromedriver is missing, or TUS_TEST_OTHERS names no directory with the built page"
)]
fn uppy_uploads_a_file() {
    let page = std::env::var("TUS_TEST_OTHERS").unwrap_or_default() + "/react/dist";
    if !std::path::Path::new(&page).exists() {
        missing("TUS_TEST_OTHERS names no directory with the built page");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        match Chromium::start().await {
            Some(browser) => uploads(&page, browser).await,
            None => missing("chromium and chromedriver are not installed"),
        }
    });
}

/// `npm run dev`, without npm, which would leave it running. It is killed when this is dropped.
struct Vite {
    process: Child,
    address: SocketAddr,
}

impl Vite {
    fn start(server: SocketAddr) -> Self {
        let directory = std::env::var("TUS_TEST_OTHERS").unwrap_or_default() + "/react";
        let mut process = Command::new("node")
            .args(["node_modules/vite/bin/vite.js", "--host", "127.0.0.1"])
            .env("TUS_ADDR", server.to_string())
            .env("NO_COLOR", "1")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It takes the first port that is free.
        let lines = log::read(process.stdout.take().unwrap());
        let address = lines.find(|line| line.split_once("Local:   http://")?.1.trim_end_matches('/').parse().ok());
        Self { process, address }
    }
}

impl Drop for Vite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[cfg_attr(not(has_react), ignore = "TUS_TEST_OTHERS names no directory with the built page")]
fn the_development_server_passes_uploads_on() {
    let directory = TempDir::new().unwrap();
    let server = Example::start("react", directory.path(), &[]);
    let vite = Vite::start(server.address);
    let client = Client::new(&format!("http://{}/files", vite.address)).unwrap();
    let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send()).unwrap();
    assert_eq!(uploaded.url.port(), Some(vite.address.port()));
    let stored = std::fs::read(directory.path().join("uploads").join(id(uploaded.url.path()).as_str())).unwrap();
    assert_same(&stored, &bytes(1, 0..LENGTH));
}

async fn uploads(page: &str, browser: Chromium) {
    let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let film = chosen.path().join("film.mp4");
    std::fs::write(&film, bytes(1, 0..LENGTH)).unwrap();
    let server = Example::start("react", directory.path(), &[("TUS_PAGE", page)]);

    browser.open(&format!("http://{}/", server.address)).await;
    let there = |value: &Value| value.as_bool().filter(|there| *there).map(drop);
    let input = ".uppy-Dashboard-input";
    browser.wait_for(&format!("return document.querySelector('{input}') !== null"), there).await;
    browser.choose(input, &[&film]).await;
    let button = "document.querySelector('.uppy-StatusBar-actionBtn--upload')";
    browser.wait_for(&format!("return {button} !== null"), there).await;
    browser.click(button).await;
    let row = "const row = document.querySelector('li[data-url]'); return row && [row.dataset.url, row.textContent]";
    let listed = |row: &Value| Some((row[0].as_str()?.to_owned(), row[1].as_str()?.to_owned()));
    let (url, name) = browser.wait_for(row, listed).await;
    assert_eq!(name, "film.mp4");
    let stored = std::fs::read(directory.path().join("uploads").join(id(&url).as_str())).unwrap();
    assert_same(&stored, &bytes(1, 0..LENGTH));
    assert_eq!(browser.errors().await, Value::Array(Vec::new()));
    browser.close().await.unwrap();
}
