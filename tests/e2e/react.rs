//! The page made with React and Uppy, in a real browser.

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    chromium::Chromium,
    content::{assert_same, bytes},
    example::Example,
    harness::{id, missing},
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
