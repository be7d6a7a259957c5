//! A stored record, and the changes to it.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Dialect, Kind, Phase, Upload, Verbatim};

/// A record as a storage holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The record.
    pub upload: Upload,
    /// The version of the record. Every change makes a new one.
    pub version: Version,
    /// Whether a request in another process may be adding bytes that the record does not include yet.
    pub held_elsewhere: bool,
}

impl Stored {
    /// A record that no other process is adding bytes to.
    pub fn new(upload: Upload, version: Version) -> Self {
        Self { upload, version, held_elsewhere: false }
    }

    /// The record after a change that produced this version.
    pub fn changed(mut self, change: &Change, version: Version) -> Self {
        change.apply(&mut self.upload);
        self.version = version;
        self
    }

    /// Whether both are the same incarnation, in any version.
    pub fn is_same_upload(&self, other: &Upload) -> bool {
        self.upload.id == other.id && self.upload.incarnation == other.incarnation
    }
}

/// A version of a record. A change applies only to the version that it was based on (compare-and-set).
///
/// Opaque except to the storage that made it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Token);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Token {
    Number(u64),
    Text(Arc<str>),
}

impl Version {
    /// The number that it was made from; `None` if it was made from text.
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            Token::Number(number) => Some(number),
            Token::Text(_) => None,
        }
    }

    /// The text that it was made from; `None` if it was made from a number.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Token::Number(_) => None,
            Token::Text(text) => Some(text),
        }
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(Token::Number(number))
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Self(Token::Text(text.into()))
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Self(Token::Text(text.into()))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Token::Number(number) => write!(f, "Version({number})"),
            Token::Text(text) => write!(f, "Version({text:?})"),
        }
    }
}

/// The fields of a record that may change. All others stay as they were at creation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The new [`Upload::offset`], in bytes.
    pub offset: u64,
    /// The new [`Upload::length`], in bytes.
    pub length: Option<u64>,
    /// The new [`Upload::phase`].
    pub phase: Phase,
    /// The new [`Upload::expires`].
    pub expires: Option<SystemTime>,
    /// The new [`Upload::verbatim`]; `None` to leave it unchanged, which is the usual case.
    pub verbatim: Option<Box<Verbatim>>,
}

impl Change {
    /// A change that leaves `upload` as it is. Set the fields that should change.
    ///
    /// ```
    /// use tus_core::{Change, Incarnation, Kind, Upload, UploadId};
    ///
    /// let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
    /// let mut change = Change::of(&upload);
    /// change.offset += 5;
    /// change.apply(&mut upload);
    /// assert_eq!(upload.offset, 5);
    /// ```
    pub fn of(upload: &Upload) -> Self {
        let Upload { offset, length, phase, expires, .. } = *upload;
        Self { offset, length, phase, expires, verbatim: None }
    }

    /// Applies the change.
    pub fn apply(&self, upload: &mut Upload) {
        let Self { offset, length, phase, expires, verbatim } = self.clone();
        (upload.offset, upload.length, upload.phase, upload.expires) = (offset, length, phase, expires);
        if let Some(verbatim) = verbatim {
            upload.verbatim = *verbatim;
        }
    }
}

impl Upload {
    /// The change for an upload of which the storage finds only the first `there` committed bytes.
    ///
    /// An upload of tus is reset to the existing bytes, and its client continues from that offset; a final upload is
    /// assembled again. An upload of the IETF's draft becomes invalid, because its offset must never decrease (draft
    /// 12, "Upload-Offset").
    pub fn after_loss(&self, there: u64) -> Change {
        let mut change = Change::of(self);
        match (self.dialect, &self.kind) {
            (Dialect::Draft(_), _) => change.phase = Phase::Invalid,
            (Dialect::Tus, Kind::Final(_)) => {
                change.phase = Phase::Assembling;
                change.offset = 0;
                change.length = None;
            }
            (Dialect::Tus, Kind::Single | Kind::Partial) => {
                change.phase = Phase::Receiving;
                change.offset = there.min(self.offset);
            }
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Part, UploadId};

    fn upload(kind: Kind) -> Upload {
        let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(1), kind);
        (upload.offset, upload.length, upload.phase) = (7, Some(7), Phase::Notified);
        upload
    }

    #[test]
    fn lost_bytes_reset_tus_and_invalidate_the_draft() {
        let change = upload(Kind::Single).after_loss(3);
        assert_eq!((change.offset, change.length, change.phase), (3, Some(7), Phase::Receiving));
        let change = upload(Kind::Final(vec![Part::from(&upload(Kind::Partial))])).after_loss(3);
        assert_eq!((change.offset, change.length, change.phase), (0, None, Phase::Assembling));
        for kind in [Kind::Single, Kind::Partial, Kind::Final(Vec::new())] {
            let mut draft = upload(kind);
            draft.dialect = Dialect::Draft(9);
            let change = draft.after_loss(3);
            assert_eq!((change.offset, change.phase), (7, Phase::Invalid), "the offset never decreases");
        }
    }
}
