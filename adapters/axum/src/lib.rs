//! Resumable uploads for [axum](https://docs.rs/axum) applications, by the
//! [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload).
//!
//! ```no_run
//! use axum::Router;
//! use axum_tus::{Sqlite, Tus};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tus = Tus::builder(Sqlite::open("uploads-data")?).build();
//!     let app = Router::new().merge(axum_tus::router("/files", tus));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! What it is merged into nests under any path, as deep as you like; `Location` follows. The application's middleware
//! is in force, and what it puts into a request's extensions (the user, say) reaches the [`Hooks`]. A
//! layer that limits bodies or the time of a request limits uploads, too: put the router beside it.
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled and comes with the
//! program; without it the system's library is linked. `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms beside
//! `sha1`. `metrics`: counters and histograms through the facade of that name.

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Request},
    handler::HandlerWithoutStateExt,
    response::Response,
};

pub use tus_service::*;
#[cfg(feature = "sqlite")]
pub use tus_sqlite::{Durability, OpenError, Options, Sqlite};

/// The endpoint at `path`, with and without a slash at its end: merge it into the application's router.
///
/// # Panics
///
/// Where axum cannot nest at `path`: it begins with a slash and is more than that, and no route of the
/// application is below it.
pub fn router<S>(path: &str, tus: Tus) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let handler = move |OriginalUri(full): OriginalUri, mut request: Request| {
        let tus = tus.clone();
        async move {
            // The router took the path at which it is nested away; hooks and `Location` need all of it.
            let mount = mount(full.path(), request.uri().path()).to_owned();
            *request.uri_mut() = full;
            Response::from(tus.handle(request, &mount).await.map(Body::new))
        }
    };
    Router::new().nest_service(path, handler.into_service())
}
