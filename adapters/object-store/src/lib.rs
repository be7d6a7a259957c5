//! Keeps resumable uploads in a bucket of an object store (S3 and what speaks its protocol, R2, GCS, Azure), with any number
//! of servers behind any load balancer, and nothing else to run: no sticky sessions, no lock service, no database.
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
//! - **An acknowledged offset is durable**, as durable as the bucket.
//! - **No two uploads are mixed**, nor two requests of one upload, whoever is paused, killed, cut off or late.
//! - **A newer request takes over** from an older one on another server: from one that answers in about a second, with
//!   every byte that arrived; from a killed one after 10 seconds, with all but the last [window](Builder::window).
//! - **The finished object** stands under its [name](Builder::key) once every byte is there, never a part of it.
//!
//! What nobody can promise: a process that is killed loses what is past its last window or piece (parts on their way, and
//! bytes of up to five seconds of a slow client); a dead process cannot be distinguished from a slow one but by waiting; the application is
//! notified at least once. And what this storage takes for granted: a request that was sent is done within an hour or never, and
//! an id that the application chooses is not used a third time within a day.
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
//! Bytes become parts of a multipart upload of a fixed size, or pieces where they wait: at the end of a request, where a client is slow or silent, and
//! where memory is short. Nothing counts before the document names it. A process with bytes that no document names *owns* the
//! upload; a request on another process notes in the document that it wants it, and looks until the owner has left. Where no
//! answer comes, it takes the upload over. Part numbers are reserved in the document before they are used, so that whoever takes over
//! knows which parts may yet come late: their bytes are kept as pieces, too, until the object is there.
//!
//! What if a process dies between two requests?
//!
//! | after | what is left | who goes on |
//! |---|---|---|
//! | a marker | a marker of nothing | the sweep deletes it an hour later |
//! | a piece, a part | bytes that no document names | the client sends them again; removing the upload deletes the piece |
//! | owning the upload | an owner that does not answer | the next request takes over after 10 s |
//! | beginning a multipart upload | one without a name | a rule of the bucket |
//! | sealing | a document that says so, and a marker | the next sweep of any server, or the next request |
//! | completing, putting the small object | the object, which the document does not know | whoever seals finds it by its seal; a small one is replaced, only after the document says that it is sealed |
//! | the change to done | pieces, a marker | the sweep; removing the upload |
//! | the change to removed | objects, and a marker | the sweep a day later |
//!
//! What has expired while a server receives it is kept: a sweep asks the owner in the document whether it lives, and from one that
//! does not answer for half a minute the upload is taken away.
//!
//! Set a rule on the bucket that gives incomplete multipart uploads up after some days, longer than uploads live.
//!
//! # What it costs
//!
//! | operation | requests |
//! |---|---|
//! | creation | 1; 2 where the upload expires |
//! | a small upload in one POST | 3; 3 more where the application is notified |
//! | PATCH of 1 MiB | 3; every eighth makes a part of the pieces |
//! | PATCH of 1 GiB | 128 parts, at most 64 changes of the document, and 7 |
//! | HEAD; download | 1 |
//! | interruption | 2 |
//! | concatenation on S3 | 1 for each part, or for 256 MiB of it, and about 10 |
//! | termination | up to 8; 1 more for a part |
//! | a sweep with nothing due | 2 |
//! | each second in which an upload comes slowly | 1.2 |
//!
//! Listing reads every document: it costs a request an upload.
//!
//! # Which stores
//!
//! Those that keep conditions on writes and the metadata of objects. [`Builder::open`] tries that, and refuses a store that does not. The directory buckets
//! of S3 Express list in no order, and cannot be used.
//!
//! # Features
//!
//! `aws`, `azure`, `gcp` (on by default): the stores of [`ObjectStore::from_url`]. `metrics`: `tus_store_requests_total` by operation and outcome.

mod bucket;
mod builder;
mod check;
mod claims;
mod concatenation;
#[cfg(feature = "aws")]
mod copies;
mod document;
mod keys;
mod markers;
mod nonce;
mod observe;
mod reading;
mod recent;
mod records;
mod seal;
mod settings;
mod storage;
mod takeover;
mod writer;

#[cfg(test)]
mod tests;

pub use object_store;

pub use crate::{
    builder::{Builder, InvalidUrl, OpenError},
    storage::ObjectStore,
};
