//! A model of a server, for tests (feature `testing`).
//!
//! [`Model`] drives the machine of [`server`](crate::server) over uploads in memory, as a real driver drives it over
//! a storage. At each step it checks invariants that must hold whatever a client sends and whatever fails:
//!
//! - Nothing is created, held, received, delivered or deleted that was not authorized in the same exchange; what is
//!   held is the incarnation that was authorized.
//! - An upload is an append-only register: a commit adds bytes that came in this exchange, in their order, and every
//!   change of a record is made to the version that it was decided on.
//! - The offset never exceeds the length or the limit, and that many bytes exist.
//! - An exchange changes no upload but its own.
//! - An offset in a response is the stored offset; a rejection has a text.
//!
//! It panics if one of these is violated. This crate's own tests and fuzzers use it.
//!
//! # For authors of drivers
//!
//! The model is the shortest correct driver; read it together with the steps. In tests it predicts what a driver
//! should answer: both get the same requests, and the test injects the storage failures and concurrent changes that
//! the driver saw.
//!
//! ```
//! use http::Request;
//! use tus_core::{
//!     Config, Failure,
//!     testing::{Body, Model},
//! };
//!
//! let mut model = Model::new(Config::default());
//! let create = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", "11");
//! let created = model.exchange(&create.body(()).unwrap().into_parts().0, Body::default());
//! assert_eq!(created.status(), 201);
//! assert_eq!(model.path(), "Authorize Create Store Respond");
//!
//! let append = Request::patch(created.headers()["location"].to_str().unwrap())
//!     .header("tus-resumable", "1.0.0")
//!     .header("upload-offset", "0")
//!     .header("content-type", "application/offset+octet-stream");
//! let append = append.body(()).unwrap().into_parts().0;
//!
//! // The disk is full when the bytes are to be made durable: they never existed.
//! model.fail("Commit", Failure::Full);
//! let refused = model.exchange(&append, Body::from("hello world"));
//! assert_eq!(refused.status(), 507);
//!
//! let appended = model.exchange(&append, Body::from("hello world"));
//! assert_eq!(appended.status(), 204);
//! assert_eq!(model.path(), "Load Authorize Hold Receive Commit Complete Finish Notify Record Respond");
//! let id = &model.notified[0];
//! assert_eq!(model.uploads.bytes(id).unwrap(), b"hello world");
//! ```
//!
//! A step is identified by its name in [`Step`](crate::server::Step) or [`Completion`](crate::server::Completion).
//! [`Model::meanwhile`] changes the uploads behind the machine's back just before a step.

mod application;
mod body;
mod completion;
mod exchange;
mod model;
mod receive;
mod trouble;
mod uploads;
mod watch;

pub use self::{
    application::Application,
    body::Body,
    model::{Log, Model},
    uploads::Uploads,
};
