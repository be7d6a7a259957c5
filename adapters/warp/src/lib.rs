//! Resumable uploads for [warp](https://docs.rs/warp) applications, by the
//! [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload).
//!
//! ```no_run
//! use warp::Filter;
//! use warp_tus::{Sqlite, Tus};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tus = Tus::builder(Sqlite::open("uploads-data")?).build();
//!     let app = warp::path("files").and(warp_tus::filter(tus));
//!     Ok(warp::serve(app).run(([127, 0, 0, 1], 8080)).await)
//! }
//! ```
//!
//! The filter takes what is left of the path, below as many segments as you like; `Location` follows. It
//! answers every request that reaches it, refusals included, and never rejects: put it behind the path
//! that is its own, and combine it by `or`. warp hands no extensions to filters: [`filter_with`] takes a filter
//! that makes those that the [`Hooks`] see (the user, say).
//!
//! warp does not pass on the trailers of a request, so that the extension `checksum-trailer` is off here.
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled and comes with the
//! program; without it the system's library is linked. `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms beside
//! `sha1`. `metrics`: counters and histograms through the facade of that name.

use futures_core::Stream;
use http::{Extensions, HeaderMap, Method, Request, Response};
use warp::{
    Filter, Reply as _,
    filters::BoxedFilter,
    path::{FullPath, Tail},
    reply,
};

pub use tus_service::*;
#[cfg(feature = "sqlite")]
pub use tus_sqlite::{Durability, OpenError, Options, Sqlite};

/// The endpoint at the path that was matched before, with and without a slash at its end.
pub fn filter(tus: Tus) -> BoxedFilter<(reply::Response,)> {
    filter_with(tus, warp::any().map(Extensions::new).boxed())
}

/// The endpoint; `extensions` makes those that the [`Hooks`] see. Where it rejects, the endpoint does.
pub fn filter_with(tus: Tus, extensions: BoxedFilter<(Extensions,)>) -> BoxedFilter<(reply::Response,)> {
    let tus = tus.without(Extension::ChecksumTrailer);
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(warp::path::tail())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(extensions)
        .and(warp::body::stream())
        .then(move |method, path: FullPath, rest: Tail, query: String, headers, extensions, stream| {
            let tus = tus.clone();
            async move {
                let mount = mount(path.as_str(), rest.as_str()).to_owned();
                match translated(method, &path, &query, headers, extensions, stream) {
                    Ok(request) => respond(tus.handle(request, &mount).await),
                    Err(error) => bad_request(&error),
                }
            }
        })
        .boxed()
}

/// The request as the driver takes it: warp hands its pieces over one by one.
fn translated<S: Stream>(
    method: Method,
    path: &FullPath,
    query: &str,
    headers: HeaderMap,
    extensions: Extensions,
    stream: S,
) -> Result<Request<StreamBody<std::pin::Pin<Box<S>>>>, http::Error> {
    let target = if query.is_empty() { path.as_str().to_owned() } else { format!("{}?{query}", path.as_str()) };
    let mut request = Request::builder().method(method).uri(target).body(StreamBody(Box::pin(stream)))?;
    *request.headers_mut() = headers;
    *request.extensions_mut() = extensions;
    Ok(request)
}

fn respond(response: Response<ResponseBody>) -> reply::Response {
    let (head, body) = response.into_parts();
    let mut response = match body.try_into_bytes() {
        Ok(bytes) => Response::new(bytes.into()),
        Err(body) => reply::stream(body).into_response(),
    };
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

fn bad_request(error: &http::Error) -> reply::Response {
    let mut response = Response::new(error.to_string().into());
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
}
