//! The protocol, sentence by sentence. Each file is a section of the specification tus 1.0.0, or what
//! the specification leaves to this server. `world`, `driver` and `request` are a server and a client in
//! memory.

mod authorization;
mod checksum;
mod concatenation;
mod core;
mod cors;
mod creation;
mod creation_with_upload;
mod defer_length;
mod download;
mod driver;
mod expiration;
mod extensions;
mod hostile;
mod interruption;
mod metadata;
mod refusals;
pub(crate) mod request;
mod requests;
mod semantics;
mod termination;
pub(crate) mod world;
