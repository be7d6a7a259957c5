//! Resumable uploads for [axum](https://docs.rs/axum) applications, by the
//! [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload).
//!
//! ```no_run
//! use axum::Router;
//! use axum_tus::{Sqlite, Tus};
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let tus = Tus::builder(Sqlite::open("uploads-data")?).build();
//!     let app = Router::new().merge(axum_tus::router("/files", tus));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! Nest the router at any path and depth; `Location` stays correct. [`service`] is the endpoint for
//! [`Router::nest_service`] and [`Router::fallback_service`]. A layer that limits bodies or the duration of requests
//! also limits uploads: apply it to other routes only.
//!
//! # Hooks
//!
//! The application's middleware applies, and what it adds to a request's extensions (for example the user) reaches
//! the [`Hooks`]:
//!
//! ```
//! use axum_tus::{Hooks, NewUpload, Rejection, Sqlite, Tus, context, http::request::Parts};
//!
//! /// The application's own middleware adds it to the request's extensions.
//! #[derive(Clone)]
//! struct User(String);
//!
//! fn user(request: &Parts) -> Result<&String, Rejection> {
//!     request.extensions.get().map(|User(name)| name).ok_or_else(|| Rejection::unauthorized("Bearer"))
//! }
//!
//! struct Policy;
//!
//! impl Hooks for Policy {
//!     async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
//!         let user = user(&cx.request)?;
//!         match &cx.upload {
//!             Some(upload) if upload.owner.as_ref() != Some(user) => Err(Rejection::forbidden("it is not yours\n")),
//!             _ => Ok(()),
//!         }
//!     }
//!
//!     async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
//!         let mut upload = cx.upload;
//!         upload.owner = Some(user(&cx.request)?.clone());
//!         Ok(upload)
//!     }
//! }
//!
//! fn endpoint(sqlite: Sqlite) -> Tus {
//!     Tus::builder(sqlite).hooks(Policy).build()
//! }
//! ```
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled in; without it,
//! the system's library is linked. `object-store`: the storage `ObjectStore`, in a bucket of S3, GCS or Azure.
//! `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms in addition to `sha1`, offered if [`Config::checksums`] lists
//! them. `metrics`: counters and histograms through the facade of that name. `serde`: [`UploadId`] and [`Metadata`] in
//! the application's own documents and paths.
//! `interim`: interim responses for clients of the IETF's draft, through `Informing`.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "interim")]
mod interim;
mod resumable;
mod service;

use axum::Router;

/// The types of requests and responses.
pub use axum::http;
#[cfg(feature = "interim")]
pub use interim::{Address, Informed, Informing};
pub use resumable::resumable;
pub use service::{EndpointService, service};
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

/// The endpoint at `path`, with and without a trailing slash. Merge it into the application's router. At `/` it
/// handles what no other route of the router handles.
///
/// # Panics
///
/// If axum cannot nest at `path`, which must begin with a slash and have no other routes of the application below it.
///
/// ```
/// use axum::{Router, routing::get};
/// use axum_tus::{Memory, Tus, router};
///
/// /// Below `/users/{user}/files`, with the state and the layers of the application.
/// fn app<S: Clone + Send + Sync + 'static>() -> Router<S> {
///     let tus = Tus::builder(Memory::new()).build();
///     Router::new().route("/health", get(|| async { "ok" })).nest("/users/{user}", router("/files", tus))
/// }
/// ```
pub fn router<S>(path: &str, tus: Tus) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    match path {
        "" | "/" => Router::new().fallback_service(service(tus)),
        path => Router::new().nest_service(path, service(tus)),
    }
}
