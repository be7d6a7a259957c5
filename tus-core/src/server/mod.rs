//! The server side of an upload, as a state machine with typed steps.
//!
//! [`begin`] takes the head of a request and returns the first [`Step`]. Each step names what the driver must do,
//! owns the data for it, and has the only method that continues. Answering steps out of order does not compile:
//!
//! ```text
//! HEAD    Load → Authorize → (Hold | LoadParts → (Await)) → Respond
//! PATCH   Load → Authorize → Hold → Receive → (Commit) → (Complete | Wake) → Respond
//! GET     Load → Authorize → Open → (Respond)
//! DELETE  Load → Authorize → Hold → Veto → Terminate → Respond
//! POST    Authorize → Create → Store → (Inform) → (Receive → (Commit)) → (Complete | Wake) → Respond
//! POST    Authorize → LoadParts → Authorize each → (CountPending) → Create → Store → (Complete | LoadParts → (Wake)) → Respond
//! ```
//!
//! The last line creates a final upload. HEAD is answered as GET, or GET as HEAD, where the dialect wants that. A
//! body that reaches beyond the length of its upload may lead from `Receive` to `Invalidate`. What a failed POST has
//! stored is deleted by `Terminate` (an [undo](Terminate::is_undo)), unless its client may know the upload.
//!
//! `Complete` has steps of its own: those of a [`Completion`]. They need no request, so a server can also complete
//! what a killed one left unfinished ([`recover`]).
//!
//! At a resource of the application, whose own handler responds (`resource`), `Complete` is followed or replaced by
//! `Claim → Call → KeepResponse → Relay`, or by `Respond` if the handler's response is stored already.
//!
//! What remains of a completion after the response is a job beside it ([`Done::notify`]).
//!
//! Any step may instead lead to `Respond` with a rejection, `Create` and `Store` by way of `Abandon`. No path leads
//! to `Create`, `Hold`, `Receive`, `Open` or `Terminate`, nor to what HEAD shows, except through `Authorize`. Only an
//! authorized request asks older requests to leave.
//!
//! [`Step`], [`Completion`], [`Recovery`], [`Access`], [`End`], [`Ended`], [`Opened`] and [`Waiting`] are exhaustive on
//! purpose: a driver must handle each variant, and the compiler finds those that it does not.
//!
//! # A wrong order does not compile
//!
//! Only the end of a body leads to its commit:
//!
//! ```
//! # use std::time::SystemTime;
//! # use tus_core::{Version, server::{End, Ended, Receive, Step}};
//! fn store(receive: Receive, end: End, now: SystemTime, version: Version) -> Step {
//!     match receive.end(end, now) {
//!         Ended::Commit(commit) => commit.done(Ok(version)),
//!         Ended::Step(step) => *step,
//!     }
//! }
//! ```
//!
//! Without it there is nothing to commit:
//!
//! ```compile_fail,E0599
//! # use std::time::SystemTime;
//! # use tus_core::{Version, server::{End, Ended, Receive, Step}};
//! fn store(receive: Receive, end: End, now: SystemTime, version: Version) -> Step {
//!     receive.done(Ok(version))
//! }
//! ```
//!
//! The machine has no storage, no clock and no tasks. The module `dialect` parses requests and writes responses; the
//! steps know no headers and no status codes.
//!
//! # A complete exchange
//!
//! ```
//! use std::{sync::Arc, time::SystemTime};
//!
//! use http::Request;
//! use tus_core::{
//!     Config, Incarnation, UploadId,
//!     server::{self, Mount, Step},
//! };
//!
//! let request = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", "11");
//! let (head, ()) = request.body(()).unwrap().into_parts();
//! let config = Arc::new(Config::default());
//! let mut records = Vec::new();
//! let mut step = server::begin(&config, &head, &Mount::at("/files"), SystemTime::now());
//! let response = loop {
//!     step = match step {
//!         // Ask the application here.
//!         Step::Authorize(authorize) => authorize.done(Ok(())),
//!         Step::Create(create) => create.done(Ok((UploadId::from_random(1), Incarnation::from_random(2)))),
//!         Step::Store(store) => {
//!             records.push(store.upload().clone());
//!             store.done(Ok(1.into()))
//!         }
//!         Step::Respond(response) => break response,
//!         other => unreachable!("not in this exchange: {other:?}"),
//!     };
//! };
//! assert_eq!(response.status(), 201);
//! assert_eq!(response.headers()["location"], "/files/00000000000000000000000000000001");
//! assert_eq!(records[0].length, Some(11));
//! ```

mod ask;
mod at_resource;
mod authorize;
mod complete;
mod completion;
mod concatenation;
mod config;
mod cors;
mod create;
mod dialect;
mod download;
mod ending;
mod exchange;
mod failure;
mod forwarded;
mod hold;
mod inform;
mod invalidate;
mod load;
mod location;
mod outcome;
mod receive;
mod recovery;
mod refusal;
mod rejection;
mod reply;
mod resource;
mod respond;
mod target;
mod terminate;
mod verify;

use std::{borrow::Cow, fmt::Display, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, request::Parts};

pub(crate) use self::refusal::Refusal;
pub use self::{
    ask::Operation,
    at_resource::{Resource, resource_of},
    authorize::Authorize,
    complete::{Complete, Completing},
    completion::{Assemble, Completion, Done, Finish, Notify, PartsNeeded, Record, Verify},
    concatenation::{Await, CountPending, LoadParts, Waiting, Wake},
    config::Config,
    cors::Cors,
    create::{Abandon, Create, Store},
    dialect::{TusExtension, file::Download},
    download::{Open, Opened},
    failure::Failure,
    hold::{Access, Hold},
    inform::Inform,
    invalidate::Invalidate,
    load::Load,
    location::{BaseUrl, InvalidBaseUrl, Location},
    receive::{Commit, End, Ended, Interruption, Receive},
    recovery::{Keep, LoadFinals, LoadRelated, Recovery, recover},
    rejection::Rejection,
    reply::FinishReply,
    resource::{Call, Claim, KeepResponse},
    terminate::{Terminate, Veto},
};
use self::{dialect::tus::fault::Fault, exchange::Exchange};
use crate::UploadId;

/// The next step.
#[must_use]
#[derive(Debug)]
pub enum Step {
    /// Fetch an upload's record.
    Load(Load),
    /// Fetch the records of the partial uploads that a final upload names.
    LoadParts(LoadParts),
    /// Count the final uploads that wait.
    CountPending(CountPending),
    /// Ask the application whether the operation is allowed.
    Authorize(Authorize),
    /// Ask older requests on this upload to leave, hold it if it is to be changed, and fetch its record again.
    Hold(Hold),
    /// Let the application change or reject a new upload, and choose its id.
    Create(Create),
    /// Store the record of a new upload.
    Store(Store),
    /// Send an interim response, if the framework can.
    Inform(Inform),
    /// Inform the application that the new upload is not created.
    Abandon(Abandon),
    /// Read the body. It must not be polled before this step.
    Receive(Receive),
    /// Make an upload invalid.
    Invalidate(Invalidate),
    /// Complete the upload, by steps of its own.
    Complete(Complete),
    /// Reserve a complete upload at a resource of the application for this process.
    Claim(Claim),
    /// Call the application's handler.
    Call(Call),
    /// Store the handler's response with the upload.
    KeepResponse(KeepResponse),
    /// Look for final uploads that may have all of their parts now.
    Wake(Wake),
    /// Wait briefly for a final upload.
    Await(Await),
    /// Ask the application whether a client may delete an upload.
    Veto(Veto),
    /// Delete an upload.
    Terminate(Terminate),
    /// Open the bytes of an upload, and send them.
    Open(Open),
    /// Send the response, which ends the exchange.
    Respond(Response<Bytes>),
    /// Send the response with the body of the handler's response, which ends the exchange.
    Relay(Response<()>),
}

/// Where a request reached the endpoint, and what its transport supports.
#[derive(Debug, Clone)]
pub struct Mount<'a> {
    path: Cow<'a, str>,
    trailers: bool,
    resource: Option<Resource>,
}

impl<'a> Mount<'a> {
    /// The endpoint was reached at `path`: `/files`, or empty for the root. The rest of the path identifies the
    /// upload.
    pub fn at(path: impl Into<Cow<'a, str>>) -> Self {
        Self { path: path.into(), trailers: true, resource: None }
    }

    /// No endpoint, but a resource of the application whose own handler responds to complete uploads. The URL of an
    /// upload is that of the resource with the parameter `resumable-upload`. Only the IETF's draft supports this.
    /// [`resumes`] decides which requests belong to uploads.
    pub fn resource(resource: Resource) -> Self {
        Self { path: "".into(), trailers: true, resource: Some(resource) }
    }

    /// Declares that the framework drops request trailers, so the extension that needs them is not offered.
    pub fn without_trailers(mut self) -> Self {
        self.trailers = false;
        self
    }

    /// The same with an owned path.
    pub fn into_owned(self) -> Mount<'static> {
        Mount { path: self.path.into_owned().into(), trailers: self.trailers, resource: self.resource }
    }
}

/// Begins an exchange with the head of a request.
///
/// The request's URI must have the full path that the client sent. `now` is the only clock that the machine sees.
pub fn begin(config: &Arc<Config>, head: &Parts, mount: &Mount<'_>, now: SystemTime) -> Step {
    let exchange = Exchange::new(config, head, mount, now);
    match dialect::parse(&exchange, head) {
        Ok(ask) => exchange.start(ask),
        Err(refusal) => exchange.refuse(refusal),
    }
}

/// The URL of an upload, as far as it is known without a request: below [`Location::base`] if that is set, otherwise
/// an absolute path.
pub fn url(config: &Config, mount: &Mount<'_>, id: &UploadId) -> String {
    location::url(&config.location, &mount.path, id)
}

/// Whether a request to a resource of the application refers to one of its uploads or creates one. All others go to
/// the application untouched:
///
/// - requests without headers of the IETF's draft, or with `Tus-Resumable` as well;
/// - requests that complete their upload (`Upload-Complete: ?1`), if the client could not learn about the upload
///   before the end (`informs` states whether an interim response can be sent), if the content is smaller than
///   [`Resource::min_size`], or if the server's limits for one request or for what it stores of a head would refuse it.
pub fn resumes(config: &Config, head: &Parts, resource: &Resource, informs: bool) -> bool {
    config.draft
        && (head.uri.query().is_some_and(at_resource::query_names_upload)
            || dialect::creates_at_resource(config, head, resource, informs))
}

/// Whether [`resumes`] may return true, decided quickly by the query of a request's URL and by the presence of
/// certain headers.
pub fn may_resume(query: Option<&str>, has_header: impl Fn(&str) -> bool) -> bool {
    dialect::MAY_CREATE.into_iter().any(has_header) || query.is_some_and(at_resource::query_names_upload)
}

/// Adds the server's announcement of uploads at a resource to the application's response to OPTIONS; `405 Method Not
/// Allowed` becomes `204 No Content`.
pub fn announce_resource<B>(config: &Config, resource: &Resource, response: &mut Response<B>) {
    if config.draft {
        dialect::announce_resource(config, resource, response);
    }
}

/// The response if the driver itself fails.
pub fn fail(config: &Arc<Config>, head: &Parts, mount: &Mount<'_>, failure: Failure) -> Response<Bytes> {
    Exchange::new(config, head, mount, SystemTime::UNIX_EPOCH).refusal(failure.into())
}

/// The response to a request that the framework could not deliver, with the reason.
pub fn unreadable(config: &Arc<Config>, reason: impl Display) -> Response<Bytes> {
    let head = http::Request::new(()).into_parts().0;
    let exchange = Exchange::new(config, &head, &Mount::at(""), SystemTime::UNIX_EPOCH);
    exchange.refusal(Fault::Unreadable(reason.to_string()).into())
}

#[cfg(test)]
pub(crate) mod tests;
