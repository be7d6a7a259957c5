//! cargo run --release --example proxy, and nginx -p . -c examples/proxy/nginx.conf
//!
//! Behind nginx, which serves the endpoint at /app/files and removes the prefix /app: clients upload to
//! http://127.0.0.1:8081/app/files and get URLs there.

use axum::Router;
use axum_tus::{Location, Tus};
use example_shared::{Failed, Settings};

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    // Only because clients can reach this server only through nginx, which sets these headers itself.
    let storage = settings.open().await?;
    let config = settings.config.location(Location::Host).trust_forwarded(true);
    let tus = Tus::builder_shared(storage).config(config).build();

    let app = Router::new().merge(axum_tus::router("/files", tus.clone()));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
