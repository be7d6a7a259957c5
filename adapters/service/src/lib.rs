//! Serves resumable uploads in any framework.
//!
//! [`Tus::handle`] takes a request and returns the response; a framework's crate (for example `axum-tus`) only calls
//! it. In between, the machine of `tus-core` decides, and this crate does what it asks for: it reads the body, calls
//! the [`Storage`], lets newer requests [take over](Tus::handle), calls the application's [`Hooks`], and removes
//! expired uploads.
//!
//! Frameworks drop the future of a request when its client disconnects. Therefore the request's future moves the body
//! into a channel, and the exchange, which owns the machine and the storage, takes it from there. The exchange runs
//! within the request's future and continues in a task of its own if that future is dropped: it commits what has
//! arrived.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod background;
mod builder;
mod cause;
mod completion;
#[cfg(feature = "conformance")]
pub mod conformance;
mod endpoint;
mod engine;
mod exchange;
mod handler;
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
pub use crate::{
    resumable::{RequestBody, ResumableService},
    tower::TusService,
};
pub use builder::Builder;
pub use cause::Cause;
pub use endpoint::Tus;
pub use handler::{Resumed, StoredBody};
pub use hooks::{HookError, Hooks, context};
/// The types of requests and responses.
pub use http;
pub use interim::{Interim, InterimIo};
pub use memory::Memory;
pub use mount::mount_path;
#[cfg(feature = "metrics")]
pub use observe::TIME_BUCKETS;
pub use request::{CloseConnection, ResponseBody, StreamBody};
pub use resumable::{RelayedBody, Responding, Resumable, Route};
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

/// Makes the traits [`Storage`] and [`Writer`] implementable: add it to the `impl`.
pub use async_trait::async_trait;
