//! cargo install --path examples/upload, then: tus-upload FILE... --to URL
//!
//! Uploads files to any tus server. With --resume, the same command continues what Ctrl-C or a crash has stopped. Exit
//! codes: 0 for success, 1 if anything failed, 2 for invalid arguments, 130 after Ctrl-C.

mod arguments;
mod display;
mod download;
#[cfg(test)]
mod tests;

use std::path::Path;

use arguments::{Action, Arguments};
use clap::Parser;
use display::{Display, FileBar, clean};
use download::{Downloads, download};
use tokio::signal::ctrl_c;
use tus_reqwest::{Client, Error, Source, Uploaded};

const FAILED: i32 = 1;
const INTERRUPTED: i32 = 130;

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let code = tokio::select! {
        done = run(&arguments) => match done {
            Ok(true) => 0,
            Ok(false) => FAILED,
            Err(error) => {
                eprintln!("{}", clean(&error.with_causes()));
                FAILED
            }
        },
        // The server keeps what it has acknowledged, and the URL is already in the store.
        _ = ctrl_c() => {
            eprintln!("{}", match arguments.store() {
                Some(_) => "stopped; run the same command with --resume to continue",
                None => "stopped; an upload that was started with --resume can be continued",
            });
            INTERRUPTED
        }
    };
    // Exits immediately, because a thread may be waiting for a pipe or a disk.
    std::process::exit(code)
}

/// Returns whether everything succeeded. Failures of single files have been reported; the other files are still tried.
async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let action = arguments.action();
    let client = arguments.client(action.url())?;
    match action {
        Action::Upload(_) => upload(arguments, &client).await,
        Action::Info(url) => {
            let info = client.info(url.clone()).await?;
            let count = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |bytes| bytes.to_string());
            println!("offset {}\nlength {}", count(info.offset), count(info.length));
            for (key, value) in info.metadata.iter() {
                println!("{} {}", clean(key), clean(&String::from_utf8_lossy(value)));
            }
            Ok(info.complete)
        }
        Action::Terminate(url) => client.terminate(url.clone()).await.map(|()| true),
        Action::Download(url) => {
            let [path] = &arguments.files[..] else {
                return Err(Error::Invalid("--download needs the name of exactly one file".into()));
            };
            let downloads = Downloads::new(arguments.http()?(), arguments.headers(), arguments.timeout())?;
            download(&downloads, url, path).await.map(|()| true)
        }
    }
}

async fn upload(arguments: &Arguments, client: &Client) -> Result<bool, Error> {
    let files: Vec<_> = arguments.files.iter().map(|path| (path, length(path))).collect();
    let known = files.iter().filter_map(|(_, length)| *length).sum();
    let display = Display::new(known, files.len(), !arguments.no_progress, arguments.quiet);
    let mut all = true;
    for (path, length) in files {
        let bar = display.file(&path.display().to_string(), length);
        match send(arguments, client, path, &bar).await {
            Ok(uploaded) => bar.done(&uploaded.url),
            Err(error) => {
                all = false;
                bar.failed(&error);
            }
        }
    }
    Ok(all)
}

/// Uploads a file as it is now: it may have changed while earlier ones were sent.
async fn send(arguments: &Arguments, client: &Client, path: &Path, bar: &FileBar) -> Result<Uploaded, Error> {
    let (shown, waiting) = (bar.clone(), bar.clone());
    let upload = client.upload(source(path).await?).fresh(!arguments.resume);
    let upload = upload.parts(arguments.parallel.into()).parts_at_once(arguments.parallel.into());
    let pairs = arguments.metadata.iter().cloned();
    let upload = pairs.fold(upload, |upload, (key, value)| upload.metadata(key, value));
    let upload = upload.on_wait(move |wait| waiting.waits(wait));
    upload.on_progress(move |progress| shown.show(progress)).send().await
}

/// The length of a file in bytes, for the bars; `None` if it has none, or is missing.
fn length(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.len())
}

async fn source(path: &Path) -> Result<Source, Error> {
    match path == Path::new("-") {
        true => Ok(Source::reader(std::io::stdin())),
        false => Source::path(path).await,
    }
}
