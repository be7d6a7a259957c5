//! The pictures in the README and the guide: the real page and the real program, whose server is killed.
//!
//! `examples/guide/pictures` keeps them. Any other run only makes them.

use std::{
    fmt::Write,
    io::Read,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chromium::{Chromium, Look},
    content::assert_same,
    example::{self, Example},
    faulty::{Fault, Line},
    page::{ROWS, browse, done, file, row_in, stored},
};

const NAME: &str = "holiday.mp4";

/// A README is no place for large pictures.
const MAX_BYTES: usize = 200_000;

/// The width of a README in CSS pixels.
const WIDTH: u32 = 830;

/// Where pictures go: the directory `TUS_PICTURES` within the repository, or one that nobody looks at.
fn keep(name: &str, picture: &[u8]) {
    assert!(picture.len() < MAX_BYTES, "{name} has {} bytes", picture.len());
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = match std::env::var_os("TUS_PICTURES") {
        Some(directory) => repository.join(directory),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
    };
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), picture).unwrap();
}

// ---- The page

#[test]
#[cfg_attr(not(has_chromium), ignore = "chromium and chromedriver are not installed")]
fn the_page_continues_after_its_server_was_killed() {
    let look = Look { width: 640, height: 700, scale: 2, ..Look::DESKTOP };
    for (look, name) in [(look, "page.png"), (look.dark(), "page-dark.png")] {
        browse(look, async |browser| {
            let frames = frames(browser).await;
            keep(name, &sheet(browser, look, &frames).await);
        });
    }
}

/// Pictures of the list with what happened before each.
async fn frames(browser: &Chromium) -> Vec<(&'static str, String)> {
    let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", directory.path(), &[("TUS_DOWNLOAD", "on")]);
    let address = server.address.to_string();
    browser.open(&format!("http://{address}/")).await;
    browser.throttle(4 << 20).await;
    browser.choose("#choose", &[&file(chosen.path(), (NAME, 48 << 20))]).await;
    let reached = |rows: &Value, percent| {
        let film = row_in(rows, NAME, "uploading")?;
        (film["percent"].as_u64()? >= percent && film["about"].as_str()?.contains(" left")).then_some(())
    };
    let mut frames = Vec::new();
    browser.wait_for(ROWS, |rows| reached(rows, 40)).await;
    frames.push(("A film is being uploaded.", list(browser).await));
    server.kill();
    let waits = |rows: &Value| row_in(rows, NAME, "retrying")?["about"].as_str()?.contains("again in").then_some(());
    browser.wait_for(ROWS, waits).await;
    frames.push(("<code>kill -9</code>: the server is gone. The page tries again.", list(browser).await));
    let server = Example::start_at("axum", &address, directory.path(), &[("TUS_DOWNLOAD", "on")]);
    browser.wait_for(ROWS, |rows| reached(rows, 50)).await;
    frames.push(("The server is back. The upload resumes where it stopped.", list(browser).await));
    let linked = |rows: &Value| (row_in(rows, NAME, "done")?["link"] != "").then(|| done(rows, NAME)).flatten();
    let url = browser.wait_for(ROWS, linked).await;
    frames.push(("Complete. No byte was lost.", list(browser).await));
    assert_same(&stored(directory.path(), &url), &std::fs::read(chosen.path().join(NAME)).unwrap());
    drop(server);
    frames
}

/// A picture of the rows, as Base64. They have a line around them, since their shadow would be cut off.
async fn list(browser: &Chromium) -> String {
    let clip = "document.documentElement.style.setProperty('--shadow', '0 0 0 1px var(--line)'); \
        const { x, y, width, height } = document.querySelector('#uploads').getBoundingClientRect(); \
        return { x: x - 1, y: y - 1, width: width + 2, height: height + 2, scale: 1 }";
    let clip = browser.run(clip).await;
    let picture = json!({ "clip": clip, "captureBeyondViewport": true });
    browser.command("Page.captureScreenshot", picture).await["data"].as_str().unwrap().to_owned()
}

/// One picture of all, laid out by the browser.
async fn sheet(browser: &Chromium, look: Look, frames: &[(&str, String)]) -> Vec<u8> {
    let (ground, text, line) = match look.dark {
        true => ("#11151b", "#e7ebf1", "#3d4756"),
        false => ("#f4f6f9", "#1b2430", "#c3cad5"),
    };
    let figures: String = (1..).zip(frames).fold(String::new(), |mut figures, (number, (caption, picture))| {
        let picture = format!("<img src='data:image/png;base64,{picture}'>");
        let _ = write!(figures, "<b>{number}</b><p>{caption}</p>{picture}");
        figures
    });
    let html = format!(
        "<style>
            body {{ box-sizing: border-box; display: grid; grid-template-columns: auto 1fr 594px; align-items: center; gap: 12px;
                width: {WIDTH}px; margin: 0; padding: 16px; border: 1px solid {line}; border-radius: 12px;
                background: {ground}; color: {text}; font: 15px/1.35 system-ui, sans-serif; }}
            b {{ display: grid; place-items: center; width: 26px; height: 26px; border: 1px solid; border-radius: 50%; }}
            p {{ margin: 0; }}
            img {{ display: block; width: 100%; }}
        </style>{figures}"
    );
    browser.go("data:text/html,<!doctype html>").await;
    browser.show_as(Look { width: WIDTH, height: 600, ..look }).await;
    let show = format!(
        "document.body.innerHTML = {}; const images = [...document.images].map((image) => image.decode()); \
            Promise.all(images).then(() => arguments[0](document.body.offsetHeight))",
        json!(html)
    );
    let height = browser.run_async(&show).await;
    let transparent = json!({ "color": { "r": 0, "g": 0, "b": 0, "a": 0 } });
    browser.command("Emulation.setDefaultBackgroundColorOverride", transparent).await;
    let clip = json!({ "x": 0, "y": 0, "width": WIDTH, "height": height, "scale": 1 });
    let picture =
        browser.command("Page.captureScreenshot", json!({ "clip": clip, "captureBeyondViewport": true })).await;
    BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
}

// ---- The program

/// Characters.
const LINES: NonZero<u16> = NonZero::new(10).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(104).unwrap();

#[test]
#[cfg_attr(not(has_script), ignore = "script, which gives a program a terminal, is not installed")]
fn the_program_continues_after_its_server_was_killed() {
    let (chosen, directory) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let film = file(chosen.path(), (NAME, 64 << 20));
    let server = Example::start("axum", directory.path(), &[]);
    let address = server.address.to_string();
    // A line of some MB/s.
    let line = Line::to(server.address, Fault::Slows, u64::MAX, u64::MAX, 1);
    let mut terminal = Terminal::run(chosen.path(), &format!("tus-upload {NAME} --to http://{}/files", line.address));
    let mut screens = Vec::new();
    terminal.wait_for(|text| percent(text) >= Some(40));
    screens.push(("", terminal.news()));
    server.kill();
    terminal.wait_for(|text| text.contains(": waiting ") && percent(text).is_some());
    screens.push(("kill -9: the server is gone", terminal.news()));
    let _server = Example::start_at("axum", &address, directory.path(), &[]);
    terminal.wait_for(|text| percent(text) >= Some(60));
    screens.push(("The server is back, and the upload resumes where it stopped", terminal.news()));
    let url = terminal.finish();
    screens.push(("Complete: the same bytes", terminal.news()));
    assert_same(&stored(directory.path(), &url), &std::fs::read(film).unwrap());
    keep("program.svg", draw(&screens).as_bytes());
}

/// The percentage of the bar.
fn percent(text: &str) -> Option<u32> {
    let (before, _) = text.rsplit_once(" %")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// A program in a terminal.
struct Terminal {
    program: Child,
    output: ChildStdout,
    emulator: vt100::Parser,
    /// Lines that a picture shows.
    seen: Vec<String>,
}

impl Terminal {
    /// Runs a command, and shows it first, as if somebody had typed it.
    fn run(directory: &Path, command: &str) -> Self {
        let typed = format!("stty rows {LINES} cols {COLUMNS}; printf '$ %s\\n' '{command}'; exec {command}");
        let programs = example::upload().parent().unwrap().to_owned();
        let path = std::env::join_paths(
            [programs].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut program = Command::new("script")
            .args(["-qfec", &typed, "/dev/null"])
            .env("PATH", path.unwrap())
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = program.stdout.take().unwrap();
        Self { program, output, emulator: vt100::Parser::new(LINES, COLUMNS, 0), seen: Vec::new() }
    }

    /// Reads until the screen is as expected.
    fn wait_for(&mut self, is_there: impl Fn(&str) -> bool) {
        while !is_there(&self.emulator.screen().contents()) {
            assert!(self.read(), "it ended too early: {}", self.emulator.screen().contents());
        }
    }

    /// Reads some of its output. Whether there was any.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = self.output.read(&mut buffer).unwrap();
        self.emulator.process(&buffer[..count]);
        count > 0
    }

    /// Waits for its end. The last URL that it printed.
    fn finish(&mut self) -> String {
        while self.read() {}
        assert!(self.program.wait().unwrap().success());
        let text = self.emulator.screen().contents();
        text.lines().rfind(|line| line.starts_with("http")).expect("a URL").trim().to_owned()
    }

    /// The lines of the screen that are not empty, and were not there before.
    fn news(&mut self) -> Vec<String> {
        let lines =
            self.emulator.screen().rows(0, COLUMNS.get()).filter(|line| !line.is_empty() && !self.seen.contains(line));
        let lines: Vec<_> = lines.collect();
        self.seen.extend(lines.iter().cloned());
        lines
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Screens below each other, each with a comment before it.
fn draw(screens: &[(&str, Vec<String>)]) -> String {
    const FONT_SIZE: f32 = 13.0;
    // Of a character of most monospaced fonts. Each text is stretched to it.
    const CELL: f32 = WIDTH as f32 / (COLUMNS.get() + 4) as f32;
    const LINE: f32 = 20.0;
    let left = 2.0 * CELL;
    let mut svg = String::new();
    let mut y = 14.0;
    for (comment, lines) in screens {
        if !comment.is_empty() {
            y += LINE / 2.0;
            let _ = write!(svg, "<text x='{left:.1}' y='{:.1}' class='comment'># {comment}</text>", y + FONT_SIZE);
            y += LINE;
        }
        for line in lines {
            text_and_bar(&mut svg, line, (left, y, CELL, LINE), FONT_SIZE);
            y += LINE;
        }
    }
    let height = y + 16.0;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img'>\
        <title>The program tus-upload continues after its server was killed</title>\
        <style>text {{ fill: #dfe5ee; font: {FONT_SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
        white-space: pre; }} .comment {{ fill: #8fd6a8; }} .bar {{ fill: #6ea2ff; }} .track {{ fill: #333d4c; }}</style>\
        <rect x='.5' y='.5' width='{}' height='{}' rx='12' fill='#151a21' stroke='#3d4756'/>{svg}</svg>\n",
        WIDTH - 1,
        height - 1.0
    )
}

/// The characters of bars become shapes: fonts draw them with gaps.
fn text_and_bar(svg: &mut String, line: &str, (left, y, cell, height): (f32, f32, f32, f32), font_size: f32) {
    let characters: Vec<char> = line.chars().collect();
    let kind = |character: char| match character {
        '█' => "bar",
        '░' => "track",
        _ => "",
    };
    let mut at = 0;
    for run in characters.chunk_by(|a, b| kind(*a) == kind(*b)) {
        let (x, width) = (left + at as f32 * cell, run.len() as f32 * cell);
        at += run.len();
        let text: String = run.iter().collect();
        let _ = match kind(run[0]) {
            "" if text.trim().is_empty() => Ok(()),
            "" => {
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                let y = y + font_size;
                write!(
                    svg,
                    "<text x='{x:.1}' y='{y:.1}' textLength='{width:.1}' lengthAdjust='spacingAndGlyphs'>{text}</text>"
                )
            }
            class => write!(
                svg,
                "<rect x='{x:.1}' y='{:.1}' width='{width:.1}' height='{:.1}' class='{class}'/>",
                y + 3.0,
                height - 6.0
            ),
        };
    }
}
