//! Resumable uploads over HTTP, without I/O.
//!
//! This crate holds the rules of the [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload), and of the IETF's
//! draft "Resumable Uploads for HTTP", as a machine over [`http::Request`] heads and [`http::Response`]s. It never reads
//! a socket, a file or a clock and draws no random number: a driver does, and hands the result to the machine.
//!
//! The server's side is [`server::begin`]. It returns a [`server::Step`]; whoever drives it does what
//! the step asks for, hands the result to the step, and gets the next one, until
//! [`Respond`](server::Step::Respond).
//!
//! The client's side is in the module `client` (by feature), and works likewise.
//!
//! Applications use a crate for their framework instead, `axum-tus` for example, and `tus-reqwest` to upload.
//!
//! # Features
//!
//! `client`: the client's side. `serde`: records as documents. `testing`: a model of a server, for
//! the tests of drivers. `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms beside `sha1`.

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

/// The version of the tus protocol that is spoken here (tus 1.0.0, "Tus-Resumable").
pub const TUS_VERSION: &str = "1.0.0";

/// The largest offset or length, in bytes: what fits a signed 64-bit file offset.
pub const MAX_LENGTH: u64 = i64::MAX as u64;
