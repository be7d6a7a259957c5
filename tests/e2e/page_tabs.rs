//! The page of the examples in several tabs, and in browsers that lack or refuse what the tabs use to agree.

use fantoccini::wd::WindowHandle;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chromium::{Chromium, Look},
    content::{assert_same, bytes},
    example::Example,
    page::{
        NOTES, PACE as SLOW, ROWS, browse, button, done, file, on_its_way, row, row_in, stored, wait_until_kept,
        wait_until_urls_are_kept,
    },
};

/// Takes some seconds at this rate.
const FILM: (&str, u64) = ("film.mp4", 24 << 20);
const PACE: u64 = 4 << 20;

/// Runs a script before those of the page.
async fn before_the_page(browser: &Chromium, script: &str) {
    browser.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn another_tab_shows_and_controls_an_upload_and_takes_over() {
    tabs("");
}

/// Over plain HTTP on another host than this one, browsers have no locks.
const WITHOUT_LOCKS: &str = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn tabs_agree_without_locks() {
    tabs(WITHOUT_LOCKS);
}

/// Browsers refuse locks where they may store nothing.
const REFUSED_LOCKS: &str =
    "LockManager.prototype.request = () => Promise.reject(new DOMException('', 'SecurityError'))";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn tabs_agree_where_locks_are_refused() {
    tabs(REFUSED_LOCKS);
}

fn tabs(before: &str) {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        before_the_page(browser, before).await;
        browser.open(&page).await;
        // It must not be complete before the other tab is there, however busy the machine is.
        browser.throttle(PACE / 8).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        let uploading = |rows: &Value, percent| {
            let film = row_in(rows, FILM.0, "uploading")?;
            film["percent"].as_u64().filter(|reached| *reached >= percent)
        };
        browser.wait_for(ROWS, |rows| uploading(rows, 5)).await;

        let first = browser.tab().await;
        let second = browser.new_tab().await;
        before_the_page(browser, before).await;
        browser.open(&page).await;
        let percent = browser.wait_for(ROWS, |rows| uploading(rows, 5)).await;
        browser.wait_for(ROWS, |rows| uploading(rows, percent + 5)).await;
        let rows = browser.run(ROWS).await;
        let about = row(&rows, FILM.0).unwrap()["about"].as_str().unwrap().to_owned();
        assert!(about.contains(" of 25 MB") && about.contains("/s") && about.ends_with("in another tab"), "{about}");

        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, |rows| row_in(rows, FILM.0, "paused").map(drop)).await;
        browser.go_to(&first).await;
        let rows = browser.run(ROWS).await;
        let paused = row_in(&rows, FILM.0, "paused").expect("it was the first tab that paused it")["percent"].as_u64();
        browser.go_to(&second).await;
        browser.click(&button(FILM.0, "resume")).await;
        browser.wait_for(ROWS, |rows| uploading(rows, paused.unwrap() + 1)).await;

        browser.go_to(&first).await;
        assert_eq!(browser.errors().await, json!([]));
        browser.close_tab().await;
        browser.go_to(&second).await;
        let url = browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await;
        assert_same(&stored(directory.path(), &url), &bytes(1, 0..FILM.1));
        assert_eq!(std::fs::read_dir(directory.path().join("uploads")).unwrap().count(), 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn what_one_tab_hides_or_cancels_leaves_the_other() {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        browser.open(&page).await;
        let first = browser.tab().await;
        let second = browser.new_tab().await;
        browser.open(&page).await;
        browser.go_to(&first).await;
        browser.throttle(PACE / 4).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM), &file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        browser.go_to(&second).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        browser.click(&button(NOTES.0, "hide")).await;
        browser.click(&button(FILM.0, "cancel")).await;
        browser.click("document.querySelector('#ask-cancel')").await;
        browser.wait_for(ROWS, |rows| (*rows == json!([])).then_some(())).await;
        browser.go_to(&first).await;
        browser.wait_for(ROWS, |rows| (*rows == json!([])).then_some(())).await;
    });
}

/// Uploads that are sent together, and one more.
const FILMS: [(&str, u64); 4] = [("1.mp4", 4 << 20), ("2.mp4", 4 << 20), ("3.mp4", 4 << 20), ("4.mp4", 4 << 20)];

/// One tab has begun to send three of four uploads, and others are open. Returns them, and is in the first.
async fn begun(browser: &Chromium, page: &str, chosen: &TempDir, others: usize, before: &str) -> Vec<WindowHandle> {
    let before = &format!("{LISTED} {before}");
    before_the_page(browser, before).await;
    browser.open(page).await;
    let mut tabs = vec![browser.tab().await];
    for _ in 0..others {
        tabs.push(browser.new_tab().await);
        before_the_page(browser, before).await;
        browser.open(page).await;
    }
    browser.go_to(&tabs[0]).await;
    browser.throttle(SLOW).await;
    let films = FILMS.map(|film| file(chosen.path(), film));
    browser.choose("#choose", &films.each_ref().map(|film| film.as_path())).await;
    for (name, _) in &FILMS[..3] {
        browser.wait_for(ROWS, |rows| on_its_way(rows, name)).await;
    }
    wait_until_urls_are_kept(browser, 3).await;
    wait_until_kept(browser, "files", 4).await;
    tabs
}

/// Lists the requests of a page.
const LISTED: &str = "window.requests = []; \
    const open = XMLHttpRequest.prototype.open; \
    XMLHttpRequest.prototype.open = function (method, url) { \
        requests.push(`${method} ${url}`); \
        return open.call(this, method, url); \
    };";

/// Each run begins with one of these. What a tab sends when it is closed may be all.
async fn requests(browser: &Chromium) -> Value {
    browser.run("return requests.filter((one) => !one.startsWith('PATCH')).sort()").await
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn only_one_of_several_tabs_takes_over_without_locks() {
    one_takes_over(WITHOUT_LOCKS);
}

/// As if one more tab, which wants each upload, too, were closed while the others agree.
const ONE_LEAVES: &str = "const Channel = BroadcastChannel; \
    window.BroadcastChannel = class extends Channel { \
        constructor(name) { \
            super(name); \
            const another = new Channel(name); \
            another.onmessage = ({ data: { wanted } }) => { if (wanted) another.postMessage({ left: [wanted] }); }; \
        } \
    }";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn only_one_takes_over_while_another_tab_is_closed() {
    one_takes_over(&format!("{WITHOUT_LOCKS}; {ONE_LEAVES}"));
}

fn one_takes_over(before: &str) {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        let tabs = begun(browser, &page, &chosen, 2, before).await;
        browser.close_tab().await;
        let mut sent = Vec::new();
        for tab in &tabs[1..] {
            browser.go_to(tab).await;
            for (name, length) in FILMS {
                let url = browser.wait_for(ROWS, |rows| done(rows, name)).await;
                assert_same(&stored(directory.path(), &url), &bytes(1, 0..length));
            }
            assert_eq!(browser.errors().await, json!([]));
            sent.extend(requests(browser).await.as_array().unwrap().clone());
        }
        assert_eq!(sent.len(), 4, "each is run once: {sent:?}");
        assert_eq!(std::fs::read_dir(directory.path().join("uploads")).unwrap().count(), FILMS.len());
    });
}

/// Kept files are not read before this is allowed, as beside the copy of a large file.
const SLOW_FILES: &str = "const get = IDBObjectStore.prototype.get; \
    IDBObjectStore.prototype.get = function (key) { \
        if (this.name !== 'files') return get.call(this, key); \
        const wait = () => window.mayRead || (get.call(this, 'none').onsuccess = wait); \
        wait(); \
        return get.call(this, key); \
    }";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn nothing_is_done_with_an_upload_before_its_takeover_ends() {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        let tabs = begun(browser, &page, &chosen, 1, SLOW_FILES).await;
        browser.close_tab().await;
        browser.go_to(&tabs[1]).await;
        let loading = |rows: &Value, name: &str| Some(row_in(rows, name, "loading")?["buttons"].clone());
        for (name, _) in FILMS {
            assert_eq!(browser.wait_for(ROWS, |rows| loading(rows, name)).await, json!([]));
        }
        // They take no place, and another upload does not start them.
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        let rows = browser.run(ROWS).await;
        for (name, _) in FILMS {
            assert_eq!(loading(&rows, name), Some(json!([])), "{rows}");
        }
        browser.run("window.mayRead = true").await;
        let mut expected = vec![format!("POST {page}files"); 2];
        for (name, length) in FILMS {
            let url = browser.wait_for(ROWS, |rows| done(rows, name)).await;
            assert_same(&stored(directory.path(), &url), &bytes(1, 0..length));
            // The last one is created here.
            expected.extend((name != FILMS[3].0).then(|| format!("HEAD {url}")));
        }
        expected.sort();
        assert_eq!(requests(browser).await, json!(expected), "each is run once");
        assert_eq!(browser.errors().await, json!([]));
    });
}

// ---- Browsers that refuse

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_uploads_where_nothing_may_be_stored() {
    const REFUSED: &str = "const refused = () => new DOMException('', 'SecurityError'); \
        LockManager.prototype.request = () => Promise.reject(refused()); \
        IDBFactory.prototype.open = () => { throw refused(); }; \
        window.BroadcastChannel = function () { throw refused(); }";
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        before_the_page(browser, REFUSED).await;
        browser.open(&format!("http://{}/", server.address)).await;
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        let url = browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        assert_same(&stored(directory.path(), &url), &bytes(1, 0..NOTES.1));
        browser.click(&button(NOTES.0, "hide")).await;
        browser.wait_for(ROWS, |rows| (*rows == json!([])).then_some(())).await;
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn uploads_are_remembered_after_the_browser_has_closed_the_database() {
    const KEPT: &str = "const open = IDBFactory.prototype.open; \
        window.openings = []; \
        IDBFactory.prototype.open = function (...of) { \
            const opening = open.apply(this, of); \
            openings.push(opening); \
            return opening; \
        }";
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        before_the_page(browser, KEPT).await;
        browser.open(&page).await;
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        browser.run("openings.forEach(({ result }) => result.close())").await;
        browser.throttle(SLOW).await;
        browser.choose("#choose", &[&file(chosen.path(), FILMS[0])]).await;
        let url = browser.wait_for(ROWS, |rows| on_its_way(rows, FILMS[0].0)).await;
        wait_until_urls_are_kept(browser, 2).await;
        wait_until_kept(browser, "files", 1).await;
        assert_eq!(browser.errors().await, json!([]));
        browser.open(&page).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FILMS[0].0)).await, url);
        assert_same(&stored(directory.path(), &url), &bytes(1, 0..FILMS[0].1));
    });
}
