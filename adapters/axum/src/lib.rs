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
//! `sqlite` (on by default): the storage [`Sqlite`]. `sha256`, `sha512`, `md5`, `crc32`: checksum
//! algorithms beside `sha1`. `metrics`: counters and histograms through the facade of that name.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Request},
    response::Response,
};
use tower::service_fn;

pub use tus_service::*;
#[cfg(feature = "sqlite")]
pub use tus_sqlite::{Durability, OpenError, Options, Sqlite};

/// The endpoint at `path`, with and without a slash at its end: merge it into the application's router.
///
/// # Panics
///
/// Where axum cannot route `path`: it does not begin with a slash, or the application has a route of its own there.
pub fn router<S>(path: &str, tus: Tus) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let path = path.trim_end_matches('/');
    let depth = path.matches('/').count();
    let endpoint = service_fn(move |mut request: Request| {
        // Routers above have taken the paths at which they are nested away; hooks and `Location` need all of it.
        let full = request.extensions().get().map_or_else(|| request.uri().clone(), |OriginalUri(uri)| uri.clone());
        let routed = request.uri().path();
        let rest = routed.match_indices('/').nth(depth).map_or("", |(at, _)| &routed[at..]);
        let mount = mount(full.path(), rest).to_owned();
        *request.uri_mut() = full;
        let tus = tus.clone();
        async move { Ok::<_, Infallible>(Response::from(tus.handle(request, &mount).await.map(Body::new))) }
    });
    let router = match path {
        "" => Router::new(),
        path => Router::new().route_service(path, endpoint.clone()),
    };
    router.route_service(&format!("{path}/"), endpoint.clone()).route_service(&format!("{path}/{{*upload}}"), endpoint)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn send(app: &Router, method: &str, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("tus-resumable", "1.0.0").header("upload-length", "5");
        app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn create(app: &Router, path: &str) -> String {
        let created = send(app, "POST", path).await;
        assert_eq!(created.status(), 201, "{path}");
        created.headers()["location"].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn it_may_be_at_the_root() {
        let app = router("/", Tus::builder(Memory::new()).build());
        let path = create(&app, "/").await;
        assert_eq!(path.matches('/').count(), 1);
        assert_eq!(send(&app, "HEAD", &path).await.status(), 200);
    }

    #[tokio::test]
    async fn routes_of_the_application_may_be_below_it() {
        let app = router("/files", Tus::builder(Memory::new()).build()).route("/files/about", get(async || "about"));
        for endpoint in ["/files", "/files/"] {
            let path = create(&app, endpoint).await;
            assert!(path.starts_with("/files/"));
            assert_eq!(send(&app, "HEAD", &path).await.status(), 200);
        }
        assert!(!send(&app, "GET", "/files/about").await.headers().contains_key("tus-resumable"));
    }
}
