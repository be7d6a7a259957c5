//! What is known of an upload. Protocol and storage share this record and nothing else.

use std::time::SystemTime;

use http::HeaderValue;

use crate::{Metadata, UploadId};

/// The record of an upload, as last committed.
///
/// Bytes past `offset` do not exist, whatever a storage may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Whether it stands alone, is a part, or is made of parts.
    pub kind: Kind,
    /// Committed bytes from the start of the upload; at most [`MAX_LENGTH`](crate::MAX_LENGTH).
    pub offset: u64,
    /// Bytes of the whole upload; `None` while the length is deferred.
    pub length: Option<u64>,
    /// The most bytes that it may get; `None` for no limit.
    pub max_size: Option<u64>,
    /// What the client told of it.
    pub metadata: Metadata,
    /// When it was created.
    pub created: SystemTime,
    /// When it goes away if nobody goes on with it; `None` for never.
    pub expires: Option<SystemTime>,
    /// Whether the application has been told that the upload is whole, or does not want to be told.
    pub finished: bool,
}

impl Upload {
    /// Whether every byte is there.
    pub fn is_complete(&self) -> bool {
        self.length == Some(self.offset)
    }

    /// Whether something is left to be done for it that no request will ask for: to join the parts
    /// of a final upload, or to tell the application that the upload is whole.
    ///
    /// A storage keeps an index over this, so that a server that starts finds what a killed one left.
    pub fn is_due(&self) -> bool {
        match self.kind {
            Kind::Single => self.is_complete() && !self.finished,
            Kind::Partial => false,
            Kind::Final(_) => !self.finished,
        }
    }

    /// Whether its time was over at `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The role of an upload (tus 1.0.0, "Concatenation").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An upload that stands alone.
    Single,
    /// A part of an upload; the application isn't told of it.
    Partial,
    /// An upload made of partial uploads.
    Final(Final),
}

/// What a final upload is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// The value of `Upload-Concat`, as it was sent.
    pub header: HeaderValue,
    /// The partial uploads in their order; one may be there several times.
    pub partials: Vec<UploadId>,
}

/// An upload that a client asks for, before it exists.
#[derive(Debug, Clone)]
pub struct NewUpload {
    pub(crate) kind: Kind,
    pub(crate) length: Option<u64>,
    /// What the client tells of it; the application may change it.
    pub metadata: Metadata,
    /// The id that the application chooses; `None` for 128 random bits.
    pub id: Option<UploadId>,
    /// The most bytes that this upload may get; the configured size to begin with. The application
    /// may raise or lower it.
    pub max_size: Option<u64>,
}

impl NewUpload {
    /// Bytes of the whole upload; `None` while that is not known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether it is to stand alone, be a part, or be made of parts.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}
