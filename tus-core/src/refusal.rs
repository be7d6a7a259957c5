//! Everything that can keep a request from being done, by whose fault it is, and the one table
//! from there to a status.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::{InvalidMetadata, UploadId};

/// Why a request is not done. Its text is what the client is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// `X-HTTP-Method-Override` asks for something else than PATCH, DELETE or HEAD over POST.
    #[error("x-http-method-override turns a POST into PATCH, DELETE or HEAD and nothing else")]
    MethodOverride,
    /// The method is not for this URL.
    #[error("{method} is not for this URL; allowed: {allow}")]
    MethodNotAllowed {
        /// The method of the request.
        method: Method,
        /// The value of `Allow`.
        allow: String,
    },
    /// The client speaks another version of the protocol, or does not say which.
    #[error("the request needs the header tus-resumable: 1.0.0")]
    UnsupportedVersion,
    /// A header that the request needs is not there.
    #[error("the header {0} is missing: {1}")]
    MissingHeader(&'static HeaderName, &'static str),
    /// A header that may be there once is there more than once.
    #[error("the header {0} is there more than once")]
    RepeatedHeader(HeaderName),
    /// A header has a value that cannot be read.
    #[error("the header {name} is {value:?}, but it must be {expected}")]
    InvalidHeader {
        /// The header.
        name: HeaderName,
        /// Its value as it came, shortened.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Two headers that exclude each other, or one that has no place here.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The metadata cannot be read.
    #[error("upload-metadata: {0}")]
    Metadata(#[from] InvalidMetadata),
    /// The metadata is larger than configured.
    #[error("upload-metadata has {actual} bytes, and {limit} are allowed")]
    MetadataTooLarge {
        /// Bytes of the value that was sent.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The request uses an extension that is turned off.
    #[error("this server does not offer the extension {0}")]
    NotOffered(&'static str),
    /// The body is not announced as bytes to append.
    #[error("the body must have content-type: application/offset+octet-stream")]
    UnsupportedMediaType,
    /// There is no such upload.
    #[error("there is no such upload")]
    NotFound,
    /// The upload's time is over.
    #[error("the upload has expired")]
    Expired,
    /// The upload is not whole, or the application has not been told of it yet; a part never is.
    #[error("the upload is not finished, and only what is finished can be downloaded")]
    NotFinished,
    /// A download asks for bytes that are not there.
    #[error("the range is not within the {length} bytes of the upload")]
    RangeNotSatisfiable {
        /// Bytes of the whole upload.
        length: u64,
    },
    /// The request goes on from elsewhere than where the upload stands.
    #[error("upload-offset is {sent}, but the upload stands at {actual}")]
    OffsetMismatch {
        /// The offset in the request, in bytes.
        sent: u64,
        /// The committed offset, in bytes.
        actual: u64,
    },
    /// The upload, or what the request adds to it, is larger than allowed.
    #[error("the upload may have {limit} bytes and would get more")]
    TooLarge {
        /// Bytes that the upload may have.
        limit: u64,
    },
    /// Bytes cannot be added to a final upload.
    #[error("a final upload is made of its parts and takes no bytes")]
    FinalTakesNoBytes,
    /// A final upload names a part that is not there, or not any more.
    #[error("there is no partial upload {0}")]
    PartialNotFound(UploadId),
    /// A final upload names an upload that is no part.
    #[error("{0} was not created with upload-concat: partial")]
    NotPartial(UploadId),
    /// A final upload names a part that is not whole, and this server does not wait for it.
    #[error("the partial upload {0} is not complete yet")]
    PartialIncomplete(UploadId),
    /// The body does not match its checksum.
    #[error("the body does not match upload-checksum; it was discarded")]
    ChecksumMismatch,
    /// No byte came for too long.
    #[error("no byte came for too long; the upload stands at {offset}")]
    TimedOut {
        /// The committed offset, in bytes.
        offset: u64,
    },
    /// The body ended before its end.
    #[error("the body broke off; the upload stands at {offset}")]
    BrokenOff {
        /// The committed offset, in bytes.
        offset: u64,
    },
    /// Another request goes on with this upload.
    #[error("another request goes on with this upload")]
    Superseded,
    /// The server is about to stop.
    #[error("the server is shutting down; go on in a moment")]
    ShuttingDown,
    /// The storage could not do it.
    #[error("{0}")]
    Storage(#[from] Failure),
    /// The application said no.
    #[error("the application refused")]
    Rejected(Rejection),
}

impl Refusal {
    pub(crate) fn invalid(name: &HeaderName, value: &HeaderValue, expected: &'static str) -> Self {
        let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if let Some((end, _)) = text.char_indices().nth(64) {
            text.truncate(end);
            text.push('…');
        }
        Self::InvalidHeader { name: name.clone(), value: text, expected }
    }

    /// The status that tells the client of it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MethodOverride
            | Self::MissingHeader(..)
            | Self::RepeatedHeader(_)
            | Self::InvalidHeader { .. }
            | Self::Contradiction(_)
            | Self::Metadata(_)
            | Self::MetadataTooLarge { .. }
            | Self::NotOffered(_)
            | Self::NotPartial(_)
            | Self::BrokenOff { .. } => StatusCode::BAD_REQUEST,
            Self::FinalTakesNoBytes => StatusCode::FORBIDDEN,
            Self::NotFound | Self::PartialNotFound(_) | Self::NotFinished => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::OffsetMismatch { .. } | Self::PartialIncomplete(_) => StatusCode::CONFLICT,
            Self::Expired => StatusCode::GONE,
            Self::UnsupportedVersion => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Superseded => StatusCode::LOCKED,
            Self::ChecksumMismatch => checksum_mismatch(),
            Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Storage(failure) => failure.status(),
            Self::Rejected(rejection) => rejection.status(),
        }
    }

    /// Whether the same request may do well in a second.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Superseded | Self::ShuttingDown | Self::Storage(Failure::Busy))
    }
}

/// `460 Checksum Mismatch`, which has no name outside tus (tus 1.0.0, "Checksum").
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST)
}

/// How a storage failed, as far as the protocol tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The record changed meanwhile; nothing was done.
    #[error("the upload changed meanwhile; ask for its offset and go on from there")]
    Conflict,
    /// There is no such upload (any more).
    #[error("there is no such upload")]
    NotFound,
    /// There is an upload of that name already.
    #[error("there is an upload of that name already")]
    Exists,
    /// Somebody else holds the upload or the store for the moment.
    #[error("the upload is in use elsewhere; try again in a moment")]
    Busy,
    /// There is no room left.
    #[error("the server has no room left; what it has acknowledged is kept")]
    Full,
    /// Anything else; the reason is for the server's log, not for the client.
    #[error("the server could not do this; what it has acknowledged is kept")]
    Internal,
}

impl Failure {
    fn status(self) -> StatusCode {
        match self {
            Self::Conflict | Self::Exists => StatusCode::CONFLICT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::LOCKED,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The application's no: the response that the client gets instead.
#[derive(Debug, Clone)]
pub struct Rejection(Box<Response<Bytes>>);

impl Rejection {
    /// A rejection with a status and a text that the client's user may read.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let mut response = Response::new(Bytes::from(text.into()));
        *response.status_mut() = status;
        Self(Box::new(response))
    }

    /// `401 Unauthorized`, which asks for credentials by the scheme named (`Bearer`, say).
    pub fn unauthorized(scheme: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "credentials are needed\n")
            .header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme))
    }

    /// `403 Forbidden`.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// Sets a header of the response.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        *self.0
    }
}

impl From<Response<Bytes>> for Rejection {
    fn from(response: Response<Bytes>) -> Self {
        Self(Box::new(response))
    }
}
