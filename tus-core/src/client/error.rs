//! Why an upload failed, grouped by who caused it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

/// Why an upload failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asks for something impossible.
    #[error("{0}")]
    Invalid(String),
    /// The source ends early, or is not the same as before.
    #[error("the source {0}")]
    Source(String),
    /// Something on the client's side failed: a store of URLs, or a function of the caller.
    #[error("the client failed: {0}")]
    Local(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server does not offer what the upload needs.
    #[error("the server does not offer {0}")]
    Unsupported(String),
    /// The upload is larger than the server accepts.
    #[error("the upload has {length} bytes, but the server accepts at most {limit}")]
    TooLarge {
        /// Bytes of the upload.
        length: u64,
        /// Maximum that the server accepts (`Tus-Max-Size`).
        limit: u64,
    },
    /// The server could not be reached, or the connection broke or timed out.
    #[error("the connection failed: {0}")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server rejected the request.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The server violates the protocol.
    #[error("the response to {method} has {problem}")]
    Misbehaved {
        /// The method of the request.
        method: Method,
        /// The header that is missing or wrong.
        header: &'static HeaderName,
        /// What is wrong with it.
        problem: String,
        /// Whether the response is a tus response (`Tus-Resumable`). If not, something else answered: a proxy, or a
        /// captive portal.
        by_tus: bool,
    },
    /// A redirect that must not be followed.
    #[error("the response to {method} redirects to {location:?}, which is not followed")]
    Redirected {
        /// The method of the request.
        method: Method,
        /// The value of `Location`.
        location: String,
    },
    /// The allowed number or time of retries is exhausted.
    #[error("given up after {retries} retries without progress: {last}")]
    GivenUp {
        /// Retries since the last progress.
        retries: u32,
        /// Why the last one failed.
        #[source]
        last: Box<Error>,
    },
}

/// The server's rejection of a request.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {method} with {status}{}", self.words())]
pub struct Refused {
    /// The method of the request.
    pub method: Method,
    /// The status of the response.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Refused {
    /// The beginning of the body, if it is text.
    fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).trim().to_owned();
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

impl Error {
    /// A connection failure.
    pub fn connection(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Connection(source.into())
    }

    /// A failure on the client's side.
    pub fn local(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Local(source.into())
    }

    /// The status of the server's rejection, also of the last one before the client gave up.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            Self::GivenUp { last, .. } => last.status(),
            _ => None,
        }
    }

    /// Whether the upload does not exist (any longer), so that a new one must be started (tus 1.0.0, "Expiration": "In
    /// both cases the Client SHOULD start a new upload").
    pub fn is_gone(&self) -> bool {
        matches!(self.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// Whether the same request may succeed later.
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

    /// Whether it reports a wrong offset, so that the client can ask for the right one at once.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == StatusCode::CONFLICT)
    }
}
