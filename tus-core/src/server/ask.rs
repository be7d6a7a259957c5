//! What a request asks for, independent of its dialect.

use super::{Refusal, dialect::file::Conditions, verify::Verify};
use crate::{Checksum, Dialect, MAX_LENGTH, NewUpload, UploadId, field::MAX_INTEGER};

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Ask {
    /// The server's capabilities.
    Options,
    /// A new upload.
    Create(Creation),
    /// Something about an existing upload.
    Existing(UploadId, Action),
}

/// A new upload, and the body that may come with it.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) upload: NewUpload,
    /// The uploads that a final upload is to consist of, in order and with repetitions. Their incarnations are known
    /// when they have been loaded.
    pub(super) named: Vec<UploadId>,
    pub(super) body: Option<Body>,
}

/// What a request wants to do with an existing upload.
#[derive(Debug)]
pub(super) enum Action {
    Inspect,
    Append(Append),
    Terminate,
    Download(Conditions),
}

/// Bytes to add to an upload.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) offset: u64,
    /// The length of the complete upload, if this request declares it.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
}

/// What a request's head says about its body.
#[derive(Debug)]
pub(super) struct Body {
    /// Its length in bytes, if the head declares it.
    pub(super) length: Option<u64>,
    /// The limit for its length, in addition to the remaining room of the upload.
    pub(super) limit: Option<u64>,
    pub(super) verify: Verify,
    pub(super) completes: Completes,
    /// The digest of the complete upload, which is verified before the upload becomes complete.
    pub(super) repr_digest: Option<Checksum>,
    /// Whether bytes beyond the upload's length make it invalid, instead of only being rejected.
    pub(super) invalidates: bool,
    /// Whether a success means that all of it was processed: if it is cut short, the response is a failure. A client that
    /// does not know the URL of its new upload gets a success nevertheless, because only that contains the URL.
    pub(super) fails_if_cut: bool,
}

/// When a body completes its upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completes {
    /// As soon as the offset equals the length.
    AtLength,
    /// At its end, if all of it arrived. Its end is then the length of the upload.
    AtEnd,
    /// Not at all; another request will.
    Never,
}

impl Body {
    /// A body with the properties that tus defines.
    pub(super) fn new(length: Option<u64>, verify: Verify) -> Self {
        Self {
            length,
            limit: None,
            verify,
            completes: Completes::AtLength,
            repr_digest: None,
            invalidates: false,
            fails_if_cut: false,
        }
    }
}

/// What a request wants to do, as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Create an upload. There is none to show yet.
    Create,
    /// Use this partial upload as a part of a new final upload.
    Concatenate,
    /// Read the upload's offset, length and metadata.
    Inspect,
    /// Add bytes to the upload.
    Append,
    /// Download the upload's bytes.
    Download,
    /// Delete the upload.
    Terminate,
}

impl Action {
    /// The operation to authorize.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Inspect => Operation::Inspect,
            Self::Append(_) => Operation::Append,
            Self::Terminate => Operation::Terminate,
            Self::Download(_) => Operation::Download,
        }
    }
}

/// The end of the room for bytes of an upload.
pub(super) fn room_until(length: Option<u64>, max_size: Option<u64>, dialect: Dialect) -> u64 {
    let most = match dialect {
        Dialect::Tus => MAX_LENGTH,
        Dialect::Draft(_) => MAX_INTEGER,
    };
    length.or(max_size).unwrap_or(most).min(most)
}

/// The rejection of bytes beyond that limit.
pub(super) fn beyond(length: Option<u64>, limit: u64) -> Refusal {
    match length {
        Some(length) if length <= limit => Refusal::BeyondLength { length },
        _ => Refusal::TooLarge { limit },
    }
}
