//! An upload before it exists.

use bytes::Bytes;

use super::{Kind, Metadata, Part, UploadId, Verbatim};

/// An upload that a client asks for, before it exists. The application may change what it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewUpload {
    kind: Kind,
    length: Option<u64>,
    pub(crate) verbatim: Verbatim,
    /// What the client says of it.
    pub metadata: Metadata,
    /// The id that the application chooses; `None` for 128 random bits. An id that is in use is refused with `409`.
    pub id: Option<UploadId>,
    /// The most bytes that this upload may get; the configured size to begin with.
    pub max_size: Option<u64>,
    /// Whose it is, in the application's own terms: uploads can be listed by it. No client ever sees it.
    pub owner: Option<String>,
    /// The application's own data, stored with the upload. No client ever sees it.
    pub private: Bytes,
}

/// What a client asks for and the application does not change.
#[derive(Debug)]
pub(crate) struct Asked {
    kind: Kind,
    length: Option<u64>,
    verbatim: Verbatim,
}

impl NewUpload {
    /// What a client asks for that sends nothing else; for tests of an application's hooks.
    pub fn new(kind: Kind, length: Option<u64>) -> Self {
        Self {
            kind,
            length,
            verbatim: Verbatim::default(),
            metadata: Metadata::default(),
            id: None,
            max_size: None,
            owner: None,
            private: Bytes::new(),
        }
    }

    /// Bytes of the complete upload; `None` while that is not known. That of a final upload is the sum of its parts.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The parts of a final upload are known once they are loaded and authorized.
    pub(crate) fn set_parts(&mut self, parts: Vec<Part>) {
        self.kind = Kind::Final(parts);
    }

    /// What is the client's alone.
    pub(crate) fn asked(&self) -> Asked {
        Asked { kind: self.kind.clone(), length: self.length, verbatim: self.verbatim.clone() }
    }

    /// Takes that back.
    pub(crate) fn keep(&mut self, Asked { kind, length, verbatim }: Asked) {
        (self.kind, self.length, self.verbatim) = (kind, length, verbatim);
    }

    /// Whether it is to stand alone, be a part, or be made of parts.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}
