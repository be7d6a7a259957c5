//! The protocols, sentence by sentence. Each file covers a section of the tus 1.0.0 specification, or what it leaves to
//! the server; `draft` is the other dialect. `world` and `request` are a server (the crate's own model) and a client in memory.

mod authorization;
mod checksum;
mod completion;
mod concatenation;
mod core;
mod cors;
mod creation;
mod creation_with_upload;
mod defer_length;
mod download;
mod draft;
mod expiration;
mod extensions;
mod hostile;
mod incarnation;
mod interruption;
mod metadata;
mod parts;
mod refusals;
pub(crate) mod request;
mod requests;
mod semantics;
mod termination;
mod verbatim;
pub(crate) mod world;
