//! The dialect tus 1.0.0.

mod concat;
mod extension;
mod fault;
mod reader;
mod request;
mod response;

pub use extension::TusExtension;
pub(crate) use fault::Fault;
pub(in crate::server) use request::{creation_as_stored, parse, trailing_checksum};
pub(in crate::server) use response::render;
