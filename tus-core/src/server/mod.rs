//! The server's side of an upload, as a machine of typed steps.
//!
//! [`begin`] takes the head of a request and returns the first [`Step`]. Each step names what has to
//! be done outside, owns the data that it needs, and has the only method that leads on, so that a
//! step answered out of order does not compile:
//!
//! ```text
//! HEAD    Load → Authorize → Hold → Respond
//! PATCH   Load → Authorize → Hold → Receive → Commit → (Finish) → Respond
//! GET     Load → Authorize → Deliver
//! DELETE  Load → Authorize → Hold → Terminate → Respond
//! POST    Authorize → Create → Store → (Receive → Commit) → (Finish) → Respond
//! POST    Authorize → LoadPartials → Authorize each → Create → Store → (Join → Finish) → Respond
//! ```
//!
//! Any step may lead to `Respond` with a refusal instead. No path leads to `Create`, `Hold`, `Receive`,
//! `Deliver` or `Terminate`, nor to what HEAD tells, except through `Authorize`. An older request is asked to
//! leave only for one that was authorized.
//!
//! The machine knows no storage, no clock and no task. What a request asks for is read, and what came
//! of it is written, in the module `tus`; the steps between speak of no header and no status.

mod authorize;
mod commit;
mod create;
mod deliver;
mod exchange;
mod finish;
mod hold;
mod join;
mod load;
mod receive;
mod terminate;
mod tus;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, request::Parts};

pub use self::{
    authorize::{Authorize, Operation},
    commit::Commit,
    create::{Create, Store},
    deliver::Deliver,
    finish::{Finish, Reply},
    hold::{Access, Hold},
    join::Join,
    load::{Load, LoadPartials},
    receive::{End, Interruption, Receive},
    terminate::Terminate,
};
use crate::{Config, Failure, Kind, Refusal, Upload};
use exchange::Exchange;

/// What has to be done next.
#[must_use]
#[derive(Debug)]
pub enum Step {
    /// Fetch an upload's record.
    Load(Load),
    /// Fetch the records of the partial uploads that a final upload names.
    LoadPartials(LoadPartials),
    /// Ask the application whether this may be done.
    Authorize(Authorize),
    /// Ask older requests on this upload to leave, hold it where it is to be changed, and fetch its record again.
    Hold(Hold),
    /// Let the application change or reject a new upload, and choose its id.
    Create(Create),
    /// Store the record of a new upload.
    Store(Store),
    /// Read the body; only now may it be polled.
    Receive(Receive),
    /// Make the bytes and the record durable.
    Commit(Commit),
    /// Make a final upload of its parts.
    Join(Join),
    /// Tell the application that the upload is whole.
    Finish(Finish),
    /// Delete an upload.
    Terminate(Terminate),
    /// Send the response with bytes of an upload as its body; the exchange is over.
    Deliver(Deliver),
    /// Send the response; the exchange is over.
    Respond(Response<Bytes>),
}

/// Begins an exchange with the head of a request.
///
/// The request's URI has the full path that the client sent, and `mount` is the path at which the
/// endpoint was reached (`/files`; empty for the root): what comes after it names the upload. `now` is
/// the only clock that the machine sees.
pub fn begin(config: &Arc<Config>, head: &Parts, mount: &str, now: SystemTime) -> Step {
    let exchange = Exchange::new(config, head, mount, now);
    match tus::parse(&exchange, head) {
        Ok(ask) => exchange.start(ask),
        Err(refusal) => exchange.refuse(refusal),
    }
}

/// Takes up what a server that was killed left undone on an upload for which [`Upload::is_due`] holds:
/// joining parts, telling the application. `None` where there is nothing to do. Nobody gets the response.
pub fn resume(config: &Arc<Config>, upload: Upload, now: SystemTime) -> Option<Step> {
    let exchange = Exchange::detached(config, now);
    match &upload.kind {
        _ if !upload.is_due() => None,
        _ if upload.is_complete() => Some(Finish::told_later(exchange, Box::new(upload))),
        Kind::Final(parts) => {
            let ids = parts.partials.clone();
            Some(LoadPartials::to_join(exchange, Box::new(upload), ids))
        }
        Kind::Single | Kind::Partial => None,
    }
}

/// The response where the driver itself is at an end.
pub fn fail(config: &Arc<Config>, head: &Parts, mount: &str, refusal: Refusal) -> Response<Bytes> {
    Exchange::new(config, head, mount, SystemTime::UNIX_EPOCH).refusal(refusal)
}

/// What comes at the end of a body.
type Trailers = Option<HeaderMap>;

/// How storing something went.
type Stored = Result<(), Failure>;

#[cfg(test)]
pub(crate) mod tests;
