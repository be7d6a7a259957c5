//! What the page of the examples does when something is amiss: files of the same name, changed files, requests that come
//! twice.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chromium::{Chromium, Look},
    content::{assert_same, bytes},
    example::Example,
    page::{FILM, FORGET_FILES, PACE, ROWS, browse, button, done, file, is_in, on_its_way, row_in, stored},
};

/// A server with the page, and files to choose from.
struct Site {
    chosen: TempDir,
    directory: TempDir,
    server: Example,
}

impl Site {
    fn start() -> Self {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        Self { chosen, directory, server }
    }

    async fn open(&self, browser: &Chromium) {
        browser.open(&self.page()).await;
    }

    fn page(&self) -> String {
        format!("http://{}/", self.server.address)
    }

    /// The page loses the files of these uploads when they are on their way. Returns their URLs.
    async fn lose_files(&self, browser: &Chromium, paths: &[&str]) -> Vec<String> {
        let mut urls = Vec::new();
        for path in paths {
            urls.push(browser.wait_for(ROWS, |rows| on_its_way(rows, path)).await);
        }
        browser.run_async(FORGET_FILES).await;
        self.open(browser).await;
        for path in paths {
            browser.wait_for(ROWS, is_in(path, "missing")).await;
        }
        urls
    }

    #[track_caller]
    fn assert_stored(&self, url: &str, seed: u64) {
        assert_same(&stored(self.directory.path(), url), &bytes(seed, 0..FILM.1));
    }
}

async fn notice(browser: &Chromium) -> Value {
    browser.run("return document.querySelector('#notice').textContent").await
}

fn set_modified(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

const FIRST: &str = "first/film.mp4";
const SECOND: &str = "second/film.mp4";

/// Two files of the same name, size and time in two folders.
fn alike(directory: &Path) -> [PathBuf; 2] {
    let first = file(directory, (FIRST, FILM.1));
    let second = directory.join(SECOND);
    std::fs::create_dir(second.parent().unwrap()).unwrap();
    std::fs::write(&second, bytes(2, 0..FILM.1)).unwrap();
    set_modified(&first);
    set_modified(&second);
    [first, second]
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_file_of_the_same_name_in_another_folder_is_another_upload() {
    browse(Look::DESKTOP, async |browser| {
        let site = Site::start();
        let [first, second] = alike(site.chosen.path());
        site.open(browser).await;
        browser.throttle(PACE).await;
        browser.choose("#choose-in-folder", &[first.parent().unwrap()]).await;
        let url = site.lose_files(browser, &[FIRST]).await.remove(0);

        // Neither the other folder nor the file by itself resumes it.
        browser.set_offline(false).await;
        browser.choose("#choose-in-folder", &[second.parent().unwrap()]).await;
        let other = browser.wait_for(ROWS, |rows| done(rows, SECOND)).await;
        site.assert_stored(&other, 2);
        browser.choose("#choose", &[&second]).await;
        let alone = browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await;
        assert!(url != other && url != alone && other != alone, "{url} {other} {alone}");
        assert!(row_in(&browser.run(ROWS).await, FIRST, "missing").is_some());
        assert_eq!(
            notice(browser).await,
            "film.mp4 will be uploaded as a new file. If it is first/film.mp4, cancel it and use “Choose file” there."
        );

        // Its own folder does, and so does the file if it is chosen for this upload.
        browser.throttle(PACE).await;
        browser.choose("#choose-in-folder", &[first.parent().unwrap()]).await;
        assert_eq!(site.lose_files(browser, &[FIRST]).await, [&*url]);
        browser.set_offline(false).await;
        browser.click(&button(FIRST, "find")).await;
        browser.choose("#choose", &[&first]).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FIRST)).await, url);
        site.assert_stored(&url, 1);
        assert_eq!(browser.run("return document.querySelector('#notice').hidden").await, true);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_file_that_is_chosen_for_one_upload_resumes_that_one() {
    browse(Look::DESKTOP, async |browser| {
        let site = Site::start();
        let files = alike(site.chosen.path());
        let [first, second] = &files;
        site.open(browser).await;
        browser.throttle(PACE).await;
        for file in &files {
            browser.choose("#choose-in-folder", &[file.parent().unwrap()]).await;
        }
        // A third has the path of the first two when they are chosen alone.
        browser.choose("#choose", &[second]).await;
        let urls = site.lose_files(browser, &[FIRST, SECOND, FILM.0]).await;
        browser.throttle(PACE).await;
        browser.click(&button(SECOND, "find")).await;
        browser.choose("#choose", &[second]).await;
        browser.wait_for(ROWS, is_in(SECOND, "uploading")).await;
        let rows = browser.run(ROWS).await;
        assert!(row_in(&rows, FIRST, "missing").and(row_in(&rows, FILM.0, "missing")).is_some(), "{rows}");

        // The file of an upload that has been found meanwhile is not uploaded once more.
        browser.click(&button(FIRST, "find")).await;
        browser.drop_on("#drop", &[first.parent().unwrap()]).await;
        browser.wait_for(ROWS, is_in(FIRST, "uploading")).await;
        browser.choose("#choose", &[first]).await;
        browser.choose("#choose", &[second]).await; // for nobody: it is the third
        browser.set_offline(false).await;
        for (path, url, seed) in [(FIRST, &urls[0], 1), (SECOND, &urls[1], 2), (FILM.0, &urls[2], 2)] {
            assert_eq!(&browser.wait_for(ROWS, |rows| done(rows, path)).await, url);
            site.assert_stored(url, seed);
        }
        assert_eq!(browser.run(ROWS).await.as_array().unwrap().len(), 3);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_says_that_a_changed_file_cannot_resume() {
    browse(Look::DESKTOP, async |browser| {
        let site = Site::start();
        site.open(browser).await;
        browser.throttle(PACE).await;
        let film = file(site.chosen.path(), FILM);
        browser.choose("#choose", &[&film]).await;
        site.lose_files(browser, &[FILM.0]).await;
        std::fs::write(&film, "another film").unwrap();
        browser.click(&button(FILM.0, "find")).await;
        browser.choose("#choose", &[&film]).await;
        browser
            .wait_for(ROWS, |rows| (rows[0]["state"] == "missing" && rows[1]["state"] == "done").then_some(()))
            .await;
        let notice = notice(browser).await;
        assert!(notice.as_str().unwrap().starts_with("This cannot resume film.mp4"), "{notice}");
    });
}

// ---- Requests that come twice

/// What another tab does where the user chooses a missing file twice: it posts the second before it hears about the first.
const FIND_TWICE: &str = "const give = arguments[0]; \
    const channel = new BroadcastChannel('uploads to /files'); \
    channel.onmessage = ({ data: { upload } }) => { \
        if (upload?.state !== 'missing') return; \
        channel.onmessage = null; \
        const file = new File([new Uint8Array(LENGTH)], upload.name); \
        for (let i = 0; i < 2; i++) channel.postMessage({ ask: 'find', id: upload.id, file }); \
        give(null); \
    }; \
    channel.postMessage({ ask: 'everything' });";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_file_that_is_chosen_twice_is_sent_once() {
    browse(Look::DESKTOP, async |browser| {
        let site = Site::start();
        site.open(browser).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(site.chosen.path(), FILM)]).await;
        let url = site.lose_files(browser, &[FILM.0]).await.remove(0);
        browser.set_offline(false).await;

        let first = browser.tab().await;
        browser.new_tab().await;
        browser.go(&site.page()).await;
        browser.run_async(&FIND_TWICE.replace("LENGTH", &FILM.1.to_string())).await;
        browser.close_tab().await;
        browser.go_to(&first).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await, url);
        // Each run would have asked for the offset, and ended the PATCH of the other one by that.
        let requests = "return performance.getEntriesByType('resource') \
            .filter(({ initiatorType }) => initiatorType === 'xmlhttprequest').map(({ name }) => name)";
        assert_eq!(browser.run(requests).await, json!([url, url]), "HEAD and PATCH");
        assert_eq!(browser.errors().await, json!([]));
    });
}
