//! Resumable uploads for [actix-web](https://docs.rs/actix-web) applications, by the
//! [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload).
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use actix_web_tus::{Sqlite, Tus};
//!
//! #[actix_web::main]
//! async fn main() -> anyhow::Result<()> {
//!     let tus = Tus::builder(Sqlite::open("uploads-data")?).build();
//!     let app = move || App::new().service(actix_web_tus::scope("/files", tus.clone()));
//!     Ok(HttpServer::new(app).bind("127.0.0.1:8080")?.run().await?)
//! }
//! ```
//!
//! The scope can be nested below other scopes at any depth, and `Location` stays correct. The application's
//! middleware applies. actix-web has its own type for extensions: [`scope_with`] passes on what the [`Hooks`] need
//! (for example the user).
//!
//! actix-web drops the trailers of requests, so the extension `checksum-trailer` is off here. It always answers `100
//! Continue`, so a client that asks first (`Expect: 100-continue`) sends its body even if the server rejects it.
//!
//! # Features
//!
//! `sqlite` (on by default): the storage [`Sqlite`]. `bundled` (on by default): SQLite is compiled in; without it,
//! the system's library is linked. `object-store`: the storage `ObjectStore`, in a bucket of S3, GCS or Azure.
//! `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms in addition to `sha1`, offered if [`Config::checksums`] lists
//! them. `metrics`: counters and histograms through the facade of that name. `serde`: [`UploadId`] and [`Metadata`] in
//! the application's own documents and paths.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connection;
mod resumable;

use actix_web::{
    HttpRequest, HttpResponse, Scope,
    body::{BoxBody, MessageBody, SizedStream},
    http::StatusCode,
    web,
};
use tus_service::{ResponseBody, StreamBody, mount_path};

pub use connection::{closes, on_connect};
/// The types of the hooks' request heads and responses; actix-web's own types are from an older version.
pub use http;
pub use resumable::{ResumableResource, ResumableService, resumable, resumable_with};
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

/// The endpoint at `path`, with and without a trailing slash.
///
/// ```
/// use actix_web::{Scope, web};
/// use actix_web_tus::{Memory, Tus, scope};
///
/// /// Below `/users/{user}/files`.
/// fn users() -> Scope {
///     let tus = Tus::builder(Memory::new()).build();
///     web::scope("/users/{user}").service(scope("/files", tus))
/// }
/// ```
pub fn scope(path: &str, tus: Tus) -> Scope {
    scope_with(path, tus, |_, _| ())
}

/// The endpoint at `path`; `extend` fills the extensions that the [`Hooks`] see.
///
/// ```
/// use actix_web::{HttpMessage, Scope};
/// use actix_web_tus::{Memory, Rejection, Tus, scope_with};
///
/// /// The application's own middleware adds it to the request's extensions.
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
/// fn uploads(tus: Tus) -> Scope {
///     scope_with("/files", tus, |request, extensions| {
///         request.extensions().get::<User>().and_then(|user| extensions.insert(user.clone()));
///     })
/// }
/// ```
pub fn scope_with<F>(path: &str, tus: Tus, extend: F) -> Scope
where
    F: Fn(&HttpRequest, &mut http::Extensions) + Clone + 'static,
{
    let handler = move |request: HttpRequest, payload: web::Payload| {
        let (tus, extend) = (tus.clone(), extend.clone());
        async move {
            let mount = mount_path(request.uri().path(), request.match_info().unprocessed()).to_owned();
            let mount = Mount::at(mount).without_trailers();
            match translated(&request, payload) {
                Ok(mut translated) => {
                    extend(&request, translated.extensions_mut());
                    respond(tus.handle(translated, &mount).await)
                }
                Err(error) => respond(tus.unreadable(error)),
            }
        }
    };
    web::scope(path).default_service(web::to(handler))
}

/// The request in the types that all frameworks share.
fn translated<P>(request: &HttpRequest, payload: P) -> Result<http::Request<StreamBody<P>>, http::Error> {
    let version = match request.version() {
        actix_web::http::Version::HTTP_2 => http::Version::HTTP_2,
        actix_web::http::Version::HTTP_10 => http::Version::HTTP_10,
        _ => http::Version::HTTP_11,
    };
    let mut translated =
        http::Request::builder().method(request.method().as_str()).uri(request.uri().to_string()).version(version);
    for (name, value) in request.headers() {
        translated = translated.header(name.as_str(), value.as_bytes());
    }
    if let (Some(close), Some(extensions)) = (connection::close(request), translated.extensions_mut()) {
        extensions.insert(close);
    }
    translated.body(StreamBody(payload))
}

fn respond(response: http::Response<ResponseBody>) -> HttpResponse {
    let (head, body) = response.into_parts();
    // actix-web writes the length itself. The response to a HEAD declares that of a GET.
    let declared = head.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    respond_with(&head, SizedStream::new(declared.unwrap_or(body.len()), body))
}

fn respond_with(head: &http::response::Parts, body: impl MessageBody + 'static) -> HttpResponse {
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut translated = HttpResponse::build(status);
    for (name, value) in &head.headers {
        translated.append_header((name.as_str(), value.as_bytes()));
    }
    // actix-web writes this header itself, in this form only.
    if head.headers.contains_key(http::header::CONNECTION) {
        translated.force_close();
    }
    translated.body(BoxBody::new(body))
}
