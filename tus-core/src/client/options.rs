//! The caller's settings.

use url::Url;

use super::{Capabilities, Error, Protocol, Retry, target::Trusted};
use crate::Algorithm;

/// How uploads are sent.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) chunk_size: Option<u64>,
    /// The size of the first request, if smaller.
    pub(super) first_chunk: Option<u64>,
    pub(super) verification: Verification,
    pub(super) retry: Retry,
    pub(super) override_method: bool,
    pub(super) data_in_creation: bool,
    pub(super) renews_credentials: bool,
    pub(super) stop_at: Option<u64>,
    pub(super) discovery: bool,
    pub(super) protocol: Option<Protocol>,
    pub(super) trusted: Trusted,
}

/// Whether requests carry a checksum of their bytes (tus 1.0.0, "Checksum"; in the draft RFC 9530, "Content-Digest").
///
/// A server discards a request whose checksum it cannot verify, including every interrupted request. Therefore
/// requests of more than [16 MiB](VERIFIED) are not verified with `IfOffered`, and are split with `Required` if
/// everything would be sent in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// No.
    Off,
    /// With this algorithm, if the server is known to offer it and the request has at most [16 MiB](VERIFIED). (In
    /// the draft, servers do not announce algorithms: if the algorithm has a name there.)
    IfOffered(Algorithm),
    /// With this algorithm, or not at all. Requests without a limit ([`Options::chunk_size`]) have at most
    /// [16 MiB](VERIFIED).
    Required(Algorithm),
}

/// The maximum number of bytes that one checksum covers, unless the caller demands larger requests and verification.
pub const VERIFIED: u64 = 16 * 1024 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk_size: Some(DEFAULT_CHUNK),
            first_chunk: Some(FIRST_CHUNK),
            verification: Verification::IfOffered(Algorithm::Sha1),
            retry: Retry::default(),
            override_method: false,
            data_in_creation: false,
            renews_credentials: false,
            stop_at: None,
            discovery: true,
            protocol: Some(Protocol::Tus),
            trusted: Trusted::default(),
        }
    }
}

/// The default size of a request in bytes, and of what is read ahead from a source of unknown length. With smaller
/// requests, waiting for round trips would dominate.
pub(super) const DEFAULT_CHUNK: u64 = 8 * 1024 * 1024;

/// The default size of the first request: on a slow line, little is lost if it is interrupted.
const FIRST_CHUNK: u64 = 1024 * 1024;

impl Options {
    /// The maximum size of a request in bytes; `None` sends everything in one request. 0 is an error when the upload
    /// begins.
    ///
    /// By default the first request has 1 MiB, and each further one twice as much as the previous one, up to 8 MiB,
    /// as long as they take at most 2 s. If a request takes more than 20 s, the next one has half its size, so that
    /// an interruption on a slow line costs little.
    ///
    /// A size that is set here changes only if a server rejects it (413), or if a request times out and less than half
    /// of it has arrived: the next ones are smaller.
    pub fn chunk_size(mut self, bytes: Option<u64>) -> Self {
        (self.chunk_size, self.first_chunk) = (bytes, None);
        self
    }

    /// Whether requests carry a checksum: by default SHA-1, if the server offers it.
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// When and how often a request is retried.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sends PATCH and DELETE as POST with `X-HTTP-Method-Override`, for networks that block these methods. Off by
    /// default.
    pub fn override_method(mut self, on: bool) -> Self {
        self.override_method = on;
        self
    }

    /// Sends the first bytes with the request that creates the upload, if the server offers that. Off by default.
    pub fn data_in_creation(mut self, on: bool) -> Self {
        self.data_in_creation = on;
        self
    }

    /// The driver gets new credentials for each request, so a request answered by `401` is sent once more. Off by
    /// default.
    pub fn renews_credentials(mut self, on: bool) -> Self {
        self.renews_credentials = on;
        self
    }

    /// Stops at this offset of the upload and leaves it unfinished there.
    pub fn stop_at(mut self, offset: Option<u64>) -> Self {
        self.stop_at = offset;
        self
    }

    /// The chosen [`stop_at`](Self::stop_at); `None` for the end.
    pub fn get_stop_at(&self) -> Option<u64> {
        self.stop_at
    }

    /// Whether the driver may request the server's capabilities (OPTIONS). On by default. Without them, only what the
    /// caller demands is used. They are only a hint: an upload that needs none of them does not request them
    /// ([`NewUpload::needs_capabilities`](super::NewUpload::needs_capabilities)).
    pub fn discovery(mut self, on: bool) -> Self {
        self.discovery = on;
        self
    }

    /// The protocol: tus by default. `None` asks the server: the draft if its response to OPTIONS announces the draft
    /// and not tus, otherwise tus. Temporary failures of that request are retried before tus is assumed.
    ///
    /// The draft has no parts, no [method override](Self::override_method), and only SHA-256 and SHA-512 as checksums
    /// (`Content-Digest`), which a server need not verify.
    pub fn protocol(mut self, protocol: impl Into<Option<Protocol>>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// The chosen [`protocol`](Self::protocol); `None` if the server decides.
    pub fn get_protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Uses the server's protocol, if none is chosen.
    pub(super) fn resolve(&mut self, capabilities: Option<&Capabilities>) -> Protocol {
        let announced = || capabilities.and_then(Capabilities::protocol).unwrap_or_default();
        *self.protocol.get_or_insert_with(announced)
    }

    /// Trusts the origin of a URL: requests to it may carry the caller's headers. If no origin is named, the origin
    /// of the task's first URL is trusted. `user:password@` in the URL becomes `Authorization` for that origin only.
    /// Returns the URL without it.
    pub fn trust(&mut self, url: Url) -> Url {
        self.trusted.trust(url)
    }

    /// Moves `user:password@` from a URL to `Authorization` for its origin, without trusting the origin.
    pub fn without_credentials(&mut self, url: Url) -> Url {
        self.trusted.without_credentials(url)
    }

    /// The chosen [`retry`](Self::retry).
    pub fn get_retry(&self) -> &Retry {
        &self.retry
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        match (self.chunk_size, self.protocol) {
            (Some(0), _) => Err(Error::Invalid("the chunk size is 0, but must be at least 1 byte".into())),
            (_, Some(Protocol::Draft)) if self.override_method => {
                Err(Error::Invalid("the draft has no method override; only tus does".into()))
            }
            _ => Ok(()),
        }
    }
}
