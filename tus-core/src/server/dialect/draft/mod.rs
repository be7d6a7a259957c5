//! The dialect of the IETF's draft "Resumable Uploads for HTTP": draft 12, and the earlier and later versions that
//! clients use (see `interop`).

mod completeness;
mod content;
mod details;
mod digest;
mod interim;
mod interop;
mod limits;
mod metadata;
pub(in crate::server) mod problem;
mod request;
mod resource;
mod response;
pub(super) mod spoken;

pub(in crate::server) use self::digest::kept as repr_digest;
use self::problem::Problem;
pub(in crate::server) use self::resource::{
    MAY_CREATE, announce as announce_resource, creates as creates_at_resource, handlers_head, keepable,
};
pub(super) use self::{
    interim::{interim_creation, interim_offset},
    request::{may_terminate, parse},
    response::{announce, render},
};
