//! The client in the field: servers, proxies, files and stores as they really behave.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

mod connections;

mod credentials;
mod discovery;
mod early;
mod ends;
mod gone;
mod parts;
mod progress;
mod server;
mod slow;
mod sources;
mod stores;
mod storm;

use std::time::Duration;

use tus_reqwest::{Client, Options, Retry, Verification};

/// Options that request no capabilities and retry quickly.
fn plain() -> Options {
    let retry = Retry::default().delay(Duration::from_millis(1), Duration::from_millis(5));
    Options::default().verification(Verification::Off).retry(retry)
}

fn client(server: &server::Server) -> tus_reqwest::Builder {
    Client::builder(&server.url("/files")).options(plain())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}
