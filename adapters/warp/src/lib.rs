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
//! The filter handles the rest of the path, below any number of segments; `Location` stays correct. It answers every
//! request that reaches it, including those that it refuses, and never rejects: put it behind its own path, and
//! combine it with `or`. warp passes no extensions to filters: [`filter_with`] takes a filter that makes those for
//! the [`Hooks`] (for example with the user).
//!
//! Interim responses (`104`) reach clients of the IETF's draft if the filter is served over
//! [`InterimIo`](https://docs.rs/tus-service/latest/tus_service/struct.InterimIo.html), as `warp::service`.
//! If the client of a download stops reading, the connection is closed there, over HTTP/2, too.
//!
//! warp drops the trailers of requests, so the extension `checksum-trailer` is off here.
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled in; without it,
//! the system's library is linked. `object-store`: the storage `ObjectStore`, in a bucket of S3, GCS or Azure.
//! `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms in addition to `sha1`, offered if [`Config::checksums`] lists
//! them. `metrics`: counters and histograms through the facade of that name. `serde`: [`UploadId`] and [`Metadata`] in
//! the application's own documents and paths.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod message;
mod resumable;

use http::Extensions;
use tus_service::{CloseConnection, Interim, StreamBody, mount_path};
use warp::{
    Filter,
    filters::BoxedFilter,
    path::{FullPath, Tail},
    reply,
};

use self::message::respond;

/// The types of requests and responses.
pub use http;
pub use resumable::{ResumableApp, resumable};
/// The storage in an object store.
#[cfg(feature = "object-store")]
pub use tus_object_store::{self, ObjectStore};
/// What all frameworks share, including what an implementation of [`Storage`] needs.
pub use tus_service;
pub use tus_service::{
    Algorithm, BaseUrl, Builder, ByteStream, Cause, Config, Cors, Dialect, Download, Failure, FinishReply, HookError,
    Hooks, Incarnation, InvalidBaseUrl, InvalidMetadata, InvalidUploadId, Kind, Location, Memory, Metadata, Mount,
    NewUpload, Operation, Part, Phase, Rejection, Resumable, Resumed, Storage, StorageError, Tus, TusExtension, Upload,
    UploadFilter, UploadId, UploadStream, context,
};
#[cfg(feature = "sqlite")]
pub use tus_sqlite::{Durability, OpenError, Options, Sqlite};

/// The endpoint at the path that was matched before, with and without a trailing slash.
///
/// ```
/// use warp::{Filter, Reply};
/// use warp_tus::{Memory, Tus, filter};
///
/// /// Below `/users/{user}/files`.
/// fn app() -> impl Filter<Extract = (impl Reply,), Error = warp::Rejection> + Clone {
///     let tus = Tus::builder(Memory::new()).build();
///     let files = warp::path!("users" / String / "files" / ..).and(filter(tus));
///     files.map(|_user: String, response| response)
/// }
/// ```
pub fn filter(tus: Tus) -> BoxedFilter<(reply::Response,)> {
    filter_with(tus, warp::any().map(Extensions::new).boxed())
}

/// The endpoint; `extensions` makes the extensions for the [`Hooks`]. If it rejects, so does the endpoint.
///
/// Do not let `extensions` decide by the method. tus allows `X-HTTP-Method-Override`: a request with the method OPTIONS can
/// create or delete an upload. Decide in [`Hooks::authorize`], by the operation, and refuse a request without a user there.
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
    message::head()
        .and(warp::path::full())
        .and(warp::path::tail())
        .and(extensions)
        .and(warp::ext::optional::<Interim>())
        .and(warp::ext::optional::<CloseConnection>())
        .and(warp::body::stream())
        .then(
            move |head: message::Head,
                  path: FullPath,
                  rest: Tail,
                  mut extensions: Extensions,
                  interim,
                  close,
                  stream| {
                let tus = tus.clone();
                if let Some(interim) = interim {
                    let _: Option<Interim> = extensions.insert(interim);
                }
                if let Some(close) = close {
                    let _: Option<CloseConnection> = extensions.insert(close);
                }
                async move {
                    let mount = Mount::at(mount_path(path.as_str(), rest.as_str()).to_owned()).without_trailers();
                    match head {
                        Ok(head) => {
                            let mut request = head.map(|()| StreamBody(Box::pin(stream)));
                            *request.extensions_mut() = extensions;
                            respond(tus.handle(request, &mount).await)
                        }
                        Err(error) => respond(tus.unreadable(error)),
                    }
                }
            },
        )
        .boxed()
}
