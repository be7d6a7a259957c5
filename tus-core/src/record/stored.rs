//! A record as a storage has it, and how it changes.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Dialect, Kind, Phase, Upload, Verbatim};

/// A record as a storage has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The record.
    pub upload: Upload,
    /// Which state of it this is; every change makes a new one.
    pub version: Version,
    /// Whether a request in another process may be adding bytes that the record does not claim yet.
    pub held_elsewhere: bool,
}

impl Stored {
    /// A record that no other process is adding to.
    pub fn new(upload: Upload, version: Version) -> Self {
        Self { upload, version, held_elsewhere: false }
    }

    /// The record after a change that made this version.
    pub fn changed(mut self, change: &Change, version: Version) -> Self {
        change.apply(&mut self.upload);
        self.version = version;
        self
    }

    /// Whether these are the same upload, in the same state or another.
    pub fn is_same_upload(&self, other: &Upload) -> bool {
        self.upload.id == other.id && self.upload.incarnation == other.incarnation
    }
}

/// Which state of a record was seen: a change is only made to the state that it was decided on (compare-and-set).
///
/// Opaque to everybody but the storage that made it. Cheap to clone.
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

/// What may change of a record: everything else stays as it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// [`Upload::offset`] from now on, in bytes.
    pub offset: u64,
    /// [`Upload::length`] from now on, in bytes.
    pub length: Option<u64>,
    /// [`Upload::phase`] from now on.
    pub phase: Phase,
    /// [`Upload::expires`] from now on.
    pub expires: Option<SystemTime>,
    /// [`Upload::verbatim`] from now on; `None` where that stays as it is, as it nearly always does.
    pub verbatim: Option<Box<Verbatim>>,
}

impl Change {
    /// The change that leaves `upload` as it is: set what is to be different.
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

    /// Makes the change.
    pub fn apply(&self, upload: &mut Upload) {
        let Self { offset, length, phase, expires, verbatim } = self.clone();
        (upload.offset, upload.length, upload.phase, upload.expires) = (offset, length, phase, expires);
        if let Some(verbatim) = verbatim {
            upload.verbatim = *verbatim;
        }
    }
}

impl Upload {
    /// What becomes of an upload of whose committed bytes a storage finds only the first `there`.
    ///
    /// One of tus goes back to what is there, and its client goes on from it; a final one is assembled again. One of
    /// the IETF's dialect becomes invalid: its offset must never decrease (draft 12, "Upload-Offset").
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
    fn lost_bytes_set_tus_back_and_invalidate_the_draft() {
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
