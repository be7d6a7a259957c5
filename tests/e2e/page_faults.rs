//! What the page of the examples does when something is amiss: files of the same name, a proxy that answers in the server's
//! place, requests that come twice, a cancelled upload without a network.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use example_shared::PAGE;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tus_service::{Memory, Tus, UploadFilter};

use crate::{
    chromium::{Chromium, Look},
    content::{assert_same, bytes},
    example::Example,
    harness::id,
    page::{FORGET_FILES, ROWS, browse, button, done, file, row, row_in},
};

/// Takes some seconds at this rate.
const FILM: (&str, u64) = ("film.mp4", 4 << 20);
const PACE: u64 = 1 << 20;

/// The URL of an upload that is on its way.
fn on_its_way(rows: &Value, name: &str) -> Option<String> {
    let film = row_in(rows, name, "uploading")?;
    film["url"].as_str().filter(|_| film["percent"].as_u64().is_some_and(|percent| percent >= 5)).map(str::to_owned)
}

fn is_in<'a>(name: &'a str, state: &'a str) -> impl Fn(&Value) -> Option<()> + 'a {
    move |rows| row_in(rows, name, state).map(drop)
}

async fn wait_until(mut come: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !come().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes within a minute");
}

fn set_modified(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_file_of_the_same_name_in_another_folder_is_another_upload() {
    const FIRST: &str = "first/film.mp4";
    const SECOND: &str = "second/film.mp4";
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        let stored = |url: &str| std::fs::read(directory.path().join("uploads").join(id(url).as_str())).unwrap();
        let first = file(chosen.path(), (FIRST, FILM.1));
        let second = chosen.path().join(SECOND);
        std::fs::create_dir(second.parent().unwrap()).unwrap();
        std::fs::write(&second, bytes(2, 0..FILM.1)).unwrap();
        set_modified(&first);
        set_modified(&second);
        let interrupt = async || {
            let url = browser.wait_for(ROWS, |rows| on_its_way(rows, FIRST)).await;
            browser.run_async(FORGET_FILES).await;
            browser.open(&page).await;
            browser.wait_for(ROWS, is_in(FIRST, "missing")).await;
            url
        };

        browser.open(&page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose-in-folder", &[first.parent().unwrap()]).await;
        let url = interrupt().await;

        // Neither the other folder nor the file by itself resumes it.
        browser.set_offline(false).await;
        browser.choose("#choose-in-folder", &[second.parent().unwrap()]).await;
        let other = browser.wait_for(ROWS, |rows| done(rows, SECOND)).await;
        assert_same(&stored(&other), &bytes(2, 0..FILM.1));
        browser.choose("#choose", &[&second]).await;
        let alone = browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await;
        assert!(url != other && url != alone && other != alone, "{url} {other} {alone}");
        assert!(row_in(&browser.run(ROWS).await, FIRST, "missing").is_some());

        // Its own folder does, and so does the file if it is chosen for this upload.
        browser.throttle(PACE).await;
        browser.choose("#choose-in-folder", &[first.parent().unwrap()]).await;
        assert_eq!(interrupt().await, url);
        browser.click(&button(FIRST, "find")).await;
        browser.choose("#choose", &[&first]).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FIRST)).await, url);
        assert_same(&stored(&url), &bytes(1, 0..FILM.1));
        assert_eq!(browser.run("return document.querySelector('#notice').hidden").await, true);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_says_that_a_changed_file_becomes_a_new_upload() {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        browser.open(&page).await;
        browser.throttle(PACE).await;
        let film = file(chosen.path(), FILM);
        browser.choose("#choose", &[&film]).await;
        browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        browser.run_async(FORGET_FILES).await;
        browser.open(&page).await;
        browser.wait_for(ROWS, is_in(FILM.0, "missing")).await;
        std::fs::write(&film, "another film").unwrap();
        browser.click(&button(FILM.0, "find")).await;
        browser.choose("#choose", &[&film]).await;
        browser
            .wait_for(ROWS, |rows| (rows[0]["state"] == "missing" && rows[1]["state"] == "done").then_some(()))
            .await;
        let notice = browser.run("return document.querySelector('#notice').textContent").await;
        assert!(notice.as_str().unwrap().starts_with("This file cannot resume film.mp4"), "{notice}");
    });
}

// ---- A proxy

/// A server with the page, behind a proxy.
struct Proxied {
    tus: Tus,
    page: String,
    /// What the proxy answers itself. 0: it passes requests on.
    status: Arc<AtomicU16>,
    /// How many DELETE it has answered itself.
    deletions: Arc<AtomicU64>,
}

impl Proxied {
    async fn start() -> Self {
        let tus = Tus::builder(Memory::new()).build();
        let (status, deletions) = (Arc::new(AtomicU16::new(0)), Arc::new(AtomicU64::new(0)));
        let (answer, seen) = (status.clone(), deletions.clone());
        let proxy = middleware::from_fn(move |request: Request, next: Next| {
            let (answer, seen) = (answer.clone(), seen.clone());
            async move {
                match answer.load(Ordering::SeqCst) {
                    0 => next.run(request).await,
                    status => {
                        seen.fetch_add(u64::from(request.method() == Method::DELETE), Ordering::SeqCst);
                        error_page(status)
                    }
                }
            }
        });
        let files = axum_tus::router("/files", tus.clone()).layer(proxy);
        let app = Router::new().route("/", get(Html(PAGE))).merge(files);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { tus, page, status, deletions }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    async fn uploads(&self) -> usize {
        self.tus.list(UploadFilter::default(), None).count().await
    }
}

fn error_page(status: u16) -> Response {
    (StatusCode::from_u16(status).unwrap(), Html("<h1>404 page not found</h1>")).into_response()
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_proxys_error_page_does_not_end_an_upload() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        browser.throttle(PACE).await;

        // Neither its creation nor the upload itself.
        server.answer(404);
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        browser.wait_for(ROWS, is_in(FILM.0, "retrying")).await;
        server.answer(0);
        let url = browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        for status in [404, 410] {
            browser.click(&button(FILM.0, "pause")).await;
            server.answer(status);
            browser.click(&button(FILM.0, "resume")).await;
            browser.wait_for(ROWS, is_in(FILM.0, "retrying")).await;
            let rows = browser.run(ROWS).await;
            let row = row(&rows, FILM.0).unwrap();
            let about = row["about"].as_str().unwrap();
            assert!(about.starts_with("The response did not come from the upload server"), "{about}");
            assert_eq!(row["url"], url);
            server.answer(0);
            browser.click(&button(FILM.0, "retry")).await;
            browser.wait_for(ROWS, is_in(FILM.0, "uploading")).await;
        }
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await, url);
        assert_eq!(server.uploads().await, 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_proxys_error_page_does_not_end_a_cancellation() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        server.answer(404);
        cancel(browser).await;
        wait_until(async || server.deletions.load(Ordering::SeqCst) > 0).await;
        assert_eq!(server.uploads().await, 1);
        server.answer(0);
        wait_until(async || server.uploads().await == 0).await;
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
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        browser.open(&page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        let url = browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        browser.run_async(FORGET_FILES).await;
        browser.open(&page).await;
        browser.wait_for(ROWS, is_in(FILM.0, "missing")).await;

        let first = browser.tab().await;
        browser.new_tab().await;
        browser.go(&page).await;
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

// ---- Cancelling without a network

/// Makes the page's waits short, and counts its requests.
const IMPATIENT: &str = "const wait = window.setTimeout; \
    window.setTimeout = (work, ms) => wait(work, ms <= 15_000 ? ms / 200 : ms); \
    window.deletions = 0; \
    const open = XMLHttpRequest.prototype.open; \
    XMLHttpRequest.prototype.open = function (method, url) { \
        if (method === 'DELETE') deletions++; \
        return open.call(this, method, url); \
    }";

async fn cancel(browser: &Chromium) {
    browser.click(&button(FILM.0, "cancel")).await;
    browser.click("document.querySelector('#ask-cancel')").await;
    browser.wait_for(ROWS, |rows| (*rows == json!([])).then_some(())).await;
}

/// An upload is cancelled while the server cannot be asked to delete it.
fn cancels(unreachable: impl AsyncFnOnce(&Chromium, &Proxied)) {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": IMPATIENT })).await;
        browser.open(&server.page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        unreachable(browser, &server).await;
        wait_until(async || server.uploads().await == 0).await;
        // Now the page has forgotten it.
        let records = "const give = arguments[0]; \
            indexedDB.open('uploads to /files').onsuccess = ({ target: { result } }) => { \
                result.transaction('records').objectStore('records').count().onsuccess = (event) => { \
                    result.close(); give(event.target.result); }; }";
        wait_until(async || browser.run_async(records).await == 0).await;
        assert_eq!(browser.errors().await, json!([]));
    });
}

/// Waits for more attempts than a page should ever give up after.
async fn is_tried_often(browser: &Chromium) {
    browser.wait_for("return window.deletions", |count| (count.as_u64()? > 50).then_some(())).await;
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_is_cancelled_offline_is_deleted_when_the_network_is_back() {
    cancels(async |browser, server| {
        // Chromium lets requests end that are on their way.
        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, is_in(FILM.0, "paused")).await;
        browser.set_offline(true).await;
        cancel(browser).await;
        is_tried_often(browser).await;
        assert_eq!(server.uploads().await, 1);
        browser.set_offline(false).await;
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_is_cancelled_while_the_server_is_away_is_deleted_by_a_later_visit() {
    cancels(async |browser, server| {
        server.answer(503);
        cancel(browser).await;
        for _ in 0..2 {
            is_tried_often(browser).await;
            browser.open(&server.page).await;
        }
        assert_eq!(server.uploads().await, 1);
        server.answer(0);
    });
}
