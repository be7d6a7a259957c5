//! The protocols that the client supports: how each writes requests and reads responses.

mod disposition;
pub(super) mod draft;
mod tus;

use http::{HeaderMap, HeaderName, Method, Response};
use url::Url;

use super::{Error, NewUpload, call::Call};
use crate::{Algorithm, Checksum};

/// A protocol for resumable uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// tus 1.0.0.
    #[default]
    Tus,
    /// The IETF's "Resumable Uploads for HTTP", draft 12 (interop version 9). Because it is a draft, servers may use
    /// another version, and the RFC may differ.
    ///
    /// An upload is created without content. Its URL is then known before the first byte is sent, without an interim
    /// response (104).
    Draft,
}

/// The bytes of a request.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) checksum: Option<Checksum>,
    /// Whether they are the last bytes of the upload.
    pub(super) completes: bool,
}

impl Protocol {
    /// `tus` or `draft`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tus => "tus",
            Self::Draft => "draft",
        }
    }

    /// The protocol of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tus, Self::Draft].into_iter().find(|protocol| protocol.name() == name)
    }

    /// The head of the request that creates an upload; `content` describes its first bytes.
    pub(super) fn creation(self, upload: &NewUpload, endpoint: &Url, content: Option<&Content>) -> Call {
        match self {
            Self::Tus => tus::creation(upload, endpoint, content),
            Self::Draft => draft::creation(upload, endpoint, content),
        }
    }

    /// The head of the request that adds bytes at an offset. `length` is the upload's length, if the server does not
    /// know it yet.
    pub(super) fn append(self, url: &Url, offset: u64, length: Option<u64>, content: &Content) -> Call {
        match self {
            Self::Tus => tus::append(url, offset, length, content),
            Self::Draft => draft::append(url, offset, length, content),
        }
    }

    /// Whether checksums by an algorithm can be sent; `None` if the server decides.
    pub(super) fn verifies(self, algorithm: Algorithm) -> Option<bool> {
        match self {
            Self::Tus => None,
            Self::Draft => Some(crate::digest::key(algorithm).is_some()),
        }
    }

    /// The completeness that the response states, in a protocol where responses state it.
    pub(super) fn completeness(self, headers: &HeaderMap) -> Option<bool> {
        match self {
            Self::Tus => None,
            Self::Draft => draft::completeness(headers),
        }
    }

    /// A header that is a number of bytes. The error describes what is wrong with it.
    pub(super) fn number(self, headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, String> {
        match self {
            Self::Tus => tus::number(headers, name),
            Self::Draft => Ok(draft::number(headers, name)),
        }
    }

    /// Whether a response comes from a server of this protocol, and not from something in between.
    pub(super) fn is_spoken_in(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Tus => tus::is_spoken_in(headers),
            Self::Draft => draft::is_spoken_in(headers),
        }
    }

    /// Returns an error if the server uses another version.
    pub(super) fn check_version<B>(self, response: &Response<B>) -> Result<(), Error> {
        match self {
            Self::Tus => tus::check_version(response),
            Self::Draft => Ok(()),
        }
    }
}

/// Adds the protocol's identification to a request. A request for capabilities may concern both protocols (`None`).
pub(super) fn identify(protocol: Option<Protocol>, method: &Method, headers: &mut HeaderMap) {
    match (protocol, method) {
        // "The Client SHOULD NOT include the Tus-Resumable header in the request" (tus 1.0.0, "OPTIONS").
        (Some(Protocol::Tus), &Method::OPTIONS) => {}
        (Some(Protocol::Draft), _) | (None, &Method::OPTIONS) => draft::identify(headers),
        (Some(Protocol::Tus) | None, _) => tus::identify(headers),
    }
}
