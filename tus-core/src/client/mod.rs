//! The client's side of an upload, as a machine of typed steps.
//!
//! [`create`] starts a new upload and [`resume`] continues one; [`inspect`], [`terminate`] and [`discover`] are single
//! requests. Each returns a [`Step`], which names what the driver has to do and has the only method that continues:
//!
//! ```text
//! create   (Read) → Transmit POST → append
//! resume   Transmit HEAD → append
//! append   (Read) → Transmit PATCH → … → Finished
//! failure  Wait → Transmit HEAD → append
//! ```
//!
//! The machine knows no socket, no file, no clock and no random numbers: the driver passes the time and a random number
//! with each result ([`Moment`]). The machine decides what is sent, from which byte on, which failures are retried, and
//! when. Bytes that the server has acknowledged are not sent again.

mod capabilities;
mod error;
mod new_upload;
mod options;
mod response;
mod single;
mod step;
mod upload;

use std::ops::Range;

use url::Url;

pub use self::{
    capabilities::Capabilities,
    error::{Error, Refused},
    new_upload::NewUpload,
    options::{Options, Retry, Verification},
    single::{Discover, Info, Inspect, Terminate},
    step::{Moment, Read, Step, Task, Transmit, Wait},
    upload::{Uploaded, Uploading},
};

/// Starts a new upload at the URL of an endpoint. `capabilities` are those of its server, if known: what the server
/// does not offer is not used.
///
/// # Errors
///
/// When the upload needs an extension that the server does not offer, or is larger than it accepts.
pub fn create(
    endpoint: Url,
    upload: NewUpload,
    options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    Uploading::create(endpoint, upload, options, capabilities)
}

/// Resumes an upload at its URL. `length` is that of the source in bytes; `None` if it is not known yet.
///
/// # Errors
///
/// When the options need an extension that the server does not offer.
pub fn resume(
    url: Url,
    length: Option<u64>,
    options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    Uploading::resume(url, NewUpload::new(length), options, capabilities)
}

/// Resumes a partial upload of these bytes of the source.
///
/// # Errors
///
/// Those of [`resume`].
pub fn resume_partial(
    url: Url,
    range: Range<u64>,
    options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<Step<Uploading>, Error> {
    Uploading::resume(url, NewUpload::partial(range), options, capabilities)
}

/// Asks for the state of an upload (tus 1.0.0, "HEAD").
pub fn inspect(url: Url, options: Options) -> Step<Inspect> {
    Step::begin(Inspect { url }, options)
}

/// Deletes an upload (tus 1.0.0, "Termination"). A missing upload counts as deleted.
pub fn terminate(url: Url, options: Options) -> Step<Terminate> {
    Step::begin(Terminate { url }, options)
}

/// Asks for the capabilities of a server (tus 1.0.0, "OPTIONS").
pub fn discover(endpoint: Url, options: Options) -> Step<Discover> {
    Step::begin(Discover { endpoint }, options)
}

#[cfg(test)]
mod tests;
