//! What the page of the examples does behind a proxy that answers in the server's place, or replaces the server's error
//! pages; and how it deletes cancelled uploads, whoever answers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use example_shared::PAGE;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tus_reqwest::reqwest;
use tus_service::{Config, Download, Memory, Tus, UploadFilter};

use crate::{
    chromium::{Chromium, Look},
    page::{ROWS, browse, button, done, file, is_in, on_its_way, row, row_in},
};

/// Takes some seconds at this rate.
const FILM: (&str, u64) = ("film.mp4", 4 << 20);
const PACE: u64 = 1 << 20;

const NOTES: (&str, u64) = ("notes.pdf", 300);

async fn wait_until(mut come: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !come().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes within a minute");
}

type Rule = Box<dyn Fn(&Request) -> Option<Response> + Send>;

/// What a proxy does.
#[derive(Default)]
struct Proxy {
    /// What it answers itself.
    rule: Mutex<Option<Rule>>,
    /// Whether it replaces the server's error pages by its own.
    replaces: AtomicBool,
    /// How many DELETE it has answered itself.
    deletions: AtomicU64,
}

impl Proxy {
    async fn pass(&self, request: Request, next: Next) -> Response {
        let answer = self.rule.lock().unwrap().as_ref().and_then(|rule| rule(&request));
        if let Some(answer) = answer {
            self.deletions.fetch_add(u64::from(request.method() == Method::DELETE), Ordering::SeqCst);
            return answer;
        }
        let answer = next.run(request).await;
        let is_error = answer.status().is_client_error() || answer.status().is_server_error();
        if is_error && self.replaces.load(Ordering::SeqCst) { page(answer.status().as_u16()) } else { answer }
    }
}

/// A server with the page, behind a proxy.
struct Proxied {
    tus: Tus,
    page: String,
    proxy: Arc<Proxy>,
}

impl Proxied {
    async fn start() -> Self {
        let tus = Tus::builder(Memory::new()).config(Config::default().download(Download::attachment())).build();
        let proxy = Arc::new(Proxy::default());
        let passing = proxy.clone();
        let layer = middleware::from_fn(move |request: Request, next: Next| {
            let proxy = passing.clone();
            async move { proxy.pass(request, next).await }
        });
        let files = axum_tus::router("/files", tus.clone()).layer(layer);
        let login = get(Html("<h1>Log in</h1>")).post(Html("<h1>Log in</h1>"));
        let app = Router::new().route("/", get(Html(PAGE))).route("/login", login).merge(files);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { tus, page, proxy }
    }

    /// The proxy answers some requests itself.
    fn answer(&self, rule: impl Fn(&Request) -> Option<Response> + Send + 'static) {
        *self.proxy.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// The proxy answers all requests with a page of its own.
    fn answer_all(&self, status: u16) {
        self.answer(move |_| Some(page(status)));
    }

    /// DELETE gets this status, from the server or from the proxy. All else is passed on.
    fn answer_deletions(&self, status: u16, is_servers: bool) {
        let answer = move || if is_servers { of_the_server(status) } else { page(status) };
        self.answer(move |request| (request.method() == Method::DELETE).then(answer));
    }

    fn pass_all(&self) {
        *self.proxy.rule.lock().unwrap() = None;
    }

    fn deletions(&self) -> u64 {
        self.proxy.deletions.load(Ordering::SeqCst)
    }

    /// How many uploads are stored.
    async fn uploads(&self) -> usize {
        self.tus.list(UploadFilter::default(), None).count().await
    }
}

/// A page of a proxy.
fn page(status: u16) -> Response {
    (StatusCode::from_u16(status).unwrap(), Html("<h1>page of a proxy</h1>")).into_response()
}

/// A proxy wants its users to log in.
fn login() -> Response {
    Redirect::to("/login").into_response()
}

/// An answer that the server itself might give.
fn of_the_server(status: u16) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), "no\n").into_response();
    response.headers_mut().insert("tus-resumable", HeaderValue::from_static("1.0.0"));
    response
}

async fn delete(url: &str) {
    let deleted = reqwest::Client::new().delete(url).header("tus-resumable", "1.0.0").send().await.unwrap();
    assert_eq!(deleted.status(), 204);
}

async fn is_forgotten(browser: &Chromium) {
    let records = "const give = arguments[0]; \
        indexedDB.open('uploads to /files').onsuccess = ({ target: { result } }) => { \
            result.transaction('records').objectStore('records').count().onsuccess = (event) => { \
                result.close(); give(event.target.result); }; }";
    wait_until(async || browser.run_async(records).await == 0).await;
}

// ---- Uploads

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_proxys_error_page_does_not_end_an_upload() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        browser.throttle(PACE).await;

        // Neither its creation nor the upload itself.
        server.answer_all(404);
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        browser.wait_for(ROWS, is_in(FILM.0, "retrying")).await;
        server.pass_all();
        let url = browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        for status in [404, 410] {
            browser.click(&button(FILM.0, "pause")).await;
            server.answer_all(status);
            browser.click(&button(FILM.0, "resume")).await;
            browser.wait_for(ROWS, is_in(FILM.0, "retrying")).await;
            let rows = browser.run(ROWS).await;
            let row = row(&rows, FILM.0).unwrap();
            let about = row["about"].as_str().unwrap();
            assert!(about.starts_with("The response did not come from the upload server"), "{about}");
            assert_eq!(row["url"], url);
            server.pass_all();
            browser.click(&button(FILM.0, "retry")).await;
            browser.wait_for(ROWS, is_in(FILM.0, "uploading")).await;
        }
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await, url);
        assert_eq!(server.uploads().await, 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

/// As nginx does with `proxy_intercept_errors`.
#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_is_gone_begins_again_though_a_proxy_replaces_the_servers_error_pages() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        server.proxy.replaces.store(true, Ordering::SeqCst);
        browser.open(&server.page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        let gone = browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, is_in(FILM.0, "paused")).await;
        delete(&gone).await;
        browser.click(&button(FILM.0, "resume")).await;
        assert_ne!(browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await, gone);
        assert_eq!(server.uploads().await, 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn what_a_proxy_answers_offers_what_can_help() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        browser.open(&server.page).await;
        let choose = async |name: &str, state: &str| {
            browser.choose("#choose", &[&file(chosen.path(), (name, 5))]).await;
            browser.wait_for(ROWS, |rows| row_in(rows, name, state).cloned()).await
        };
        server.answer_all(413);
        let large = choose("large.iso", "failed").await;
        assert_eq!(large["buttons"], json!(["hide"]), "the same file is too large the next time");
        let says = "A proxy in front of the server refuses requests as large as this file";
        assert!(large["about"].as_str().unwrap().starts_with(says), "{large}");
        browser.click(&button("large.iso", "hide")).await;

        // In another network, the same may be allowed.
        server.answer_all(403);
        assert_eq!(choose("secret", "failed").await["buttons"], json!(["retry", "hide"]));
        server.answer_all(200);
        choose("hotel", "retrying").await;
        server.answer(|_| Some(login()));
        choose("office", "retrying").await;
        server.pass_all();
        browser.click(&button("secret", "retry")).await;
        for name in ["secret", "hotel", "office"] {
            browser.wait_for(ROWS, |rows| done(rows, name)).await;
        }
        assert_eq!(browser.errors().await, json!([]));
    });
}

/// The login page of a proxy is no download.
#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn a_link_leads_to_the_file_and_not_to_a_login_page() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        server.answer(move |request| {
            let is_download = request.method() == Method::HEAD && !request.headers().contains_key("tus-resumable");
            let answer = if counted.load(Ordering::SeqCst) == 0 { login() } else { page(502) };
            is_download.then(|| {
                counted.fetch_add(1, Ordering::SeqCst);
                answer
            })
        });
        browser.open(&server.page).await;
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        let url = browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        let link = |rows: &Value| row(rows, NOTES.0).unwrap()["link"].clone();
        wait_until(async || asked.load(Ordering::SeqCst) >= 2).await;
        assert_eq!(link(&browser.run(ROWS).await), "");
        server.pass_all();
        browser.wait_for(ROWS, |rows| (link(rows) == url).then_some(())).await;
        assert_eq!(browser.errors().await, json!([]));
    });
}

// ---- The queue

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn uploads_that_wait_to_try_again_leave_their_places_to_others() {
    /// More than the page tries at a time.
    const FAILING: usize = 33;
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        // The server has a problem with files of this length.
        server.answer(|request| {
            (request.headers().get("upload-length").is_some_and(|length| length == "7")).then(|| of_the_server(500))
        });
        browser.open(&server.page).await;
        let failing: Vec<_> = (0..FAILING).map(|number| file(chosen.path(), (&format!("{number:02}"), 7))).collect();
        let count = |rows: &Value, states: &[&str]| {
            rows.as_array().unwrap().iter().filter(|row| states.contains(&row["state"].as_str().unwrap())).count()
        };
        let choose = async |files: &[std::path::PathBuf]| {
            browser.choose("#choose", &files.iter().map(|path| path.as_path()).collect::<Vec<_>>()).await;
        };

        choose(&failing[..4]).await;
        choose(&[file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        assert_eq!(count(&browser.run(ROWS).await, &["done"]), 1);

        // But a server that always fails is not asked about all.
        choose(&failing[4..]).await;
        let tried = |rows: &Value| {
            let tried = count(rows, &["uploading", "retrying"]);
            assert!(tried <= 30, "{tried} at a time");
            (tried == 30).then_some(())
        };
        browser.wait_for(ROWS, tried).await;
        server.pass_all();
        browser.wait_for(ROWS, |rows| (count(rows, &["done"]) == FAILING + 1).then_some(())).await;
        assert_eq!(server.uploads().await, FAILING + 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

// ---- Cancelling

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
            browser.click(&button(NOTES.0, "hide")).await;
            browser.open(&server.page).await;
            wait_until(async || server.deletions() == before + 2).await;
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
        server.proxy.replaces.store(true, Ordering::SeqCst);
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
