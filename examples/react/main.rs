//! cd examples/react/page && npm ci && npm run build && cd ../../..
//! cargo run --release --example react
//!
//! A page made with React and Uppy (`page/main.jsx`), and its server: the endpoint at /files, the built page at /. While
//! you change the page, run `npm run dev` beside the server: it forwards requests for /files to this server.

use axum::Router;
use axum_tus::{Cors, Tus};
use example_shared::{Failed, Settings, path};
use tower_http::services::ServeDir;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let page = path("TUS_PAGE").unwrap_or("examples/react/page/dist".into());

    // The page has the endpoint's origin and needs no permission. This is no access control: anybody may upload here, and a
    // page elsewhere only cannot read the responses. `session` refuses what other pages send.
    let config = settings.config.clone().cors(Cors::Off);
    let tus = Tus::builder_shared(settings.open().await?).config(config).build();
    let app = Router::new().merge(axum_tus::router("/files", tus.clone())).fallback_service(ServeDir::new(page));

    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
