//! The page of the examples in a real browser, over a directory and over a bucket: uploads are paused, the server
//! is killed, the page is reloaded, and every file arrives unchanged.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    buckets::Foreign,
    chromium::{Chromium, Look},
    client::Connection,
    content::{assert_same, bytes},
    example::Example,
    harness::{free_address, id},
    page::{ROWS, browse, button, done, file, row, stored},
};

/// The large file, which takes some seconds at this rate.
const FILM: (&str, u64) = ("film.mp4", 24 << 20);
const PACE: u64 = 2 << 20;

/// Files that arrive in the meantime.
const OTHERS: [(&str, u64); 2] = [("nothing.txt", 0), ("größer 日本 & <b>.bin", (2 << 20) + 3)];

/// Where uploads are kept.
enum Place {
    Directory(TempDir),
    /// A prefix of the bucket in moto.
    Bucket(Foreign, &'static str),
}

impl Place {
    fn start(&self, example: &str, address: &str) -> Example {
        match self {
            Self::Directory(directory) => Example::start_at(example, address, directory.path(), &[]),
            Self::Bucket(moto, prefix) => {
                let variables = moto.variables(prefix);
                let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let variables = [&variables[..], &[("TUS_DOWNLOAD", "on")]].concat();
                Example::start_at(example, address, Path::new("none"), &variables)
            }
        }
    }

    /// The bytes of a finished upload.
    fn content(&self, server: &Example, url: &str) -> Vec<u8> {
        match self {
            Self::Directory(directory) => stored(directory.path(), url),
            Self::Bucket(..) => {
                let path = format!("/files/{}", id(url));
                let response = Connection::open(server.address).request("GET", &path, &[], b"");
                assert_eq!(response.status, 200);
                response.body
            }
        }
    }

    /// How many uploads there are.
    fn count(&self) -> usize {
        match self {
            Self::Directory(directory) => std::fs::read_dir(directory.path().join("uploads")).unwrap().count(),
            Self::Bucket(moto, prefix) => moto.names(&format!("{prefix}/.tus/u/")),
        }
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_of_axum() {
    the_page_of("axum");
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_of_actix_web() {
    the_page_of("actix_web");
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_of_warp() {
    the_page_of("warp");
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_of_hyper() {
    the_page_of("hyper");
}

#[test]
#[cfg_attr(
    not(all(has_chromium, has_python)),
    ignore = "chromium and chromedriver are not installed, or TUS_TEST_OTHERS names no directory with a Python environment"
)]
fn the_page_of_each_example_over_a_bucket() {
    for example in ["axum", "actix_web", "warp"] {
        the_page_over(example, &Place::Bucket(Foreign::moto(), example));
    }
}

fn the_page_of(example: &str) {
    the_page_over(example, &Place::Directory(TempDir::new().unwrap()));
}

fn the_page_over(example: &str, place: &Place) {
    browse(Look::DESKTOP, async |browser| uploads_despite_interruptions(example, place, browser).await);
}

async fn uploads_despite_interruptions(example: &str, place: &Place, browser: &Chromium) {
    let chosen = TempDir::new().unwrap();
    let film = file(chosen.path(), FILM);
    let others = OTHERS.map(|other| file(chosen.path(), other));
    let server = place.start(example, &free_address().to_string());
    let address = server.address.to_string();
    let page = format!("http://{address}/");

    browser.open(&page).await;
    browser.throttle(PACE).await;
    browser.choose("#choose", &[&others[0], &others[1], &film]).await;

    // The server is killed and restarted.
    let url = browser.wait_for(ROWS, |rows| reached(rows, 10)).await;
    server.kill();
    browser.wait_for(ROWS, |rows| row(rows, FILM.0).filter(|film| film["state"] == "retrying").map(drop)).await;
    let server = place.start(example, &address);
    browser.wait_for(ROWS, |rows| reached(rows, 30)).await;

    // The upload is paused and resumed.
    browser.click(&button(FILM.0, "pause")).await;
    let paused = |rows: &Value| row(rows, FILM.0).filter(|film| film["state"] == "paused")?["percent"].as_u64();
    let percent = browser.wait_for(ROWS, paused).await;
    assert!((30..100).contains(&percent), "paused in the middle: {percent} %");
    // The rest is not complete before the page is reloaded, however busy the machine is.
    browser.throttle(PACE / 4).await;
    browser.click(&button(FILM.0, "resume")).await;
    for (name, length) in OTHERS {
        let url = browser.wait_for(ROWS, |rows| done(rows, name)).await;
        assert_same(&place.content(&server, &url), &bytes(1, 0..length));
    }

    // The page is reloaded. It knows the upload and still has the file.
    browser.wait_for(ROWS, |rows| reached(rows, 60)).await;
    assert_eq!(browser.errors().await, Value::Array(Vec::new()));
    browser.open(&page).await;
    let again = browser.wait_for(ROWS, |rows| reached(rows, 60)).await;
    assert_eq!(again, url, "it is the same upload");
    let url = browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await;
    assert_same(&place.content(&server, &url), &bytes(1, 0..FILM.1));
    assert_eq!(browser.errors().await, Value::Array(Vec::new()));
    assert_eq!(place.count(), 1 + OTHERS.len(), "no upload was started again");
}

/// The URL of the film, once this percentage of it has arrived, but not all.
fn reached(rows: &Value, percent: u64) -> Option<String> {
    let film = row(rows, FILM.0)?;
    assert_ne!(film["state"], "done", "the upload finished too early");
    assert_ne!(film["state"], "missing", "the page has not kept the file");
    let there = film["state"] == "uploading" && film["percent"].as_u64()? >= percent;
    film["url"].as_str().filter(|_| there).map(str::to_owned)
}
