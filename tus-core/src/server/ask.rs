//! What a request asks for, independent of its dialect.

use super::{dialect::file::Conditions, verify::Verify};
use crate::{MAX_LENGTH, NewUpload, UploadId};

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Ask {
    /// What the server can do.
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
    /// The uploads that a final one is to be made of, in order and repeats included; which incarnations they are is
    /// known when they are loaded.
    pub(super) named: Vec<UploadId>,
    pub(super) body: Option<Body>,
}

/// What a request wants with an existing upload.
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
    /// The length of the complete upload, where it is declared now.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
}

/// What a request's head says about its body.
#[derive(Debug)]
pub(super) struct Body {
    /// Its bytes, where the head says so.
    pub(super) length: Option<u64>,
    pub(super) verify: Verify,
}

/// What a request wants to do, as the application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Create an upload; there is none to show yet.
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
    /// What the application is asked about.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Inspect => Operation::Inspect,
            Self::Append(_) => Operation::Append,
            Self::Terminate => Operation::Terminate,
            Self::Download(_) => Operation::Download,
        }
    }
}

/// How far the bytes of an upload may reach.
pub(super) fn room_until(length: Option<u64>, max_size: Option<u64>) -> u64 {
    length.or(max_size).unwrap_or(MAX_LENGTH).min(MAX_LENGTH)
}
