//! How the page of the examples deletes cancelled uploads, whoever answers: the server, or a proxy in its place.

use axum::response::Response;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    chromium::{Chromium, Look},
    page::{FILM, NOTES, PACE, ROWS, browse, button, done, file, is_in, on_its_way, row, wait_until_kept},
    proxied::{Proxied, delete, login, page, wait_until},
};

async fn is_forgotten(browser: &Chromium) {
    wait_until_kept(browser, "records", 0).await;
}

/// Makes the page's waits short, but for how long it waits for the server. Counts its deletions.
const IMPATIENT: &str = "const wait = window.setTimeout; \
    window.setTimeout = (work, ms) => wait(work, ms === 30_000 ? ms : ms / 4000); \
    window.deletions = 0; \
    const open = XMLHttpRequest.prototype.open; \
    XMLHttpRequest.prototype.open = function (method, url) { \
        if (method === 'DELETE') deletions++; \
        return open.call(this, method, url); \
    }";

async fn upload(browser: &Chromium, chosen: &TempDir) -> String {
    browser.throttle(PACE).await;
    browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
    browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await
}

async fn cancel(browser: &Chromium) {
    browser.click(&button(FILM.0, "cancel")).await;
    browser.click("document.querySelector('#ask-cancel')").await;
    browser.wait_for(ROWS, |rows| row(rows, FILM.0).is_none().then_some(())).await;
}

/// An upload is cancelled while the server cannot be asked to delete it.
fn cancels(unreachable: impl AsyncFnOnce(&Chromium, &Proxied)) {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": IMPATIENT })).await;
        browser.open(&server.page).await;
        upload(browser, &chosen).await;
        unreachable(browser, &server).await;
        wait_until(async || server.uploads().await == 0).await;
        is_forgotten(browser).await;
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
        server.answer_all(503);
        cancel(browser).await;
        for _ in 0..2 {
            is_tried_often(browser).await;
            browser.open(&server.page).await;
        }
        assert_eq!(server.uploads().await, 1);
        server.pass_all();
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_proxys_page_does_not_end_a_cancellation() {
    let rules: [fn() -> Response; 3] = [|| page(404), || page(200), login];
    for rule in rules {
        cancels(async |browser, server| {
            server.answer(move |_| Some(rule()));
            cancel(browser).await;
            is_tried_often(browser).await;
            assert_eq!(server.uploads().await, 1);
            server.pass_all();
        });
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_cancelled_upload_that_may_not_be_deleted_now_is_deleted_by_a_later_visit() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": IMPATIENT })).await;
        for (status, is_servers) in [(401, true), (403, true), (507, true), (403, false), (405, false)] {
            browser.open(&server.page).await;
            upload(browser, &chosen).await;
            let (uploads, before) = (server.uploads().await, server.deletions());
            server.answer_deletions(status, is_servers);
            cancel(browser).await;
            wait_until(async || server.deletions() > before).await;
            // Longer than the page's waits.
            browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
            browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
            assert_eq!(server.deletions(), before + 1, "once a visit: {status}");
            wait_until_kept(browser, "records", 2).await;
            browser.open(&server.page).await;
            wait_until(async || server.deletions() == before + 2).await;
            browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
            browser.click(&button(NOTES.0, "hide")).await;
            wait_until_kept(browser, "records", 1).await;
            server.pass_all();
            browser.open(&server.page).await;
            wait_until(async || server.uploads().await == uploads).await;
            is_forgotten(browser).await;
            assert_eq!(browser.errors().await, json!([]));
        }
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_cancelled_upload_that_is_gone_or_can_never_be_deleted_is_forgotten() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        for status in [404, 405, 410] {
            upload(browser, &chosen).await;
            server.answer_deletions(status, true);
            cancel(browser).await;
            is_forgotten(browser).await;
        }
        server.pass_all();
        server.replace_errors();
        let url = upload(browser, &chosen).await;
        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, is_in(FILM.0, "paused")).await;
        delete(&url).await;
        cancel(browser).await;
        is_forgotten(browser).await;
        assert_eq!(browser.errors().await, json!([]));
    });
}

/// Keeps what the database answers until it is let go, and hears what other tabs hide.
const SLOW_DATABASE: &str = "window.held = []; \
    Object.defineProperty(IDBTransaction.prototype, 'oncomplete', { set(work) { \
        this.addEventListener('complete', () => (held ? held.push(work) : work())); \
    } }); \
    window.heard = new BroadcastChannel('uploads to /files'); \
    heard.onmessage = ({ data }) => { heard.hidden ||= data.hidden; }";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_is_cancelled_while_another_tab_opens_does_not_appear_there() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        upload(browser, &chosen).await;
        server.answer_deletions(503, true);
        let first = browser.tab().await;
        let second = browser.new_tab().await;
        browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": SLOW_DATABASE })).await;
        browser.open(&server.page).await;
        browser.wait_for("return held.length", |held| (held.as_u64()? > 0).then_some(())).await;
        browser.go_to(&first).await;
        cancel(browser).await;
        browser.go_to(&second).await;
        browser.wait_for("return heard.hidden", |hidden| hidden.as_str().map(drop)).await;
        browser.run("const works = held; held = null; works.forEach((work) => work())").await;
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        assert_eq!(browser.run(ROWS).await.as_array().unwrap().len(), 1);
        assert_eq!(browser.errors().await, json!([]));

        // The first tab still deletes it.
        server.pass_all();
        wait_until(async || server.uploads().await == 1).await;
    });
}
