//! The dialect tus 1.0.0.

mod concat;
mod extension;
pub(in crate::server) mod fault;
mod reader;
mod request;
mod response;

pub use extension::TusExtension;
use fault::Fault;
pub(in crate::server) use request::creation_as_stored;
pub(super) use request::{is_coded, parse, trailing_checksum, unsaid};
pub(super) use response::render;
