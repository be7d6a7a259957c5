//! Why a request of this dialect is malformed, before anything else is checked.

use http::{HeaderName, Method};

use crate::{InvalidMetadata, digest::WrongLength};

/// Why a request of the draft is rejected. The text is sent to the client.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Problem {
    /// The method is not allowed for this URL.
    #[error("{method} is not allowed for this URL; allowed: {allow}")]
    NotAllowed { method: Method, allow: String },
    /// The request does not declare whether it completes its upload.
    #[error("the header {} must be ?1 or ?0", if *.0 { "upload-incomplete" } else { "upload-complete" })]
    NotSaid(bool),
    /// An append does not declare its offset.
    #[error("the header upload-offset must be the number of bytes already stored, in at most 15 digits")]
    NoOffset,
    /// A request for the offset, or a deletion, contains state.
    #[error("this request must have neither upload-offset nor upload-complete (upload-incomplete in older versions)")]
    HasState,
    /// The content of an append does not have the right media type.
    #[error("the content must have content-type: application/partial-upload")]
    MediaType,
    /// The body has an unsupported transfer coding.
    #[error("the only supported transfer coding is chunked")]
    TransferCoding,
    /// The length of the content is invalid.
    #[error("the header content-length must be a number of bytes in decimal digits")]
    ContentLength,
    /// The declared length differs from the length of content that claims to be complete; both in bytes.
    #[error("upload-length is {declared}, but the content, which is declared as complete, has {content} bytes")]
    Lengths { declared: u64, content: u64 },
    /// A digest does not have the length of its algorithm.
    #[error("the digest in the header {} must have {} bytes", .0.field, .0.expected)]
    Digest(WrongLength),
    /// A header that must not be repeated is repeated.
    #[error("the header {0} is repeated")]
    Repeated(HeaderName),
    /// The metadata is invalid.
    #[error("upload-metadata: {0}")]
    Metadata(#[from] InvalidMetadata),
    /// The head of a creation is too large to store; both in bytes.
    #[error("the head of the request has {actual} bytes, but at most {limit} can be stored with an upload")]
    HeadTooLarge { actual: usize, limit: usize },
    /// The metadata exceeds the configured size; both in bytes.
    #[error("the fields that describe the upload have {actual} bytes, but at most {limit} are allowed")]
    MetadataTooLarge { actual: usize, limit: usize },
}

impl From<WrongLength> for Problem {
    fn from(wrong: WrongLength) -> Self {
        Self::Digest(wrong)
    }
}
