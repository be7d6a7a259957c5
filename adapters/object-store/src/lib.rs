//! Stores resumable uploads in a bucket of an object store (S3 and compatible stores, R2, GCS, Azure), with any
//! number of servers behind any load balancer and nothing else to run: no sticky sessions, no lock service, no
//! database.
//!
//! ```no_run
//! use tus_object_store::ObjectStore;
//! use tus_service::Tus;
//!
//! # async fn build() -> Result<(), Box<dyn std::error::Error>> {
//! let store = ObjectStore::from_url("s3://bucket/prefix")?.open().await?;
//! let tus = Tus::builder(store).build();
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **An acknowledged offset is as durable as the bucket.**
//! - **Uploads never mix**, nor do two requests of one upload, even if a server is suspended, killed, disconnected or
//!   late.
//! - **A newer request takes over** from an older one on another server: within about a second from one that answers,
//!   with every byte that arrived; after 10 seconds from a killed one, with everything except the last
//!   [window](Builder::window). On R2 and GCS, which allow one write per second to an object, up to eight windows may
//!   be lost.
//! - **A store that does not answer** delays nobody: [requests are abandoned](Builder::request_timeout), clients get
//!   503 and continue, here or on another server, and requests that were on their way damage no upload when they
//!   arrive.
//! - **The finished object** appears under its [name](Builder::key) only when it is complete. This is before
//!   [`before_finish`](tus_service::Hooks::before_finish) is asked and a digest of the upload is verified. If a process dies
//!   while it writes an object of a single part, other bytes of the client may still replace it. So use it only when
//!   [`finished`](tus_service::Hooks::finished) is called; if it is moved or deleted earlier, its upload may start again.
//!
//! What cannot be guaranteed: a delayed request of a server that was cut off may write a finished object again, with
//! the same bytes, after the application has moved it. A process that is killed loses its last window (parts that are
//! being uploaded, or what arrived in the last half second if that is more), and up to five seconds of a slow client.
//! A dead process can be distinguished from a slow one only by waiting. The application is notified at least once.
//! This storage assumes that a request that was sent takes effect within an hour or never, and that an id that the
//! application chooses is not used a third time within a day.
//!
//! # How
//!
//! | object, below the prefix | what |
//! |---|---|
//! | `.tus/u/{id}` | the state document; it changes by compare-and-set only |
//! | `.tus/w/{id}.{incarnation}/{nonce}` | a piece: bytes that are not yet a part |
//! | `.tus/todo/…`, `.tus/x/{time}/…`, `.tus/f/{part}/…` | markers: something is due, expires, waits for a part |
//! | `files/{id}`, or the application's choice | the finished object |
//!
//! Bytes become parts of a multipart upload of a fixed size, or pieces if they must wait: at the end of a request, if
//! a client is slow or silent, and if memory is short. Nothing counts before the document refers to it. A process
//! with bytes that no document refers to *owns* the upload. A request in another process records in the document that
//! it wants the upload, and checks until the owner has left. If there is no answer, it takes over. Part numbers are
//! reserved in the document before they are used, so that the new owner knows which parts may still arrive late:
//! their bytes are also kept as pieces until the object exists.
//!
//! What if a process dies between two requests?
//!
//! | after | what remains | who continues |
//! |---|---|---|
//! | a marker | a marker without an upload | the sweep deletes it one hour later |
//! | a piece, a part | bytes that no document refers to | the client sends them again; removing the upload deletes the piece, or completing it, unless it came from the upload's first request or arrived after that |
//! | owning the upload | an owner that does not answer | the next request takes over after 10 s |
//! | starting a multipart upload | an unreferenced one | a rule of the bucket |
//! | sealing | a document that states it, and a marker | the next sweep of any server, or the next request |
//! | completing, or writing the small object | the object, to which the document does not refer yet | the sealer finds it by its seal; a small one is replaced, but only after the document states that it is being sealed |
//! | the change to done | pieces, a marker | whoever finishes the work that is due deletes them; otherwise a sweep an hour later |
//! | making the object of an upload whose digest is to be verified | an object, and a document that states that the upload is receiving | the client repeats its last request, or the upload expires |
//! | the change to removed | objects, and a marker | the sweep a day later |
//!
//! An expired upload that a server is receiving is kept: a sweep asks the owner, through the document, whether it is
//! alive, and takes the upload away from an owner that does not answer for five minutes (by default: twice the time in
//! which a slow line would carry all of its memory).
//!
//! Add a rule to the bucket that aborts incomplete multipart uploads after some days, later than uploads expire.
//!
//! # What it costs
//!
//! | operation | requests |
//! |---|---|
//! | creation | 1; 2 if the upload expires |
//! | a small upload in one POST | 3; 1 more if it expires, 3 more if the application is notified |
//! | PATCH of 1 MiB | 3; every eighth merges the pieces into a part |
//! | PATCH of 1 GiB | 128 parts, at most 64 changes of the document, and 7; 1 more if it is not the first PATCH of the upload |
//! | HEAD | 1 |
//! | download | 2 |
//! | interruption | 2 |
//! | concatenation on S3 | 4 for each part, 1 more for each further 256 MiB of it, and about 10 |
//! | termination | up to 8; 1 more for a part; as many again a day later |
//! | a sweep with nothing due | 2 |
//! | each second in which an upload comes slowly | 1.2 |
//!
//! Listing reads every document: one request per upload.
//!
//! # Which stores
//!
//! Stores must support conditional writes and object metadata. [`Builder::open`] tests this, and rejects a store that
//! fails. Directory buckets of S3 Express list in no order and cannot be used.
//!
//! # Features
//!
//! `aws`, `azure`, `gcp` (on by default): the stores of [`ObjectStore::from_url`]. `metrics`:
//! `tus_store_requests_total` by operation and outcome.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod blocks;
mod bucket;
mod builder;
mod check;
mod claims;
mod concatenation;
#[cfg(feature = "aws")]
mod copies;
mod document;
mod failures;
mod fences;
mod first_seen;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod from_url;
mod keys;
mod lock;
mod markers;
mod nonce;
mod observe;
mod patience;
mod reading;
mod recent;
mod records;
mod refused;
mod rest;
mod seal;
mod settings;
mod storage;
mod takeover;
mod writer;

#[cfg(test)]
mod tests;

pub use object_store;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
pub use crate::from_url::InvalidUrl;
pub use crate::{
    builder::{Builder, OpenError},
    storage::ObjectStore,
};
