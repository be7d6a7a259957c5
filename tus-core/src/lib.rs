//! Resumable uploads over HTTP, without I/O.
//!
//! This crate implements the [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload) and the IETF's draft
//! "Resumable Uploads for HTTP" as state machines over [`http::Request`] heads and [`http::Response`]s. It never
//! touches a socket, a file, a clock or a random number generator. A driver does that and passes the results to the
//! machine.
//!
//! The server side starts with [`server::begin`], which returns a [`server::Step`]. The driver does what the step
//! asks for, passes the result to the step, and gets the next step, until [`Respond`](server::Step::Respond).
//!
//! The client side is in the module `client` (a feature) and works the same way.
//!
//! Applications use the crate for their framework instead, for example `axum-tus`, and `tus-reqwest` to upload.
//!
//! # Features
//!
//! `client`: the client side. `serde`: records as documents. `testing`: a model of a server, for tests of drivers.
//! `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms in addition to `sha1`.

mod checksum;
#[cfg(feature = "client")]
pub mod client;
mod digest;
mod failure;
mod field;
pub mod header;
mod record;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use checksum::{Algorithm, Checksum, Hasher};
pub use failure::Failure;
pub use record::{
    Change, Dialect, Incarnation, InvalidMetadata, InvalidUploadId, Kind, Metadata, NewUpload, Part, Phase, Stored,
    Upload, UploadId, Verbatim, Version,
};
pub use server::{BaseUrl, Config, Cors, Download, InvalidBaseUrl, Location, Rejection, TusExtension};

/// The supported version of the tus protocol (tus 1.0.0, "Tus-Resumable").
pub const TUS_VERSION: &str = "1.0.0";

/// The largest offset or length in bytes: the maximum of a signed 64-bit file offset.
pub const MAX_LENGTH: u64 = i64::MAX as u64;
