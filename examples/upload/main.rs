//! cargo run --release --example upload -- FILE... --to URL
//!
//! Uploads files to any tus server. Ctrl-C stops it; the same command with --resume continues where it stopped. Exit
//! codes: 0 for success, 1 if anything failed, 2 for invalid arguments, 130 after Ctrl-C.

mod arguments;
mod display;

use std::{io, process::ExitCode};

use arguments::{Action, Arguments};
use clap::Parser;
use display::Display;
use tokio::{fs::File, io::AsyncWriteExt, signal::ctrl_c};
use tus_reqwest::{Client, Error, JsonFile, Source, UrlStore, reqwest};

/// Stores the URLs of unfinished uploads, and looks one up only with --resume.
struct Urls {
    file: JsonFile,
    resume: bool,
}

impl UrlStore for Urls {
    fn get(&self, key: &str) -> io::Result<Option<String>> {
        if self.resume { self.file.get(key) } else { Ok(None) }
    }

    fn set(&self, key: &str, url: &str) -> io::Result<()> {
        self.file.set(key, url)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.file.remove(key)
    }
}

const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tokio::select! {
        done = run(&arguments) => match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        // The server keeps what it has acknowledged, and the URL is already in the file.
        _ = ctrl_c() => {
            eprintln!("stopped; run the same command with --resume to continue");
            ExitCode::from(INTERRUPTED)
        }
    }
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
                println!("{key} {}", String::from_utf8_lossy(value));
            }
            Ok(info.is_complete())
        }
        Action::Terminate(url) => client.terminate(url.clone()).await.map(|()| true),
        Action::Download(url) => download(arguments, url.as_str()).await,
    }
}

async fn upload(arguments: &Arguments, client: &Client) -> Result<bool, Error> {
    let mut sources = Vec::new();
    for path in &arguments.files {
        sources.push((path.display().to_string(), Source::path(path).await?));
    }
    let display = Display::new(sources.iter().filter_map(|(_, source)| source.length()).sum(), sources.len());
    let mut all = true;
    for (name, source) in sources {
        let bar = display.file(&name, source.length());
        let shown = bar.clone();
        let upload = client.upload(source).parts(arguments.parallel);
        match upload.on_progress(move |progress| shown.show(progress)).send().await {
            Ok(uploaded) => bar.done(&uploaded.url),
            Err(error) => {
                all = false;
                bar.failed(&error);
            }
        }
    }
    Ok(all)
}

/// Downloads a URL to the given file, starting at the end of that file.
async fn download(arguments: &Arguments, url: &str) -> Result<bool, Error> {
    let [path] = &arguments.files[..] else {
        return Err(Error::Invalid("--download needs the name of exactly one file".into()));
    };
    let mut file = File::options().create(true).append(true).open(path).await.map_err(Error::local)?;
    let have = file.metadata().await.map_err(Error::local)?.len();
    let http = arguments.http()?.default_headers(arguments.headers());
    let request = http.build().map_err(Error::local)?.get(url).header("range", format!("bytes={have}-"));
    let mut response = request.send().await.map_err(Error::connection)?;
    match response.status() {
        // The file is complete already.
        reqwest::StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(true),
        reqwest::StatusCode::PARTIAL_CONTENT => {}
        reqwest::StatusCode::OK => file.set_len(0).await.map_err(Error::local)?,
        status => return Err(Error::Invalid(format!("the server answered GET with {status}"))),
    }
    while let Some(piece) = response.chunk().await.map_err(Error::connection)? {
        file.write_all(&piece).await.map_err(Error::local)?;
    }
    file.sync_all().await.map_err(Error::local)?;
    Ok(true)
}
