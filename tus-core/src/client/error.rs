//! Why an upload failed, by whose fault it is.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asks for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The source ends early, or is not the one that it was.
    #[error("the source {0}")]
    Source(String),
    /// Something on this side failed: a store of URLs, or a function of the caller's.
    #[error("this side failed: {0}")]
    Local(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server does not offer what the upload needs.
    #[error("the server does not offer {0}")]
    Unsupported(String),
    /// The upload is larger than the server accepts.
    #[error("the upload has {length} bytes, and the server accepts {limit}")]
    TooLarge {
        /// Bytes of the upload.
        length: u64,
        /// Bytes that the server accepts (`Tus-Max-Size`).
        limit: u64,
    },
    /// The server could not be reached, or the connection broke or was silent for too long.
    #[error("the connection failed: {0}")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server said no.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The server does not keep to the protocol.
    #[error("the answer to {method} has {problem}")]
    Misbehaved {
        /// The method of the request.
        method: Method,
        /// The header that is missing or wrong.
        header: &'static HeaderName,
        /// What is wrong with it.
        problem: String,
        /// Whether the answer says that it is one of tus at all (`Tus-Resumable`). Where it doesn't, somebody else
        /// answered: a proxy, or the network's own page.
        by_tus: bool,
    },
    /// A redirect that must not be followed.
    #[error("the answer to {method} leads elsewhere ({location:?}), and is not followed")]
    Redirected {
        /// The method of the request.
        method: Method,
        /// The value of `Location`.
        location: String,
    },
    /// It was tried again as often, or for as long, as is allowed.
    #[error("given up after {retries} retries without progress: {last}")]
    GivenUp {
        /// Retries since the last progress.
        retries: u32,
        /// Why the last one failed.
        #[source]
        last: Box<Error>,
    },
}

/// The server's no.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {method} with {status}{}", self.words())]
pub struct Refused {
    /// The method of the request.
    pub method: Method,
    /// The status of the response.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Bytes,
}

impl Refused {
    /// The first words of the content, where it is text.
    fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).trim().to_owned();
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

impl Error {
    /// A failure of the connection.
    pub fn connection(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Connection(source.into())
    }

    /// A failure on this side.
    pub fn local(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Local(source.into())
    }

    /// The status of the server's no, also of the last one before it was given up.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::GivenUp { last, .. } => last.status(),
            _ => None,
        }
    }

    /// Whether the upload is not there (any more): a new one has to be begun (tus 1.0.0, "Expiration": "In both
    /// cases the Client SHOULD start a new upload").
    pub fn is_gone(&self) -> bool {
        matches!(self.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// Whether the same may do well later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Misbehaved { by_tus, .. } => !by_tus,
            Self::Refused(refused) => {
                refused.status.is_server_error() || matches!(refused.status.as_u16(), 408 | 409 | 423 | 429 | 460)
            }
            _ => false,
        }
    }

    /// Whether it says that the client was wrong about the offset, and the right one is to be had at once.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == StatusCode::CONFLICT)
    }
}
