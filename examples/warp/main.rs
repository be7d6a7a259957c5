//! cargo run --release --example warp
//!
//! A server for resumable uploads: the endpoint at /files, and a page to upload from at /.

use example_shared::{Failed, PAGE, Settings};
use warp::Filter;
use warp_tus::Tus;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let storage = settings.open().await?;
    let tus = Tus::builder_shared(storage).config(settings.config).build();
    let page = warp::path::end().and(warp::get()).map(|| warp::reply::html(PAGE));
    let app = page.or(warp::path("files").and(warp_tus::filter(tus.clone())));

    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| warp::serve(app).incoming(listener).graceful(stop).run();
    example_shared::serve(tus, server).await;
    Ok(())
}
