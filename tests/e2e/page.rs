//! What the tests of the examples' page share: a browser, files to choose, and what its rows show.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    chromium::{Chromium, Look},
    content::bytes,
    harness::{id, missing},
    proxied::wait_until,
};

/// A script for what the rows of the page show.
pub(crate) const ROWS: &str = "return [...document.querySelectorAll('li.upload')].map((row) => ({ \
    name: row.dataset.name, state: row.dataset.state, url: row.dataset.url, \
    percent: parseInt(row.querySelector('.percent').textContent) || 0, \
    about: row.querySelector('.about').textContent, link: row.querySelector('a').href, \
    buttons: [...row.querySelectorAll('button:not([hidden])')].map((button) => button.className) }))";

/// A film, and a rate at which it takes 16 s: it is not complete before a test does something to its upload, however busy
/// the machine is.
pub(crate) const FILM: (&str, u64) = ("film.mp4", 4 << 20);
pub(crate) const PACE: u64 = 256 << 10;

/// A file that arrives at once.
pub(crate) const NOTES: (&str, u64) = ("notes.pdf", 300);

/// Clears the files that the page has kept, as a browser does that is short of space.
pub(crate) const FORGET_FILES: &str = "const give = arguments[0]; \
    indexedDB.open('uploads to /files').onsuccess = ({ target: { result } }) => { \
        const transaction = result.transaction('files', 'readwrite'); \
        transaction.objectStore('files').clear(); \
        transaction.oncomplete = () => { result.close(); give(null); }; \
    }";

/// Runs a test in a browser, and closes it cleanly.
pub(crate) fn browse(look: Look, test: impl AsyncFnOnce(&Chromium)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(browser) = Chromium::start_as(look).await else {
            missing("chromium and chromedriver are not installed")
        };
        test(&browser).await;
        browser.close().await.unwrap();
    });
}

/// A file to choose.
pub(crate) fn file(directory: &Path, (name, length): (&str, u64)) -> PathBuf {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes(1, 0..length)).unwrap();
    path
}

pub(crate) fn row<'a>(rows: &'a Value, name: &str) -> Option<&'a Value> {
    rows.as_array()?.iter().find(|row| row["name"] == name)
}

/// A row in a state.
pub(crate) fn row_in<'a>(rows: &'a Value, name: &str, state: &str) -> Option<&'a Value> {
    row(rows, name).filter(|row| row["state"] == state)
}

/// The URL of a complete upload.
pub(crate) fn done(rows: &Value, name: &str) -> Option<String> {
    let row = row(rows, name)?;
    assert_ne!(row["state"], "failed", "{row}");
    row["url"].as_str().filter(|_| row["state"] == "done").map(str::to_owned)
}

/// A button of an upload, for a script.
pub(crate) fn button(name: &str, class: &str) -> String {
    format!("document.querySelector('li.upload[data-name=\"{name}\"] button.{class}')")
}

/// The URL of an upload that is on its way.
pub(crate) fn on_its_way(rows: &Value, name: &str) -> Option<String> {
    let film = row_in(rows, name, "uploading")?;
    film["url"].as_str().filter(|_| film["percent"].as_u64().is_some_and(|percent| percent >= 5)).map(str::to_owned)
}

/// What the server has stored of a complete upload, in its directory.
pub(crate) fn stored(directory: &Path, url: &str) -> Vec<u8> {
    std::fs::read(directory.join("uploads").join(id(url).as_str())).unwrap()
}

/// Waits until the browser has kept this many records (`records`) or files (`files`) of uploads. A page that is left before
/// has not.
pub(crate) async fn wait_until_kept(browser: &Chromium, store: &str, number: u64) {
    wait_until_counted(browser, store, "() => true", number).await;
}

/// Waits until the browser has kept the URLs of this many uploads.
pub(crate) async fn wait_until_urls_are_kept(browser: &Chromium, number: u64) {
    wait_until_counted(browser, "records", "({ url }) => url", number).await;
}

async fn wait_until_counted(browser: &Chromium, store: &str, counts: &str, number: u64) {
    let count = format!(
        "const give = arguments[0]; \
        indexedDB.open('uploads to /files').onsuccess = ({{ target: {{ result }} }}) => {{ \
            result.transaction('{store}').objectStore('{store}').getAll().onsuccess = (event) => {{ \
                result.close(); give(event.target.result.filter({counts}).length); }}; }}"
    );
    wait_until(async || browser.run_async(&count).await == number).await;
}

/// Whether a row is in a state.
pub(crate) fn is_in<'a>(name: &'a str, state: &'a str) -> impl Fn(&Value) -> Option<()> + 'a {
    move |rows| row_in(rows, name, state).map(drop)
}
