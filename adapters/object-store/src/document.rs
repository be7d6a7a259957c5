//! The state document of an upload: the single source of truth, which changes only by compare-and-set.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use tus_service::{Change, Failure, Phase, StorageError, Upload};

use crate::{nonce::nonce, settings::Settings};

/// The format that this version of the crate writes.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    format: u32,
    /// Identifies this state of the document: no two have the same bytes, and its writer recognizes it.
    pub nonce: String,
    /// Identifies this state of the *record*. What is recorded beside it (owner, wanted, claim) must not change it.
    pub version: String,
    pub upload: Upload,
    pub status: Status,
    /// The name of the finished object.
    pub key: String,
    /// The size of all parts except the last, in bytes; see [`Document::part_size`].
    part_size: u64,
    /// Whether parts become larger, because their number is unknown.
    #[serde(default)]
    grows: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipart: Option<Multipart>,
    /// The committed bytes: parts, then pieces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
    /// The current owner, or an earlier one, may have uploaded part numbers below this.
    #[serde(default)]
    pub reserved: usize,
    /// A process that lost the upload may still upload part numbers below this, so their bytes are also kept as
    /// pieces.
    #[serde(default)]
    pub contested: usize,
    /// Pieces may exist to which nothing refers: several requests sent its bytes, and one of their processes may have died.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub litter: bool,
    /// The owner of uncommitted bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The newest request that waits for the owner to leave, or did so when it left: older ones see that they are overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// A sweeper's question whether the owner is alive. The owner answers by deleting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The process that does the upload's background work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Open,
    /// All bytes are in parts and pieces. The record gets this phase when the object exists.
    Sealing(Phase),
    /// The object exists; with the state of the record from which it was made.
    Done {
        etag: Option<String>,
        sealed: String,
    },
    /// It stays for a day as a fence, so that a suspended process can neither change nor delete what comes after.
    Removed,
    /// The fence itself is being deleted.
    Going,
}

/// A multipart upload that has been started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Multipart {
    pub id: String,
    /// The seal of its object.
    pub seal: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "e")]
    pub etag: String,
    #[serde(rename = "n")]
    pub length: u64,
    /// The same bytes, if somebody else may overwrite the part.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub nonce: String,
    pub length: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub process: String,
    pub writer: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub process: String,
    /// Unique for each renewal.
    pub nonce: String,
    /// How long it lasts, in milliseconds, after somebody has seen this renewal: clocks are not compared.
    pub milliseconds: u64,
}

impl Document {
    pub(crate) fn new(upload: &Upload, key: String, settings: &Settings) -> Result<Self, StorageError> {
        Ok(Self {
            format: FORMAT,
            nonce: nonce()?,
            version: nonce()?,
            upload: upload.clone(),
            status: Status::Open,
            key,
            part_size: settings.part_size_of(upload.length),
            grows: upload.length.is_none() && !settings.equal_parts,
            multipart: None,
            parts: Vec::new(),
            pieces: Vec::new(),
            reserved: 0,
            contested: 0,
            litter: false,
            owner: None,
            wanted: None,
            question: None,
            claim: None,
        })
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, StorageError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let invalid = |error| StorageError::new(Failure::Internal, error);
        let document: Result<Self, _> = serde_json::from_slice(json);
        let format = match &document {
            Ok(document) => document.format,
            Err(_) => serde_json::from_slice::<Format>(json).map_err(invalid)?.format,
        };
        if format != FORMAT {
            let reason =
                format!("a state document has the format {format}, but this version of the storage supports {FORMAT}");
            return Err(StorageError::new(Failure::Internal, reason));
        }
        document.map_err(invalid)
    }

    pub(crate) fn json(&self) -> Result<Bytes, StorageError> {
        Ok(serde_json::to_vec(self).map_err(|error| StorageError::new(Failure::Internal, error))?.into())
    }

    /// The size of the part with this number in bytes, unless it is the last one.
    pub(crate) fn part_size(&self, number: usize) -> u64 {
        let doublings = if self.grows { number / 1000 } else { 0 };
        self.part_size << doublings.min(16)
    }

    /// Makes another state of the record.
    pub(crate) fn change(&mut self, change: &Change) -> Result<(), StorageError> {
        change.apply(&mut self.upload);
        self.version = nonce()?;
        Ok(())
    }

    /// From here on, clients see that it is being assembled. Its later phase is known already.
    pub(crate) fn begin_sealing(&mut self, change: &Change) -> Result<(), StorageError> {
        self.change(change)?;
        self.status = Status::Sealing(std::mem::replace(&mut self.upload.phase, Phase::Assembling));
        self.release();
        Ok(())
    }

    /// Nobody has uncommitted bytes any more.
    pub(crate) fn release(&mut self) {
        (self.owner, self.question) = (None, None);
    }

    /// The object exists and has these bytes.
    pub(crate) fn done(&mut self, change: &Change, etag: Option<String>, sealed: &str) -> Result<(), StorageError> {
        self.change(change)?;
        self.status = Status::Done { etag, sealed: sealed.to_owned() };
        (self.parts, self.pieces) = Default::default();
        self.release();
        self.multipart = None;
        (self.reserved, self.contested) = (0, 0);
        Ok(())
    }

    /// Before somebody else adds bytes: an earlier owner may still upload what it was about to upload.
    pub(crate) fn contest(&mut self, writer: &str) {
        if !self.is_owned_by(writer) && self.reserved > self.parts.len() {
            self.contested = self.contested.max(self.reserved);
        }
    }

    pub(crate) fn is_owned_by(&self, writer: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.writer == writer)
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.status, Status::Removed | Status::Going)
    }

    /// The names of all pieces, including those kept beside contested parts.
    pub(crate) fn all_pieces(&self) -> impl Iterator<Item = &str> {
        let beside = self.parts.iter().filter_map(|part| part.piece.as_deref());
        beside.chain(self.pieces.iter().map(|piece| piece.nonce.as_str()))
    }
}

pub(crate) fn length(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_an_unknown_format_is_a_clear_error() {
        for json in [r#"{"format":7}"#, r#"{"format":7,"nonce":"a","more":[1]}"#] {
            let error = Document::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("the format 7") && error.contains("supports 1"), "{error}");
        }
        for json in ["", "{}", r#"{"format":1}"#, "[]"] {
            assert!(Document::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
