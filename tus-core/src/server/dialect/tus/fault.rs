//! Why a request of this dialect is malformed, before anything else is checked.

use http::{HeaderName, HeaderValue, Method};

use crate::{InvalidMetadata, header::Repeated};

/// Why a request is malformed. The text is sent to the client.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    /// The body has a transfer coding other than `chunked`.
    #[error("the body must be sent without a transfer coding, or with transfer-encoding: chunked alone")]
    TransferCoding,
    /// The method is not allowed for this URL.
    #[error("{method} is not allowed for this URL; allowed: {allow}")]
    MethodNotAllowed { method: Method, allow: String },
    /// The client uses another version of the protocol, or does not state one.
    #[error("the request needs the header tus-resumable: 1.0.0")]
    UnsupportedVersion,
    /// A header that the request needs is missing.
    #[error("the header {0} is missing: {1}")]
    MissingHeader(&'static HeaderName, &'static str),
    /// A header that must not be repeated is repeated.
    #[error("the header {0} is repeated")]
    RepeatedHeader(HeaderName),
    /// A header has an invalid value: the value (shortened) and what is expected.
    #[error("the header {name} is {value:?}, but it must be {expected}")]
    InvalidHeader { name: HeaderName, value: String, expected: &'static str },
    /// Two headers exclude each other, or one is not allowed here.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The metadata is invalid.
    #[error("upload-metadata: {0}")]
    Metadata(#[from] InvalidMetadata),
    /// The metadata exceeds the configured size; both in bytes.
    #[error("upload-metadata has {actual} bytes, but at most {limit} are allowed")]
    MetadataTooLarge { actual: usize, limit: usize },
    /// A final upload has more parts than configured.
    #[error("a final upload may have at most {0} partial uploads")]
    TooManyParts(usize),
    /// The list of parts is longer than the server stores; in bytes.
    #[error("upload-concat has {actual} bytes, but at most {limit} are allowed")]
    ConcatTooLarge { actual: usize, limit: usize },
    /// The request uses an extension that is turned off.
    #[error("this server does not offer the extension {0}")]
    NotOffered(&'static str),
    /// The dialect is turned off.
    #[error("this server does not support tus 1.0.0")]
    TusOff,
    /// The body does not have the media type of bytes to append.
    #[error("the body must have content-type: application/offset+octet-stream")]
    UnsupportedMediaType,
    /// The framework could not forward the request.
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
}

impl Fault {
    pub(super) fn invalid(name: &HeaderName, value: &HeaderValue, expected: &'static str) -> Self {
        let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if let Some((end, _)) = text.char_indices().nth(64) {
            text.truncate(end);
            text.push('…');
        }
        Self::InvalidHeader { name: name.clone(), value: text, expected }
    }
}

impl From<Repeated> for Fault {
    fn from(Repeated(name): Repeated) -> Self {
        Self::RepeatedHeader(name)
    }
}
