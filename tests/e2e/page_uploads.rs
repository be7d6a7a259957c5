//! What the page of the examples does with uploads: links to finished ones, asks before it cancels one, offers what can
//! help, takes folders.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use axum::{Router, response::Html, routing::get};
use example_shared::PAGE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tus_service::{Config, Memory, Rejection, Tus};

use crate::{
    chromium::{Chromium, Look},
    content::{assert_same, bytes},
    example::Example,
    harness::wait_until,
    page::{
        ROWS, browse, button, done, file, on_its_way, row, row_in, stored, wait_until_kept, wait_until_urls_are_kept,
    },
};

/// Takes some seconds at this rate.
const FILM: (&str, u64) = ("film.mp4", 24 << 20);
const PACE: u64 = 4 << 20;

const NOTES: (&str, u64) = ("notes.pdf", 300_000);

/// The path of a URL.
fn path(url: &str) -> &str {
    &url[url.rfind("/files/").unwrap()..]
}

async fn text(browser: &Chromium, css: &str) -> String {
    browser.run(&format!("return document.querySelector('{css}').textContent")).await.as_str().unwrap().to_owned()
}

// ---- Finished uploads

fn finished(example: &str, download: &str) {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start(example, directory.path(), &[("TUS_DOWNLOAD", download)]);
        let page = format!("http://{}/", server.address);
        browser.open(&page).await;
        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        let url = browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        // At once, and after a reload.
        for _ in 0..2 {
            if download == "on" {
                let link = |rows: &Value| {
                    row(rows, NOTES.0)?["link"].as_str().filter(|link| !link.is_empty()).map(str::to_owned)
                };
                assert_eq!(browser.wait_for(ROWS, link).await, url);
                let downloaded = server.connect().request("GET", path(&url), &[], b"");
                assert_eq!(downloaded.header("content-disposition"), "attachment; filename=\"notes.pdf\"");
                assert_same(&downloaded.body, &bytes(1, 0..NOTES.1));
            } else {
                let asked =
                    "return performance.getEntriesByType('resource').filter((e) => e.initiatorType === 'fetch').length";
                browser.wait_for(asked, |asked| (asked == 1).then_some(())).await;
                let rows = browser.run(ROWS).await;
                assert_eq!(row(&rows, NOTES.0).unwrap()["link"], "");
            }
            assert_eq!(browser.errors().await, json!([]));
            browser.open(&page).await;
            assert_eq!(browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await, url);
        }
        // Until it is hidden.
        browser.click(&button(NOTES.0, "hide")).await;
        assert_eq!(browser.run(ROWS).await, json!([]));
        browser.open(&page).await;
        browser.choose("#choose", &[&file(chosen.path(), ("other", 3))]).await;
        browser.wait_for(ROWS, |rows| done(rows, "other")).await;
        assert!(row(&browser.run(ROWS).await, NOTES.0).is_none());
        assert_same(&stored(directory.path(), &url), &bytes(1, 0..NOTES.1));
    });
}

macro_rules! on_every_example {
    ($($name:ident, $example:literal);* $(;)?) => {
        mod a_finished_row_stays_and_links_to_its_file {
            $(#[test]
            #[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
            fn $name() {
                super::finished($example, "on");
            })*
        }
        mod a_finished_row_stays_without_a_link_where_downloads_are_off {
            $(#[test]
            #[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
            fn $name() {
                super::finished($example, "off");
            })*
        }
    };
}
on_every_example!(axum, "axum"; actix_web, "actix_web"; warp, "warp"; hyper, "hyper");

// ---- Cancelling

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn cancelling_asks_first() {
    const IS_ASKED: &str = "return document.querySelector('#ask').open";
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        browser.open(&format!("http://{}/", server.address)).await;
        browser.throttle(PACE / 4).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM), &file(chosen.path(), ("small", 1 << 20))]).await;
        let percent = |rows: &Value, name: &str| row_in(rows, name, "uploading")?["percent"].as_u64();
        let reached = |rows: &Value, least| percent(rows, FILM.0).filter(|percent| *percent >= least);
        browser.wait_for(ROWS, |rows| reached(rows, 1)).await;

        // The upload continues while the page asks, and when the answer is no.
        for no in ["document.querySelector('#ask [value=keep]').click()", ""] {
            browser.click(&button(FILM.0, "cancel")).await;
            assert_eq!(browser.run(IS_ASKED).await, true);
            let question = text(browser, "#ask").await;
            assert!(question.contains("film.mp4") && question.contains("deleted from the server"), "{question}");
            let at = percent(&browser.run(ROWS).await, FILM.0).unwrap();
            browser.wait_for(ROWS, |rows| reached(rows, at + 1)).await;
            match no {
                "" => browser.press("\u{e00c}").await, // Escape
                no => drop(browser.run(no).await),
            }
            browser.wait_for(IS_ASKED, |open| (open == false).then_some(())).await;
            let at = percent(&browser.run(ROWS).await, FILM.0).unwrap();
            browser.wait_for(ROWS, |rows| reached(rows, at + 1)).await;
        }

        // There is nothing to ask about an upload that has finished in the meantime.
        browser.run(&format!("const it = {}; it.hidden || it.click()", button("small", "cancel"))).await;
        browser.wait_for(ROWS, |rows| done(rows, "small")).await;
        assert_eq!(browser.run(IS_ASKED).await, false);

        // Hiding looks different.
        let looks = |class: &str| {
            format!(
                "const button = {}; return [button.textContent, button.querySelector('use').getAttribute('href'), \
                getComputedStyle(button).color]",
                button(if class == "hide" { "small" } else { FILM.0 }, class)
            )
        };
        let (cancel, hide) = (browser.run(&looks("cancel")).await, browser.run(&looks("hide")).await);
        assert!((0..3).all(|i| cancel[i] != hide[i]), "{cancel} {hide}");

        let url = browser.wait_for(ROWS, |rows| Some(row(rows, FILM.0)?["url"].as_str()?.to_owned())).await;
        browser.click(&button(FILM.0, "cancel")).await;
        browser.click("document.querySelector('#ask-cancel')").await;
        browser.wait_for(ROWS, |rows| row(rows, FILM.0).is_none().then_some(())).await;
        let mut connection = server.connect();
        wait_until(|| connection.request("HEAD", path(&url), &[], b"").status == 404);
        assert_eq!(browser.errors().await, json!([]));
    });
}

// ---- Failures

/// A server with this page whose application answers creations with a status. 0: it lets them be.
async fn refusing(status: Arc<AtomicU16>) -> String {
    let tus = Tus::builder(Memory::new())
        .config(Config::default().max_size(1 << 20))
        .authorize(move |_| {
            let status = status.load(Ordering::SeqCst);
            async move {
                match status {
                    401 => Err(Rejection::unauthorized("Bearer")),
                    403 => Err(Rejection::forbidden("only for members")),
                    _ => Ok(()),
                }
            }
        })
        .build();
    let app = Router::new().route("/", get(Html(PAGE))).merge(axum_tus::router("/files", tus));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    page
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn failures_are_announced_and_not_counted_and_offer_what_can_help() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let status = Arc::new(AtomicU16::new(0));
        let page = refusing(status.clone()).await;
        browser.open(&page).await;
        assert_eq!(browser.run("return document.querySelector('#alerts').role").await, "alert");
        let failed = |rows: &Value, name: &str| Some(row_in(rows, name, "failed")?["buttons"].clone());
        let announced = async |says: &str| {
            let alert = "return document.querySelector('[role=alert]').textContent";
            browser.wait_for(alert, |text| text.as_str()?.contains(says).then_some(())).await;
        };

        browser.choose("#choose", &[&file(chosen.path(), NOTES), &file(chosen.path(), ("large.iso", 2 << 20))]).await;
        browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
        assert_eq!(browser.wait_for(ROWS, |rows| failed(rows, "large.iso")).await, json!(["hide"]));
        announced("large.iso: The file is larger than the server accepts (at most 1.0 MB)").await;
        assert_eq!(text(browser, "#total p").await, "1 of 1 done, 1 failed 100 %");

        status.store(403, Ordering::SeqCst);
        browser.choose("#choose", &[&file(chosen.path(), ("secret", 5))]).await;
        assert_eq!(browser.wait_for(ROWS, |rows| failed(rows, "secret")).await, json!(["hide"]));
        announced("secret: The server does not allow this upload: only for members").await;

        // Users can sign in elsewhere.
        status.store(401, Ordering::SeqCst);
        browser.choose("#choose", &[&file(chosen.path(), ("letter", 5))]).await;
        assert_eq!(browser.wait_for(ROWS, |rows| failed(rows, "letter")).await, json!(["retry", "hide"]));
        announced("letter: The server asks you to sign in").await;
        assert_eq!(text(browser, "#summary").await, "1 of 1 done, 3 failed");
        wait_until_kept(browser, "files", 1).await;
        status.store(0, Ordering::SeqCst);
        browser.click(&button("letter", "retry")).await;
        browser.wait_for(ROWS, |rows| done(rows, "letter")).await;

        // A refusal that is final is not asked for again, and its file is not kept.
        wait_until_kept(browser, "files", 0).await;
        browser.open(&page).await;
        assert_eq!(browser.wait_for(ROWS, |rows| failed(rows, "secret")).await, json!(["hide"]));
        browser.click(&button("secret", "hide")).await;
        browser.click(&button("large.iso", "hide")).await;
        assert_eq!(text(browser, "#summary").await, "2 of 2 done");
    });
}

/// What has arrived is deleted only if the user says so, even where this visit does not know how much that is.
#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn an_upload_that_the_server_refuses_for_now_cannot_be_hidden() {
    browse(Look::DESKTOP, async |browser| {
        let chosen = TempDir::new().unwrap();
        let status = Arc::new(AtomicU16::new(0));
        let page = refusing(status.clone()).await;
        browser.open(&page).await;
        browser.throttle(64 << 10).await;
        let film = ("film.mp4", 1 << 20);
        browser.choose("#choose", &[&file(chosen.path(), film)]).await;
        let url = browser.wait_for(ROWS, |rows| on_its_way(rows, film.0)).await;
        wait_until_urls_are_kept(browser, 1).await;
        wait_until_kept(browser, "files", 1).await;
        status.store(401, Ordering::SeqCst);
        browser.open(&page).await;
        let failed = |rows: &Value| Some(row_in(rows, film.0, "failed")?["buttons"].clone());
        assert_eq!(browser.wait_for(ROWS, failed).await, json!(["retry", "cancel"]));
        browser.click(&button(film.0, "cancel")).await;
        assert_eq!(text(browser, "#ask-consequence").await, "What has arrived will be deleted from the server.");
        browser.click("document.querySelector('#ask [value=keep]')").await;
        status.store(0, Ordering::SeqCst);
        browser.click(&button(film.0, "retry")).await;
        assert_eq!(browser.wait_for(ROWS, |rows| done(rows, film.0)).await, url);
        assert_eq!(browser.errors().await, json!([]));
    });
}

// ---- Folders

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn folders_are_dropped_and_chosen() {
    /// More than a browser lists at a time.
    const FILES: usize = 120;
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        let page = format!("http://{}/", server.address);
        let folder = chosen.path().join("holidays");
        for number in 1..=FILES {
            file(&folder, (&format!("2024/größer {number}.jpg"), number as u64));
        }
        file(&folder, ("list.txt", 5));
        std::fs::create_dir(folder.join("nothing")).unwrap();
        let alone = file(chosen.path(), NOTES);

        browser.open(&page).await;
        browser.drop_on("#drop", &[&folder, &alone]).await;
        let all_done = |rows: &Value, count: usize| {
            let rows = rows.as_array()?;
            assert!(rows.len() <= count, "{} rows", rows.len());
            (rows.len() == count && rows.iter().all(|row| row["state"] == "done")).then_some(())
        };
        browser.wait_for(ROWS, |rows| all_done(rows, FILES + 2)).await;
        assert_eq!(text(browser, "#notice").await, "There are no files in holidays/nothing.");
        let rows = browser.run(ROWS).await;
        let metadata = |rows: &Value, name: &str| {
            let url = done(rows, name).unwrap();
            let response = server.connect().request("HEAD", path(&url), &[], b"");
            response.header("upload-metadata").to_owned()
        };
        let deep = |rows: &Value| {
            // "größer 7.jpg", "image/jpeg", "holidays/2024/größer 7.jpg"
            let expected = "filename Z3LDtsOfZXIgNy5qcGc=,filetype aW1hZ2UvanBlZw==,\
                relativePath aG9saWRheXMvMjAyNC9ncsO2w59lciA3LmpwZw==";
            assert_eq!(metadata(rows, "holidays/2024/größer 7.jpg"), expected);
            let url = done(rows, "holidays/2024/größer 120.jpg").unwrap();
            assert_same(&stored(directory.path(), &url), &bytes(1, 0..120));
        };
        deep(&rows);
        assert!(!metadata(&rows, NOTES.0).contains("relativePath"));

        browser.click("document.querySelector('#clear')").await;
        browser.wait_for(ROWS, |rows| all_done(rows, 0)).await;
        browser.choose("#choose-in-folder", &[&folder]).await;
        browser.wait_for(ROWS, |rows| all_done(rows, FILES + 1)).await;
        let rows = browser.run(ROWS).await;
        deep(&rows);
        let first: Vec<_> = (0..2).map(|i| rows[i]["name"].as_str().unwrap()).collect();
        assert_eq!(first, ["holidays/2024/größer 1.jpg", "holidays/2024/größer 2.jpg"]);
        assert_eq!(browser.errors().await, json!([]));
    });
}
