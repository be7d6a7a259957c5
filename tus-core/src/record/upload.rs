//! The record of an upload.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Incarnation, Metadata, UploadId, Verbatim};

/// The record of an upload, as last committed.
///
/// Bytes past `offset` do not exist, whatever a storage may hold. Completeness is the [phase](Phase), not `length ==
/// offset`: an upload of the IETF's draft can have all of its bytes and be incomplete.
///
/// ```
/// use tus_core::{Incarnation, Kind, Phase, Upload, UploadId};
///
/// let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
/// upload.length = Some(5);
/// upload.owner = Some("anna".into());
/// assert_eq!((upload.offset, upload.phase), (0, Phase::Receiving));
/// assert!(!upload.is_complete());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Upload {
    /// The id.
    pub id: UploadId,
    /// Distinguishes uploads that have had the same id. An id may be used again; an incarnation never is.
    pub incarnation: Incarnation,
    /// The protocol in which it was created.
    pub dialect: Dialect,
    /// Whether it is single, partial, or final.
    pub kind: Kind,
    /// Its current phase.
    pub phase: Phase,
    /// Committed bytes from the start of the upload; at most [`MAX_LENGTH`](crate::MAX_LENGTH).
    pub offset: u64,
    /// Length of the complete upload in bytes; `None` if it is not known yet.
    pub length: Option<u64>,
    /// The size limit in bytes; `None` for no limit.
    pub max_size: Option<u64>,
    /// The client's metadata. The client can read it back.
    pub metadata: Metadata,
    /// The owner, in the application's own terms. Storages index it. Clients never see it.
    pub owner: Option<String>,
    /// The application's own data, opaque to these crates. Clients never see it.
    #[cfg_attr(feature = "serde", serde(with = "super::document::base64"))]
    pub private: Bytes,
    /// What the dialect must repeat exactly as it was sent.
    pub verbatim: Verbatim,
    /// When it was created.
    #[cfg_attr(feature = "serde", serde(with = "super::document::milliseconds"))]
    pub created: SystemTime,
    /// When it expires, unless it is used before; `None` for never.
    #[cfg_attr(feature = "serde", serde(with = "super::document::optional_milliseconds"))]
    pub expires: Option<SystemTime>,
}

impl Upload {
    /// An upload that waits for its first byte (or, if it is [final](Kind::Final), for its parts): tus 1.0.0, unknown
    /// length, no limit, metadata, owner or expiry, created at the Unix epoch.
    ///
    /// ```
    /// use tus_core::{Incarnation, Kind, Phase, Upload, UploadId};
    ///
    /// let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
    /// upload.length = Some(11);
    /// assert_eq!(upload.phase, Phase::Receiving);
    /// ```
    pub fn new(id: UploadId, incarnation: Incarnation, kind: Kind) -> Self {
        let phase = match kind {
            Kind::Single | Kind::Partial => Phase::Receiving,
            Kind::Final(_) => Phase::Assembling,
        };
        Self {
            id,
            incarnation,
            dialect: Dialect::Tus,
            kind,
            phase,
            offset: 0,
            length: None,
            max_size: None,
            metadata: Metadata::default(),
            owner: None,
            private: Bytes::new(),
            verbatim: Verbatim::default(),
            created: SystemTime::UNIX_EPOCH,
            expires: None,
        }
    }

    /// Whether all bytes have been received and no more can be added.
    pub fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Notified)
    }

    /// Whether work remains that no request will ask for: assembling the upload, or notifying the application.
    ///
    /// Storages find these uploads cheaply, so that a server can finish the work of a killed one.
    pub fn is_due(&self) -> bool {
        match self.phase {
            Phase::Assembling => true,
            // The application is not notified of parts. At a resource, a request asks for the response.
            Phase::Complete => self.kind != Kind::Partial && !self.is_at_resource(),
            Phase::Receiving | Phase::Notified | Phase::Invalid => false,
        }
    }

    /// Whether it was created at a resource of the application ([`Mount::resource`](crate::server::Mount::resource)),
    /// whose handler responds when the upload is complete, and not at an endpoint.
    pub fn is_at_resource(&self) -> bool {
        self.verbatim.has_request()
    }

    /// Whether it has expired by `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The protocol in which an upload was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dialect {
    /// tus 1.0.0.
    #[default]
    Tus,
    /// The IETF's "Resumable Uploads for HTTP", in this interop version.
    Draft(u8),
}

/// The role of an upload (tus 1.0.0, "Concatenation").
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Kind {
    /// A single upload.
    Single,
    /// A part of a final upload. The application is not notified of it.
    Partial,
    /// An upload that consists of these partial uploads, in this order. A part may occur several times.
    Final(Vec<Part>),
}

/// A part of a final upload: exactly the incarnation that was authorized. A later upload with the same id is not the
/// part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Part {
    /// Its id.
    pub id: UploadId,
    /// Distinguishes uploads that have had this id.
    pub incarnation: Incarnation,
}

impl Part {
    /// A part that is this incarnation of an upload.
    pub fn new(id: UploadId, incarnation: Incarnation) -> Self {
        Self { id, incarnation }
    }
}

impl From<&Upload> for Part {
    fn from(upload: &Upload) -> Self {
        Self { id: upload.id.clone(), incarnation: upload.incarnation }
    }
}

/// The phases of an upload's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// Clients add bytes.
    Receiving,
    /// Clients can add nothing more, and the server completes the upload: a final upload waits for its parts or is
    /// being concatenated, any other upload is being sealed by the storage.
    Assembling,
    /// All bytes have been received, and the application has not been notified yet. Parts stay in this phase.
    Complete,
    /// All bytes have been received, and nothing remains to be done: the application was notified or does not want to
    /// be.
    Notified,
    /// The upload can never be complete: bytes were lost, there were too many, or a part is gone. Nothing can be
    /// added.
    Invalid,
}

impl Phase {
    /// All phases, in the order of an upload's life.
    pub const ALL: [Self; 5] = [Self::Receiving, Self::Assembling, Self::Complete, Self::Notified, Self::Invalid];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(kind: Kind) -> Upload {
        let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(1), kind);
        (upload.offset, upload.length, upload.phase) = (7, Some(7), Phase::Notified);
        upload
    }

    #[test]
    fn uploads_with_pending_work_are_due() {
        let due = |kind: &Kind, phase| {
            let mut upload = upload(kind.clone());
            upload.phase = phase;
            upload.is_due()
        };
        for phase in [Phase::Receiving, Phase::Notified, Phase::Invalid] {
            assert!(!due(&Kind::Single, phase));
        }
        assert!(due(&Kind::Single, Phase::Complete) && due(&Kind::Final(Vec::new()), Phase::Assembling));
        assert!(!due(&Kind::Partial, Phase::Complete));
        let mut at_resource = upload(Kind::Single);
        at_resource.phase = Phase::Complete;
        at_resource.verbatim.set_request(&http::Method::POST, "/photos", &http::HeaderMap::new());
        assert!(at_resource.is_at_resource() && !at_resource.is_due(), "a client asks for its response");
    }
}
