//! The dialects: each parses a request into what it [asks](super::ask) for, and writes its [outcome](super::outcome) as
//! a response. Among the steps, statuses and header names live only here.
//!
//! tus 1.0.0 is the only dialect so far. This file will decide which dialect a request speaks.

pub(super) mod file;
mod tus;

pub(crate) use tus::Fault;
pub use tus::TusExtension;
pub(super) use tus::{creation_as_stored, parse, render, trailing_checksum};
