//! Serves resumable uploads in any framework.
//!
//! [`Tus::handle`] takes a request and returns the response; a framework's crate (`axum-tus`, say) does
//! nothing but call it. Between the two, the machine of `tus-core` decides, and this crate does what it
//! asks for: it reads the body, calls the [`Storage`], lets newer requests [take over](Tus::handle), calls the
//! application's [`Hooks`], and removes what expired.
//!
//! Frameworks drop the future of a request when its client leaves. So the request's future pumps the body into a
//! channel, and the exchange, which owns the machine and the storage, takes it from there. It runs within the request's
//! future as long as there is one, and goes on in a task of its own when that is dropped: it commits what came.

mod api;
mod background;
mod builder;
mod completion;
#[cfg(feature = "conformance")]
pub mod conformance;
mod endpoint;
mod engine;
mod exchange;
mod hooks;
mod interim;
mod jobs;
mod leases;
mod memory;
mod mount;
mod observe;
mod request;
mod resumable;
mod storage;
#[cfg(feature = "tower")]
mod tower;
mod waking;

#[cfg(feature = "tower")]
pub use crate::{resumable::ResumableService, tower::TusService};
pub use builder::Builder;
pub use endpoint::Tus;
pub use hooks::{Cause, HookError, Hooks, context};
/// What requests and responses are made of.
pub use http;
pub use interim::{Interim, InterimIo};
pub use memory::Memory;
pub use mount::mount_path;
pub use request::{ResponseBody, StreamBody};
pub use resumable::{RelayedBody, RequestBody, Responding, Resumable, Resumed, StoredBody};
pub use storage::{
    ByteStream, Checkpoint, Chunks, Hint, MAX_PIECE, Storage, StorageError, StoredStream, UploadFilter, UploadStream,
    Writer,
};
pub use tus_core::{
    Algorithm, BaseUrl, Change, Checksum, Config, Cors, Dialect, Download, Failure, Incarnation, InvalidBaseUrl,
    InvalidMetadata, InvalidUploadId, Kind, Location, Metadata, NewUpload, Part, Phase, Rejection, Stored,
    TusExtension, Upload, UploadId, Verbatim, Version,
    server::{Access, FinishReply, Mount, Operation},
};

/// Makes the traits [`Storage`] and [`Writer`] implementable: put it on the `impl`.
pub use async_trait::async_trait;
