//! Resumable uploads for [warp](https://docs.rs/warp) applications, by the
//! [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload).
//!
//! ```no_run
//! use warp::Filter;
//! use warp_tus::{Sqlite, Tus};
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let tus = Tus::builder(Sqlite::open("uploads-data")?).build();
//!     let app = warp::path("files").and(warp_tus::filter(tus));
//!     Ok(warp::serve(app).run(([127, 0, 0, 1], 8080)).await)
//! }
//! ```
//!
//! The filter takes what is left of the path, below as many segments as you like; `Location` follows. It
//! answers every request that reaches it, refusals included, and never rejects: put it behind the path
//! that is its own, and combine it by `or`. warp hands no extensions to filters: [`filter_with`] takes a filter
//! that makes those that the [`Hooks`] see (with the user, say).
//!
//! Interim responses (`104`) reach clients of the IETF's draft where the filter is served over
//! [`InterimIo`](https://docs.rs/tus-service/latest/tus_service/struct.InterimIo.html), as `warp::service`.
//!
//! warp does not pass on the trailers of a request, so that the extension `checksum-trailer` is off here.
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled and comes with the
//! program; without it the system's library is linked. `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms beside
//! `sha1`, on offer where [`Config::checksums`] names them. `metrics`: counters and histograms through the facade of
//! that name.

mod resumable;

use futures_core::Stream;
use http::{Extensions, HeaderMap, Method, Request, Response};
use tus_service::{Interim, ResponseBody, StreamBody, mount_path};
use warp::{
    Filter, Reply as _,
    filters::BoxedFilter,
    path::{FullPath, Tail},
    reply,
};

/// What requests and responses are made of.
pub use http;
pub use resumable::resumable;
/// The storage in an object store.
#[cfg(feature = "object-store")]
pub use tus_object_store::{self, ObjectStore};
/// All that the frameworks share, also what an implementation of [`Storage`] needs.
pub use tus_service;
pub use tus_service::{
    Algorithm, BaseUrl, Builder, ByteStream, Cause, Config, Cors, Dialect, Download, Failure, FinishReply, HookError,
    Hooks, Incarnation, InvalidBaseUrl, InvalidMetadata, InvalidUploadId, Kind, Location, Memory, Metadata, Mount,
    NewUpload, Operation, Part, Phase, Rejection, Resumable, Resumed, Storage, StorageError, Tus, TusExtension, Upload,
    UploadFilter, UploadId, UploadStream, context,
};
#[cfg(feature = "sqlite")]
pub use tus_sqlite::{Durability, OpenError, Options, Sqlite};

/// The endpoint at the path that was matched before, with and without a slash at its end.
pub fn filter(tus: Tus) -> BoxedFilter<(reply::Response,)> {
    filter_with(tus, warp::any().map(Extensions::new).boxed())
}

/// The endpoint; `extensions` makes those that the [`Hooks`] see. Where it rejects, the endpoint does.
///
/// ```
/// use warp::{Filter, filters::BoxedFilter, http::Extensions, reply::Response};
/// use warp_tus::{Memory, Rejection, Tus, filter_with};
///
/// /// By a header that the proxy before the application sets.
/// #[derive(Clone)]
/// struct User(String);
///
/// fn endpoint() -> Tus {
///     let tus = Tus::builder(Memory::new()).authorize(|cx| async move {
///         let user = cx.request.extensions.get::<User>();
///         user.map(|_| ()).ok_or_else(|| Rejection::unauthorized("Bearer"))
///     });
///     tus.build()
/// }
///
/// fn uploads(tus: Tus) -> BoxedFilter<(Response,)> {
///     let known = warp::header::optional("x-user").map(|user: Option<String>| {
///         let mut extensions = Extensions::new();
///         user.and_then(|user| extensions.insert(User(user)));
///         extensions
///     });
///     warp::path("files").and(filter_with(tus, known.boxed())).boxed()
/// }
/// ```
pub fn filter_with(tus: Tus, extensions: BoxedFilter<(Extensions,)>) -> BoxedFilter<(reply::Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(warp::path::tail())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(extensions)
        .and(warp::ext::optional::<Interim>())
        .and(warp::body::stream())
        .then(
            move |method,
                  path: FullPath,
                  rest: Tail,
                  query: String,
                  headers,
                  mut extensions: Extensions,
                  interim,
                  stream| {
                let tus = tus.clone();
                if let Some(interim) = interim {
                    let _: Option<Interim> = extensions.insert(interim);
                }
                async move {
                    let mount = Mount::at(mount_path(path.as_str(), rest.as_str()).to_owned()).without_trailers();
                    match translated(method, &path, &query, headers, extensions, stream) {
                        Ok(request) => respond(tus.handle(request, &mount).await),
                        Err(error) => respond(tus.unreadable(error)),
                    }
                }
            },
        )
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
