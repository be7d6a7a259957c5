//! Serves resumable uploads in any framework.
//!
//! [`Tus::handle`] takes a request and returns the response; a framework's crate (`axum-tus`, say) does
//! nothing but call it. Between the two, the machine of `tus-core` decides, and this crate does what it
//! asks for: it reads the body, calls the [`Storage`], keeps [locks](Tus::handle) with takeover, asks the
//! application's [`Hooks`], and clears away what expired.
//!
//! Frameworks drop the future of a request when its client leaves. So the request's future pumps the body into a
//! channel, and the exchange, which owns the machine and the storage, takes it from there. It runs within the request's
//! future as long as there is one, and goes on in a task of its own when that is dropped: it commits what came.

mod api;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
mod hooks;
mod housekeeping;
mod locks;
mod memory;
mod observe;
mod persistent;
mod pump;
mod response_body;
mod service;
mod storage;
mod stream_body;

pub use hooks::{Cause, Hooks};
pub use memory::Memory;
pub use response_body::ResponseBody;
pub use service::{Builder, Tus, mount};
pub use storage::{State, Storage, StorageError, Writer};
pub use stream_body::StreamBody;
pub use tus_core::{
    Algorithm, Checksum, Config, Cors, Download, Extension, Failure, Final, InvalidBaseUrl, InvalidMetadata,
    InvalidUploadId, Kind, Location, Metadata, NewUpload, Rejection, Upload, UploadId,
    server::{Operation, Reply},
};

/// Makes the traits [`Storage`] and [`Hooks`] implementable: put it on the `impl`.
pub use async_trait::async_trait;
