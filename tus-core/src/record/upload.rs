//! The record of an upload.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Incarnation, Metadata, UploadId, Verbatim};

/// The record of an upload, as last committed.
///
/// Bytes past `offset` do not exist, whatever a storage may hold. Completeness is the [phase](Phase), not
/// `length == offset`: an upload of the IETF's dialect may stand at its length and be incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// Which of the uploads that have had this name, ever: an id may be used again, an incarnation never is.
    pub incarnation: Incarnation,
    /// The protocol in which it was created.
    pub dialect: Dialect,
    /// Whether it stands alone, is a part, or is made of parts.
    pub kind: Kind,
    /// How far its life has come.
    pub phase: Phase,
    /// Committed bytes from the start of the upload; at most [`MAX_LENGTH`](crate::MAX_LENGTH).
    pub offset: u64,
    /// Bytes of the complete upload; `None` while the length is not known.
    pub length: Option<u64>,
    /// The most bytes that it may get; `None` for no limit.
    pub max_size: Option<u64>,
    /// What the client says of it. The client can read it back.
    pub metadata: Metadata,
    /// Whose it is, in the application's own terms. Storages index it; no client ever sees it.
    pub owner: Option<String>,
    /// The application's own data, opaque here. No client ever sees it.
    #[cfg_attr(feature = "serde", serde(with = "super::document::base64"))]
    pub private: Bytes,
    /// What its dialect has to repeat exactly as it was sent.
    pub verbatim: Verbatim,
    /// When it was created.
    #[cfg_attr(feature = "serde", serde(with = "super::document::milliseconds"))]
    pub created: SystemTime,
    /// When it goes away if nobody goes on with it; `None` for never.
    #[cfg_attr(feature = "serde", serde(with = "super::document::optional_milliseconds"))]
    pub expires: Option<SystemTime>,
}

impl Upload {
    /// An upload that waits for its first byte (or, if it is [final](Kind::Final), for its parts): of tus 1.0.0, of
    /// unknown length, without limit, metadata, owner or expiry, created at the Unix epoch.
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

    /// Whether every byte is there and nothing more can be added.
    pub fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Notified)
    }

    /// Whether something is left to be done for it that no request will ask for: to assemble it, or to notify the
    /// application.
    ///
    /// A storage finds these uploads cheaply, so that a server that starts can finish what a killed one left.
    pub fn is_due(&self) -> bool {
        match self.phase {
            Phase::Assembling => true,
            // The application is not notified of a part. At a resource of its own, a request asks for the answer.
            Phase::Complete => self.kind != Kind::Partial && !self.is_at_resource(),
            Phase::Receiving | Phase::Notified | Phase::Invalid => false,
        }
    }

    /// Whether it was created at a resource of the application ([`Mount::resource`](crate::server::Mount::resource)),
    /// whose handler responds when it is complete, and not at an endpoint.
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
    /// An upload that stands alone.
    Single,
    /// A part of an upload; the application isn't notified of it.
    Partial,
    /// An upload made of these partial uploads, in this order; one may be there several times.
    Final(Vec<Part>),
}

/// A partial upload that a final one is made of: exactly this incarnation, as it was authorized. A later upload with its
/// id is no part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Part {
    /// Its id.
    pub id: UploadId,
    /// Which of the uploads that have had this id.
    pub incarnation: Incarnation,
}

impl Part {
    /// This incarnation of an upload, as a part.
    pub fn new(id: UploadId, incarnation: Incarnation) -> Self {
        Self { id, incarnation }
    }
}

impl From<&Upload> for Part {
    fn from(upload: &Upload) -> Self {
        Self { id: upload.id.clone(), incarnation: upload.incarnation }
    }
}

/// How far the life of an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// Clients add bytes.
    Receiving,
    /// Clients add nothing more; the server puts it together: a final upload waits for its parts or is being
    /// concatenated, any other is being sealed by its storage.
    Assembling,
    /// Every byte is there, and the application has still to be notified. A part stays in this phase.
    Complete,
    /// Every byte is there, and nothing is left to be done: the application was notified, or does not want to be.
    Notified,
    /// It can never be complete: bytes were lost, there were too many, or a part is gone. Nothing can be added.
    Invalid,
}

impl Phase {
    /// All of them, in the order of an upload's life.
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
    fn due_is_what_no_request_will_ask_for() {
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
