//! A model of a server, for tests (feature `testing`).
//!
//! [`Model`] drives the machine of [`server`](crate::server) over uploads in memory, as a real driver drives it over a
//! storage. At each step it checks what must hold whatever a client sends and whatever fails meanwhile:
//!
//! - Nothing is created, held, received, delivered or deleted that was not authorized in the same exchange; what is
//!   held is the incarnation that was authorized.
//! - An upload is an append-only register: a commit adds bytes that came in this exchange, in their order, and every
//!   change of a record is made to the version that it was decided on.
//! - The offset is never beyond the length or the limit, and as many bytes are there.
//! - An exchange changes no upload but its own.
//! - An offset in a response is the one that is stored; a refusal has a text.
//!
//! It panics where one of these does not hold. This crate's own tests and fuzzers run on it.
//!
//! # For whoever writes a driver
//!
//! The model is the shortest driver that keeps the rules, to be read beside the steps. In tests it says what a driver
//! should have answered: both get the same requests, and the model learns when the storage fails or when somebody
//! else is faster.
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
//! A step goes by its name in [`Step`](crate::server::Step) or [`Completion`](crate::server::Completion);
//! [`Model::meanwhile`] changes the uploads behind the machine's back just before one.

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
