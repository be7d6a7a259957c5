//! An upload before it exists.

use bytes::Bytes;

use super::{Kind, Metadata, Part, UploadId, Verbatim};

/// An upload that a client wants to create. The application may change the public fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewUpload {
    kind: Kind,
    length: Option<u64>,
    pub(crate) verbatim: Verbatim,
    /// The client's metadata.
    pub metadata: Metadata,
    /// An id that the application chooses; `None` for 128 random bits. An id that is in use is rejected with `409`.
    pub id: Option<UploadId>,
    /// The size limit of this upload in bytes; initially the configured maximum.
    pub max_size: Option<u64>,
    /// The owner, in the application's own terms. Uploads can be listed by owner. Clients never see it.
    pub owner: Option<String>,
    /// The application's own data, stored with the upload. Clients never see it.
    pub private: Bytes,
}

/// What the client asks for and the application cannot change.
#[derive(Debug)]
pub(crate) struct Asked {
    kind: Kind,
    length: Option<u64>,
    verbatim: Verbatim,
}

impl NewUpload {
    /// A request to create an upload with nothing else in it, for tests of an application's hooks.
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

    /// Length of the complete upload in bytes; `None` if it is not known yet. The length of a final upload is the sum
    /// of its parts.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The parts of a final upload are known after they have been loaded and authorized.
    pub(crate) fn set_parts(&mut self, parts: Vec<Part>) {
        self.kind = Kind::Final(parts);
    }

    /// Takes the parts that belong to the client.
    pub(crate) fn asked(&self) -> Asked {
        Asked { kind: self.kind.clone(), length: self.length, verbatim: self.verbatim.clone() }
    }

    /// Puts them back.
    pub(crate) fn keep(&mut self, Asked { kind, length, verbatim }: Asked) {
        (self.kind, self.length, self.verbatim) = (kind, length, verbatim);
    }

    /// Whether the upload is single, partial, or final.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}
