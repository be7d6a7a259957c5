//! The protocols that a client speaks: how a request is written in each, and what a response says in each.

mod disposition;
pub(super) mod draft;
mod tus;

use http::{HeaderMap, HeaderName, Method, Response};
use url::Url;

use super::{Error, NewUpload, step::Call};
use crate::{Algorithm, Checksum};

/// A protocol of resumable uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// tus 1.0.0.
    #[default]
    Tus,
    /// The IETF's "Resumable Uploads for HTTP" as of draft 12, interop version 9. It is a draft: a server may speak
    /// another version of it, and the RFC may differ.
    ///
    /// An upload is created without content, so that its URL is known before the first byte is sent; no interim response
    /// (104) is needed for that.
    Draft,
}

/// The bytes of a request.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) checksum: Option<Checksum>,
    /// Whether they are the last ones of the upload.
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

    /// The head of the request that creates an upload; `content` is what it begins with.
    pub(super) fn creation(self, upload: &NewUpload, endpoint: &Url, content: Option<&Content>) -> Call {
        match self {
            Self::Tus => tus::creation(upload, endpoint, content),
            Self::Draft => draft::creation(upload, endpoint, content),
        }
    }

    /// The head of the request that adds bytes at an offset. `length` is that of the upload, if the server does not know
    /// it yet.
    pub(super) fn append(self, url: &Url, offset: u64, length: Option<u64>, content: &Content) -> Call {
        match self {
            Self::Tus => tus::append(url, offset, length, content),
            Self::Draft => draft::append(url, offset, length, content),
        }
    }

    /// Whether checksums by an algorithm can be sent; `None` if that depends on the server.
    pub(super) fn verifies(self, algorithm: Algorithm) -> Option<bool> {
        match self {
            Self::Tus => None,
            Self::Draft => Some(crate::digest::key(algorithm).is_some()),
        }
    }

    /// What the response says of completeness, in a protocol where it says so.
    pub(super) fn completeness(self, headers: &HeaderMap) -> Option<bool> {
        match self {
            Self::Tus => None,
            Self::Draft => draft::completeness(headers),
        }
    }

    /// A header that is a number of bytes. An error says what is wrong with it.
    pub(super) fn number(self, headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, String> {
        match self {
            Self::Tus => tus::number(headers, name),
            Self::Draft => Ok(draft::number(headers, name)),
        }
    }

    /// Whether a response comes from a server of this protocol, rather than from something on the way.
    pub(super) fn is_spoken_in(self, headers: &HeaderMap) -> bool {
        match self {
            Self::Tus => tus::is_spoken_in(headers),
            Self::Draft => draft::is_spoken_in(headers),
        }
    }

    /// An error, if the server speaks another version.
    pub(super) fn check_version<B>(self, response: &Response<B>) -> Result<(), Error> {
        match self {
            Self::Tus => tus::check_version(response),
            Self::Draft => Ok(()),
        }
    }
}

/// What a request says of its protocol. A question for capabilities may be about both protocols (`None`).
pub(super) fn identify(protocol: Option<Protocol>, method: &Method, headers: &mut HeaderMap) {
    match (protocol, method) {
        // "The Client SHOULD NOT include the Tus-Resumable header in the request" (tus 1.0.0, "OPTIONS").
        (Some(Protocol::Tus), &Method::OPTIONS) => {}
        (Some(Protocol::Draft), _) | (None, &Method::OPTIONS) => draft::identify(headers),
        (Some(Protocol::Tus) | None, _) => tus::identify(headers),
    }
}
