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
//! # A complete exchange
//!
//! Both machines, without a socket: the client creates an upload (POST), its connection breaks in the middle of the bytes
//! (PATCH), it asks how many arrived (HEAD), and it sends the rest (PATCH).
//!
//! ```
//! # #[cfg(feature = "client")] {
//! use std::{
//!     collections::HashMap,
//!     io,
//!     sync::Arc,
//!     time::{Duration, SystemTime},
//! };
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tus_core::{
//!     Config, Failure, Incarnation, Stored, UploadId,
//!     client::{self, Error, Moment, NewUpload, Options, Verification},
//!     server::{self, Completion, End, Ended, FinishReply, Interruption, Mount},
//! };
//!
//! /// A server that stores records and bytes in memory.
//! #[derive(Default)]
//! struct Server {
//!     config: Arc<Config>,
//!     uploads: HashMap<UploadId, (Stored, Vec<u8>)>,
//! }
//!
//! impl Server {
//!     fn find(&self, id: &UploadId) -> Option<Stored> {
//!         self.uploads.get(id).map(|(stored, _)| stored.clone())
//!     }
//!
//!     /// Answers a request whose body ends as `end` says.
//!     fn handle(&mut self, request: Request<&[u8]>, end: End) -> Response<Bytes> {
//!         let (head, body) = request.into_parts();
//!         let (now, mut end) = (SystemTime::now(), Some(end));
//!         let mut step = server::begin(&self.config, &head, &Mount::at("/files"), now);
//!         loop {
//!             step = match step {
//!                 server::Step::Load(load) => {
//!                     let found = self.find(load.id());
//!                     load.done(Ok(found))
//!                 }
//!                 // Ask the application here.
//!                 server::Step::Authorize(authorize) => authorize.done(Ok(())),
//!                 server::Step::Create(create) => {
//!                     let random = self.uploads.len() as u128; // a real server draws 128 random bits, twice
//!                     create.done(Ok((UploadId::from_random(random), Incarnation::from_random(random))))
//!                 }
//!                 server::Step::Store(store) => {
//!                     let upload = store.upload().clone();
//!                     let stored = Stored::new(upload.clone(), 1.into());
//!                     self.uploads.insert(upload.id, (stored, Vec::new()));
//!                     store.done(Ok(1.into()))
//!                 }
//!                 // Stop older requests on this upload here, and let nobody else change it until the response.
//!                 server::Step::Hold(hold) => {
//!                     let found = self.find(&hold.stored().upload.id);
//!                     hold.done(Ok(found))
//!                 }
//!                 server::Step::Receive(receive) => match receive.data(body) {
//!                     Ok(receive) => match receive.end(end.take().expect("one body"), now) {
//!                         Ended::Commit(commit) => {
//!                             let (stored, bytes) =
//!                                 self.uploads.get_mut(&commit.stored().upload.id).expect("it was loaded");
//!                             // Compare and set: the bytes and the record, both or neither.
//!                             let committed = match stored.version == commit.stored().version {
//!                                 true => {
//!                                     let version = stored.version.as_number().unwrap_or(0) + 1;
//!                                     bytes.extend(body);
//!                                     *stored = stored.clone().changed(commit.change(), version.into());
//!                                     Ok(version.into())
//!                                 }
//!                                 false => Err(Failure::Conflict),
//!                             };
//!                             commit.done(committed)
//!                         }
//!                         Ended::Step(step) => *step,
//!                     },
//!                     Err(step) => *step,
//!                 },
//!                 server::Step::Complete(complete) => {
//!                     let (mut completion, completing) = complete.begin();
//!                     let done = loop {
//!                         completion = match completion {
//!                             // Ask the application for its part of the response here.
//!                             Completion::Finish(finish) => finish.done(Ok(FinishReply::default())),
//!                             Completion::Done(done) => break done,
//!                             other => unreachable!("only for final uploads: {other:?}"),
//!                         };
//!                     };
//!                     completing.done(done)
//!                 }
//!                 server::Step::Respond(response) => return response,
//!                 other => unreachable!("not in this exchange: {other:?}"),
//!             };
//!         }
//!     }
//! }
//!
//! let mut server = Server::default();
//! let source = b"Uploads resume where they stopped.";
//! let mut log = Vec::new();
//!
//! let upload = NewUpload::new(Some(source.len() as u64));
//! let options = Options::default().verification(Verification::Off);
//! let mut step = client::create("http://localhost/files".parse()?, upload, options, None)?;
//! let uploaded = loop {
//!     step = match step {
//!         client::Step::Read(read) => {
//!             let range = read.range();
//!             let there = range.end.min(source.len() as u64) - range.start;
//!             read.done(there, None)
//!         }
//!         client::Step::Transmit(transmit) => {
//!             let range = transmit.body().unwrap_or(0..0);
//!             let body = &source[range.start as usize..range.end as usize];
//!             let request = transmit.request().map(|()| body);
//!             log.push(request.method().to_string());
//!             // The connection breaks in the second request.
//!             let result = match log.len() {
//!                 2 => {
//!                     let cut = request.map(|body| &body[..10]);
//!                     server.handle(cut, End::Interrupted(Interruption::Disconnected));
//!                     Err(Error::connection(io::Error::from(io::ErrorKind::ConnectionReset)))
//!                 }
//!                 _ => Ok(server.handle(request, End::Complete(None))),
//!             };
//!             // A real client has a clock, and random numbers.
//!             transmit.done(result, Moment { now: Duration::ZERO, jitter: 0.5, took: Duration::ZERO })
//!         }
//!         client::Step::Wait(wait) => wait.done(), // a real client waits for `wait.duration()`
//!         client::Step::Finished(result) => break result?,
//!     };
//! };
//!
//! assert_eq!(log, ["POST", "PATCH", "HEAD", "PATCH"]);
//! assert!(uploaded.complete);
//! let (_, bytes) = &server.uploads[&UploadId::from_random(0)];
//! assert_eq!(bytes, source);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `client`: the client side. `serde`: records as documents. `testing`: a model of a server, for tests of drivers.
//! `sha256`, `sha512`, `md5`, `crc32`: checksum algorithms in addition to `sha1`.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod checksum;
#[cfg(feature = "client")]
pub mod client;
mod digest;
mod field;
pub mod header;
mod record;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use checksum::{Algorithm, Checksum, Hasher};
pub use record::{
    Change, Dialect, Incarnation, InvalidMetadata, InvalidUploadId, Kind, Metadata, NewUpload, Part, Phase, Stored,
    Upload, UploadId, Verbatim, Version,
};
pub use server::{BaseUrl, Config, Cors, Download, Failure, InvalidBaseUrl, Location, Rejection, TusExtension};

/// The supported version of the tus protocol (tus 1.0.0, "Tus-Resumable").
pub const TUS_VERSION: &str = "1.0.0";

/// The largest offset or length in bytes: the maximum of a signed 64-bit file offset.
pub const MAX_LENGTH: u64 = i64::MAX as u64;
