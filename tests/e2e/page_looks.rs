//! How the page of the examples looks and reads: for a checker of accessibility (axe-core), on a phone, in the dark, with
//! the reader's font size, by keyboard, without JavaScript.

use fantoccini::key::Key;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chromium::{Chromium, Look},
    example::Example,
    others::installed,
    page::{FORGET_FILES, ROWS, browse, button, done, file, row, row_in},
};

/// Not at its end while a test looks at it, at this rate.
const FILM: (&str, u64) = ("film.mp4", 24 << 20);
const PACE: u64 = 150_000;

const NOTES: (&str, u64) = ("notes.pdf", 3000);
const LONG: (&str, u64) =
    ("a film of our holidays in the mountains with everybody, second cut, 日本語, 2024 (final version) 12.mp4", 5);
const TOO_LARGE: (&str, u64) = ("disk.iso", 30 << 20);
const MAX_SIZE: &str = "25165824";

/// Whether text and buttons can be read and pressed: the names of those that cannot.
const MISFITS: &str = "
    const bad = [];
    const width = document.documentElement.clientWidth;
    if (document.scrollingElement.scrollWidth > width) bad.push(`the page is ${document.scrollingElement.scrollWidth} wide`);
    const within = document.querySelector('dialog[open]') ?? document.body;
    for (const element of within.querySelectorAll('*:not(.heard, svg, svg *, script, template, noscript)')) {
        const box = element.getBoundingClientRect();
        if (!box.width || element.closest('[hidden], .heard')) continue;
        const name = `${element.tagName}.${element.className}#${element.id} ${element.textContent.trim().slice(0, 30)}`;
        if (box.left < -0.5 || box.right > width + 0.5) bad.push(`outside: ${name}`);
        const isCut = element.clientWidth && element.scrollWidth > element.clientWidth + 1 && !element.matches('.start');
        if (isCut || element.matches('button') && element.scrollHeight > element.clientHeight + 1) bad.push(`clipped: ${name}`);
        const least = width < 500 && element.matches('button') ? 44 : element.matches('button, a') ? 24 : 0;
        if (box.height < least || (element.matches('button') && box.width < least)) bad.push(`small: ${name} ${box.width} x ${box.height}`);
    }
    return bad;";

/// The contrasts of shapes that mean something with what is around them, if they are too low. (axe-core looks at text.)
const PALE_SHAPES: &str = "
    const numbers = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
    const luminance = (color) => numbers(color).slice(0, 3).map((n) => n / 255)
        .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4))
        .reduce((sum, n, i) => sum + n * [0.2126, 0.7152, 0.0722][i], 0);
    const isSeen = (color) => numbers(color)[3] !== 0;
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (isSeen(color)) return color;
        }
    };
    const bad = [];
    let count = 0;
    const compare = (what, color, other) => {
        const [dark, light] = [luminance(color), luminance(other)].sort((a, b) => a - b);
        const ratio = (light + 0.05) / (dark + 0.05);
        count++;
        if (!(ratio >= 3)) bad.push(`${what}: ${color} on ${other} is ${ratio.toFixed(2)}:1`);
    };
    for (const element of document.querySelectorAll('#drop, button, .bar, .bar span, .icon, :focus')) {
        if (!element.getClientRects().length) continue;
        const style = getComputedStyle(element);
        const name = `${element.tagName} ${element.getAttribute('class')} ${element.id}`;
        if (element.matches('.icon')) compare(name, style.stroke, behind(element));
        else if (element.matches('.bar span')) compare(name, style.backgroundColor, behind(element.parentElement));
        else if (isSeen(style.borderTopColor) && style.borderTopWidth !== '0px') compare(name, style.borderTopColor, behind(element.parentElement));
        if (element.matches(':focus-visible')) compare(`focus of ${name}`, style.outlineColor, behind(element.parentElement));
    }
    return { bad, count };";

/// Fails for what a checker or a reader would find.
async fn check(browser: &Chromium, state: &str) {
    let axe = std::fs::read_to_string(installed().join("node_modules/axe-core/axe.min.js")).expect("axe-core");
    browser.run(&format!("if (!window.axe) {{ {axe} }}")).await;
    // What the checker is not sure of counts too. The size of targets is off by default. It is not sure of what moves
    // while it looks, such as rows below one whose text gets another line: then it looks again. It cannot compare colours
    // where text of 200 % meets the edge of the window; the same text is compared in the other windows.
    let found = "const give = arguments[0]; const options = { rules: { 'target-size': { enabled: true } } }; \
        const places = () => JSON.stringify([...document.querySelectorAll('body *')].map((element) => { \
            const { y, height } = element.getBoundingClientRect(); return [y + scrollY, height]; })); \
        const unsure = ({ nodes }) => nodes.some((node) => !/partially (overlaps|obscured)/.test(node.failureSummary)); \
        const look = async () => { \
            const before = places(); \
            const { violations, incomplete, passes } = await axe.run(document, options); \
            if (places() !== before) return look(); \
            return { passes: passes.length, found: [...violations, ...incomplete.filter(unsure)].map(({ id, nodes }) => \
                [id, nodes.map((node) => [node.html, node.failureSummary])]) }; \
        }; \
        look().then(give, (error) => give({ passes: 0, found: String(error) }))";
    let checked = browser.run_async(found).await;
    assert_eq!(checked["found"], json!([]), "{state}");
    assert!(checked["passes"].as_u64().unwrap() > 15, "{state}: the checker did check: {checked}");
    assert_eq!(browser.run(MISFITS).await, json!([]), "{state}");
    let shapes = browser.run(PALE_SHAPES).await;
    assert_eq!(shapes["bad"], json!([]), "{state}");
    assert!(shapes["count"].as_u64().unwrap() > 2, "{state}: shapes were compared");
    assert_eq!(browser.errors().await, json!([]), "{state}");
}

/// Nothing is found in any state of the page.
fn nothing_is_found(look: Look) {
    browse(look, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let variables = [("TUS_MAX_SIZE", MAX_SIZE), ("TUS_DOWNLOAD", "on")];
        let server = Example::start("axum", directory.path(), &variables);
        let address = server.address.to_string();
        let page = format!("http://{address}/");
        let film = |rows: &Value, state: &str| row_in(rows, FILM.0, state).map(drop);

        browser.open(&page).await;
        let scheme = "return getComputedStyle(document.body).backgroundColor";
        assert_eq!(browser.run(scheme).await == "rgb(17, 21, 27)", look.dark);
        check(browser, "empty").await;

        browser.throttle(PACE).await;
        let files = [FILM, NOTES, LONG, TOO_LARGE].map(|file_| file(chosen.path(), file_));
        browser.choose("#choose", &files.each_ref().map(|path| path.as_path())).await;
        let linked = |rows: &Value, name: &str| (row(rows, name)?["link"] != "").then_some(());
        browser.wait_for(ROWS, |rows| linked(rows, NOTES.0).and(linked(rows, LONG.0))).await;
        browser.wait_for(ROWS, |rows| row_in(rows, TOO_LARGE.0, "failed").map(drop)).await;
        browser.wait_for(ROWS, |rows| film(rows, "uploading")).await;
        check(browser, "uploading, failed, finished").await;

        browser.click(&button(FILM.0, "cancel")).await;
        check(browser, "dialog of cancelling").await;
        browser.click("document.querySelector('#ask [value=keep]')").await;

        browser.click(&button(FILM.0, "pause")).await;
        browser.wait_for(ROWS, |rows| film(rows, "paused")).await;
        check(browser, "paused").await;

        browser.click(&button(FILM.0, "resume")).await;
        browser.wait_for(ROWS, |rows| film(rows, "uploading")).await;
        server.kill();
        browser.wait_for(ROWS, |rows| film(rows, "retrying")).await;
        let alert = "return document.querySelector('[role=alert]').textContent";
        browser.wait_for(alert, |alert| (alert == "film.mp4: The server cannot be reached").then_some(())).await;
        check(browser, "retrying").await;

        let _server = Example::start_at("axum", &address, directory.path(), &variables);
        browser.wait_for(ROWS, |rows| film(rows, "uploading")).await;
        browser.run_async(FORGET_FILES).await;
        browser.open(&page).await;
        browser.wait_for(ROWS, |rows| film(rows, "missing")).await;
        check(browser, "missing").await;
    });
}

macro_rules! looks {
    ($($name:ident, $look:expr);* $(;)?) => {
        mod a_checker_finds_nothing_in_any_state {
            use crate::chromium::Look;
            $(#[test]
            #[cfg_attr(
                not(all(has_chromium, has_node)),
                ignore = "chromium or chromedriver is not installed, or TUS_TEST_OTHERS names no directory with axe-core"
            )]
            fn $name() {
                super::nothing_is_found($look);
            })*
        }
    };
}
looks! {
    desktop, Look::DESKTOP;
    desktop_in_the_dark, Look::DESKTOP.dark();
    desktop_with_text_of_200_percent, Look::DESKTOP.large_text();
    phone, Look::PHONE;
    phone_in_the_dark, Look::PHONE.dark();
    phone_with_text_of_200_percent, Look::PHONE.large_text();
}

/// The sizes of all text on the page, in CSS pixels. A heading also follows the window's width.
const SIZES: &str = "const sizes = {}; \
    const all = [...document.querySelectorAll('body, body *:not(h1, svg, svg *)')]; \
    for (const element of all.filter((element) => element.getClientRects().length)) \
        sizes[`${element.tagName} ${element.className} ${element.id}`] = parseFloat(getComputedStyle(element).fontSize); \
    return sizes";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn text_follows_the_readers_font_size() {
    let sizes = [Look::DESKTOP, Look::DESKTOP.large_text()].map(|look| {
        let mut sizes = Value::Null;
        browse(look, async |browser| {
            let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let server = Example::start("axum", directory.path(), &[]);
            browser.open(&format!("http://{}/", server.address)).await;
            browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
            browser.wait_for(ROWS, |rows| done(rows, NOTES.0)).await;
            sizes = browser.run(SIZES).await;
        });
        sizes
    });
    let [usual, large] = sizes.each_ref().map(|sizes| sizes.as_object().unwrap());
    assert!(usual.len() > 20 && usual.len() == large.len(), "{usual:?}");
    for (element, size) in usual {
        assert_eq!(large[element].as_f64().unwrap(), 2.0 * size.as_f64().unwrap(), "{element}");
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn names_are_cut_in_the_middle() {
    const NAME: &str = "return (({ start, end, link, row }) => ({ cut: start.scrollWidth > start.clientWidth, \
        end: end.textContent, right: row.getBoundingClientRect().right - end.getBoundingClientRect().right, \
        shown: start.textContent + end.textContent, heard: link.querySelector('.heard').textContent }))\
        (((row) => ({ row, start: row.querySelector('.start'), end: row.querySelector('.end'), link: row.querySelector('a') }))\
        (document.querySelector('.upload')))";
    for look in [Look::DESKTOP, Look::PHONE, Look::PHONE.large_text()] {
        browse(look, async |browser| {
            let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let server = Example::start("axum", directory.path(), &[]);
            browser.open(&format!("http://{}/", server.address)).await;
            browser.choose("#choose", &[&file(chosen.path(), LONG)]).await;
            browser.wait_for(ROWS, |rows| done(rows, LONG.0)).await;
            let name = browser.run(NAME).await;
            assert_eq!((&name["cut"], &name["end"]), (&json!(true), &json!("n) 12.mp4")), "{look:?} {name}");
            assert!(name["right"].as_f64().unwrap() > 0.0, "its end is seen: {look:?} {name}");
            assert_eq!((name["shown"].as_str(), name["heard"].as_str()), (Some(LONG.0), Some(LONG.0)));
        });
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn progress_can_be_heard() {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[]);
        browser.open(&format!("http://{}/", server.address)).await;
        browser.throttle(4 << 20).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM)]).await;
        browser.wait_for(ROWS, |rows| row_in(rows, FILM.0, "uploading").map(drop)).await;
        // What the browser gives to a screen reader.
        let bar = async || {
            let tree = browser.command("Accessibility.getFullAXTree", json!({})).await;
            let nodes = tree["nodes"].as_array().unwrap().clone();
            nodes.into_iter().find(|node| node["role"]["value"] == "progressbar")
        };
        let value = |bar: &Value| {
            assert_eq!(bar["name"]["value"], "Progress of film.mp4", "{bar}");
            bar["value"]["value"].as_f64().unwrap()
        };
        let first = value(&bar().await.expect("a progress bar"));
        browser.wait_for(ROWS, |rows| (row(rows, FILM.0)?["percent"].as_f64()? > first + 5.0).then_some(())).await;
        assert!(value(&bar().await.expect("a progress bar")) > first);
    });
}

/// The focused element, and whether its focus is seen.
const FOCUS: &str = "const element = document.activeElement; const style = getComputedStyle(element); \
    return { id: element.id || element.className || element.tagName, name: element.getAttribute('aria-label') ?? element.textContent.trim(), \
    seen: element.matches(':focus-visible') && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 }";

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn everything_works_by_keyboard() {
    browse(Look::DESKTOP, async |browser| {
        let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = Example::start("axum", directory.path(), &[("TUS_DOWNLOAD", "on")]);
        browser.open(&format!("http://{}/", server.address)).await;
        browser.throttle(PACE).await;
        browser.choose("#choose", &[&file(chosen.path(), FILM), &file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| (row(rows, NOTES.0)?["link"] != "").then_some(())).await;
        browser.wait_for(ROWS, |rows| row_in(rows, FILM.0, "uploading").map(drop)).await;
        let press = async |key: Key, reaches: &str| {
            browser.press(&char::from(key).to_string()).await;
            browser.wait_for(FOCUS, |focus| (focus["id"] == reaches || focus["name"] == reaches).then_some(())).await;
            let focus = browser.run(FOCUS).await;
            assert_eq!(focus["seen"], true, "{reaches}: {focus}");
        };

        for reached in ["choose-files", "choose-folder", "clear", "Pause film.mp4"] {
            press(Key::Tab, reached).await;
        }
        press(Key::Enter, "Resume film.mp4").await;
        browser.wait_for(ROWS, |rows| row_in(rows, FILM.0, "paused").map(drop)).await;
        press(Key::Tab, "Cancel film.mp4").await;

        // The safe answer has the focus, and the focus comes back.
        press(Key::Enter, "Keep upload").await;
        press(Key::Enter, "Cancel film.mp4").await;
        press(Key::Enter, "Keep upload").await;
        press(Key::Escape, "Cancel film.mp4").await;
        press(Key::Enter, "Keep upload").await;
        press(Key::Tab, "Cancel upload").await;
        // Then to the row that takes the place of the one that is gone, and to the start after the last one.
        press(Key::Enter, "Hide notes.pdf").await;
        assert!(row(&browser.run(ROWS).await, FILM.0).is_none());
        press(Key::Enter, "choose-files").await;
        assert_eq!(browser.run(ROWS).await, json!([]));

        browser.choose("#choose", &[&file(chosen.path(), NOTES)]).await;
        browser.wait_for(ROWS, |rows| (row(rows, NOTES.0)?["link"] != "").then_some(())).await;
        browser.run("document.querySelector('#choose-folder').focus()").await;
        press(Key::Tab, "clear").await;
        press(Key::Tab, "link").await;
        press(Key::Tab, "Hide notes.pdf").await;
        browser.run("document.querySelector('#clear').focus()").await;
        press(Key::Enter, "choose-files").await;
        assert_eq!(browser.run(ROWS).await, json!([]));
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn without_javascript_the_page_says_what_to_do() {
    browse(Look::PHONE, async |browser| {
        let directory = TempDir::new().unwrap();
        let server = Example::start("axum", directory.path(), &[]);
        browser.command("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        browser.go(&format!("http://{}/", server.address)).await;
        let tree = browser.command("Accessibility.getFullAXTree", json!({})).await;
        let texts = tree["nodes"].as_array().unwrap().iter().filter(|node| node["role"]["value"] == "StaticText");
        let text: String = texts.filter_map(|node| node["name"]["value"].as_str()).collect();
        assert!(text.contains("need JavaScript") && text.contains("tus-upload"), "{text}");
        assert!(!text.contains("Choose files"), "nothing is offered that does not work: {text}");
    });
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn reduced_motion_turns_animations_off() {
    const MOVING: &str = "return [...document.querySelectorAll('*')].filter((element) => \
        parseFloat(getComputedStyle(element).transitionDuration) || parseFloat(getComputedStyle(element).animationDuration)).length";
    browse(Look::DESKTOP, async |browser| {
        let directory = TempDir::new().unwrap();
        let server = Example::start("axum", directory.path(), &[]);
        browser.open(&format!("http://{}/", server.address)).await;
        assert_eq!(browser.run(MOVING).await, 0);
        browser.command("Emulation.setEmulatedMedia", json!({ "features": [] })).await;
        assert_ne!(browser.run(MOVING).await, 0);
    });
}
