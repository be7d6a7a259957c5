//! Uploads files to any server that supports the [tus protocol 1.0.0](https://tus.io/protocols/resumable-upload) or,
//! by choice, the IETF's draft "Resumable Uploads for HTTP".
//!
//! ```no_run
//! use tus_reqwest::{Client, Source};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("https://example.org/files")?;
//! let film = Source::path("film.mp4").await?;
//! let uploaded = client.upload(film).on_progress(|progress| println!("{progress}")).send().await?;
//! println!("it is at {}", uploaded.url);
//! # Ok(())
//! # }
//! ```
//!
//! Uploads interrupted by a lost connection resume at the last byte that arrived. Requests are retried with growing
//! delays: by default, an error is returned after more than a minute without any progress. Bodies are streamed from
//! the file; memory use does not depend on its size.
//!
//! - **Later, or in another process:** [`Client::resume`] continues an upload whose URL you have;
//!   [`Builder::url_store`] stores the URLs of unfinished uploads by the [`Fingerprint`] of their source.
//! - **In parallel:** [`Upload::parts`] sends parts of a file over several connections.
//! - **From anything:** a file ([`Source::path`]), a reader that can seek ([`Source::seekable`]), or a stream
//!   ([`Source::stream`], [`Source::pieces`], [`Source::reader`]), whose length need not be known.
//! - **Request by request:** [`Upload::begin`].
//! - **With the IETF's draft:** [`Options::protocol`], draft 12 with interop version 9. It is a draft: the RFC may
//!   differ.
//! - **Stop:** drop the future, or let it lose a `select!`. The server keeps what it has acknowledged.
//! - **Without a runtime:** [`block_on`].
//!
//! The protocol logic is the state machine in `tus_core::client`; this crate performs its steps with
//! [reqwest](https://docs.rs/reqwest).
//!
//! # Features
//!
//! `rustls` (on by default): https. `sqlite`: URLs of unfinished uploads in a SQLite database; with it, `bundled` (on
//! by default): SQLite is compiled in instead of linking the system's library. `sha512`, `crc32`: checksum algorithms
//! in addition to `sha1`, `sha256` and `md5`. `socks`: SOCKS proxies.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod buffers;
mod builder;
mod client;
mod connections;
mod deadline;
mod ending;
mod exchange;
mod file;
mod file_reader;
mod fingerprint;
mod job;
mod json_file;
mod kept;
mod keys;
mod parts;
mod pieces;
mod pool;
mod progress;
mod run;
mod silence;
mod sockets;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
mod stream;
mod upload;
mod uploader;
mod waiting;

pub use builder::Builder;
pub use client::Client;
pub use connections::{Connections, client_builder};
pub use fingerprint::Fingerprint;
pub use json_file::JsonFile;
pub use progress::Progress;
pub use source::Source;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{Entry, MemoryStore, UrlStore};
pub use tus_core::{
    Algorithm, InvalidMetadata, Metadata, TusExtension,
    client::{
        Capabilities, Error, Info, LastResponse, Limits, Options, Problem, ProblemType, Protocol, Refused, Retry,
        SourceProblem, Uploaded, VERIFIED, Verification,
    },
};
pub use upload::Upload;
pub use uploader::Uploader;
pub use waiting::Waiting;

/// The crate that sends the requests: for [`Builder::http`].
pub use reqwest;

/// Runs a future to completion, for programs without a runtime.
///
/// # Errors
///
/// Those of the future, or if no runtime can be created.
///
/// # Panics
///
/// If called inside a runtime; `await` the future there instead.
///
/// ```no_run
/// use tus_reqwest::{Client, Error, Source, block_on};
///
/// fn main() -> Result<(), Error> {
///     let client = Client::new("https://example.org/files")?;
///     let uploaded = block_on(async { client.upload(Source::path("film.mp4").await?).send().await })?;
///     println!("it is at {}", uploaded.url);
///     Ok(())
/// }
/// ```
pub fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::local)?.block_on(future)
}
