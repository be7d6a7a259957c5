//! The program over real sockets.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

mod admin;
mod connections;
mod health;
mod import;
mod program;
mod receiver;
mod settings;
mod tls;
mod webhooks;
