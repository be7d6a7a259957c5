//! cargo run --release --example axum
//!
//! A server for resumable uploads: the endpoint at /files, and a page to upload from at /.

use axum::{Router, response::Html, routing::get};
use axum_tus::Tus;
use example_shared::{Failed, PAGE, Settings};

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let storage = settings.open().await?;
    let tus = Tus::builder_shared(storage).config(settings.config).build();
    let app = Router::new().route("/", get(Html(PAGE))).merge(axum_tus::router("/files", tus.clone()));

    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
