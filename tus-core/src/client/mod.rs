//! The client side of an upload, as a state machine with typed steps.
//!
//! [`create`] starts a new upload and [`resume`] continues one; [`inspect`], [`terminate`] and [`discover`] are
//! single requests. Each returns a [`Step`], which names what the driver must do and has the only method that
//! continues:
//!
//! ```text
//! create   (Read) → Transmit POST → append
//! resume   Transmit HEAD → append
//! append   (Read) → Transmit PATCH → … → Finished
//! failure  Wait → Transmit HEAD → append
//! gone     create again, if the source can be read again
//! parts    Transmit POST → Transmit HEAD until they are concatenated → Finished
//! ```
//!
//! [`Step`] and [`Moment`] are exhaustive on purpose: a driver must handle each step and supply each value.
//!
//! The steps are the same in each [`Protocol`]: tus 1.0.0 by default, the IETF's draft by choice
//! ([`Options::protocol`]).
//!
//! The machine has no socket, no file, no clock and no random numbers: the driver passes the time and a random number
//! with each result ([`Moment`]). The machine decides what is sent, from which byte, which failures are retried, and
//! when. Bytes that the server has acknowledged are not sent again.

mod call;
mod capabilities;
mod dialect;
mod error;
mod limits;
mod new_upload;
mod options;
mod problem;
mod response;
mod retry;
mod single;
mod size;
mod step;
mod target;
mod upload;
mod uploaded;

use url::Url;

pub use self::{
    capabilities::Capabilities,
    dialect::Protocol,
    error::{Error, Refused, SourceProblem},
    limits::Limits,
    new_upload::NewUpload,
    options::{Options, VERIFIED, Verification},
    problem::{Problem, ProblemType},
    retry::Retry,
    single::{Discover, Info, Inspect, Terminate},
    step::{Moment, Read, Step, Task, Transmit, Wait},
    upload::Uploading,
    uploaded::{LastResponse, Truncated, Uploaded},
};

/// Starts a new upload at the URL of an endpoint. `capabilities` are those of the server, if known: what the server
/// is known not to offer is not used. If the upload disappears from the server before its end, a new one is started.
///
/// # Errors
///
/// If the upload needs an extension that the server does not offer, or is too large for the server.
pub fn create(
    endpoint: Url,
    upload: NewUpload,
    mut options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    let endpoint = options.without_credentials(endpoint);
    Uploading::create(endpoint, upload, options, capabilities)
}

/// Resumes an upload at its URL. Only the bytes of the description matter: those of [`NewUpload::new`],
/// [`NewUpload::stream`] or [`NewUpload::partial`].
///
/// # Errors
///
/// If the options need an extension that the server does not offer.
pub fn resume(
    url: Url,
    upload: NewUpload,
    mut options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    let url = options.without_credentials(url);
    Uploading::resume(url, None, upload, options, capabilities)
}

/// Resumes an upload whose URL was stored, or creates it at the endpoint if that upload is gone or has another length.
///
/// Any other rejection is an error, because the upload may still be there: a token may have expired.
///
/// # Errors
///
/// Those of [`create`].
pub fn resume_or_create(
    url: Url,
    endpoint: Url,
    upload: NewUpload,
    mut options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    let (url, endpoint) = (options.without_credentials(url), options.without_credentials(endpoint));
    if target::uri(&url).is_none() {
        return Uploading::create(endpoint, upload, options, capabilities);
    }
    Uploading::resume(url, Some(endpoint), upload, options, capabilities)
}

/// Requests the state of an upload (tus 1.0.0, "HEAD"; draft 12, "Offset Retrieval").
pub fn inspect(url: Url, mut options: Options) -> Step<Inspect> {
    let url = options.without_credentials(url);
    Step::begin(Inspect { url }, options)
}

/// Deletes an upload (tus 1.0.0, "Termination"; draft 12, "Upload Cancellation"). A missing upload counts as deleted.
pub fn terminate(url: Url, mut options: Options) -> Step<Terminate> {
    let url = options.without_credentials(url);
    Step::begin(Terminate { url }, options)
}

/// Requests the capabilities of a server (tus 1.0.0, "OPTIONS"; draft 12, "Limits"). If the server rejects the
/// request or states nothing, they are unknown. If the protocol depends on them ([`Options::protocol`]), temporary
/// rejections are retried first.
pub fn discover(endpoint: Url, options: Options) -> Step<Discover> {
    let decides = options.protocol.is_none();
    capabilities(endpoint, decides, options)
}

/// The same, after temporary rejections were retried a short while ago: another one is not retried, and nothing is known
/// ([`Capabilities::temporary`]). Requests without a response are retried as usual.
pub fn discover_again(endpoint: Url, options: Options) -> Step<Discover> {
    capabilities(endpoint, false, options)
}

fn capabilities(endpoint: Url, decides: bool, mut options: Options) -> Step<Discover> {
    let endpoint = options.without_credentials(endpoint);
    Step::begin(Discover { endpoint, decides }, options)
}

#[cfg(test)]
mod tests;
