//! What the page of the examples does behind a proxy that answers in the server's place, or replaces the server's error
//! pages.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chromium::Look,
    page::{FILM, NOTES, PACE, ROWS, browse, button, done, file, is_in, on_its_way, row, row_in},
    proxied::{Proxied, delete, login, of_the_server, page, wait_until},
};

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
        browser.set_offline(false).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, FILM.0)).await, url);
        assert_eq!(server.uploads().await, 1);
        assert_eq!(browser.errors().await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_is_gone_begins_again_though_a_proxy_replaces_the_servers_error_pages() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let server = Proxied::start().await;
        server.replace_errors();
        browser.open(&server.page).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        let gone = browser.wait_for(ROWS, |rows| on_its_way(rows, FILM.0)).await;
        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, is_in(FILM.0, "paused")).await;
        delete(&gone).await;
        browser.set_offline(false).await;
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

        // But a server that always fails is not asked about all at once.
        choose(&failing[4..]).await;
        let tried = |rows: &Value| {
            let tried = count(rows, &["uploading", "retrying"]);
            assert!(tried <= 30, "{tried} at a time");
            (tried == 30).then_some(())
        };
        browser.wait_for(ROWS, tried).await;
        // All the same, those that fail all the time do not keep others from their turn.
        choose(&[file(chosen.path(), ("late.pdf", 300))]).await;
        browser.wait_for(ROWS, |rows| done(rows, "late.pdf")).await;
        server.pass_all();
        browser.wait_for(ROWS, |rows| (count(rows, &["done"]) == FAILING + 2).then_some(())).await;
        assert_eq!(server.uploads().await, FAILING + 2);
        assert_eq!(browser.errors().await, json!([]));
    });
}
