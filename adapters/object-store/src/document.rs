//! The state document of an upload: the one truth, which changes only by compare-and-set.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use tus_service::{Change, Failure, Phase, StorageError, Upload};

use crate::{nonce::nonce, settings::Settings};

/// The format that this version of the crate writes.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    format: u32,
    /// Of this state of the document: no two have the same bytes, and whoever wrote it knows it again.
    pub nonce: String,
    /// Of this state of the *record*: what is noted here beside it (owner, wanted, claim) must not make it another.
    pub version: String,
    pub upload: Upload,
    pub status: Status,
    /// The name of the finished object.
    pub key: String,
    /// The size of all parts but the last, in bytes; see [`Document::part_size`].
    part_size: u64,
    /// Whether parts become larger, since nobody knows how many there will be.
    #[serde(default)]
    grows: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipart: Option<Multipart>,
    /// The committed bytes: parts, then pieces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pieces: Vec<Piece>,
    /// Part numbers below this may have been put by the owner, or by an earlier one.
    #[serde(default)]
    pub reserved: usize,
    /// Part numbers below this may yet be put by somebody who lost the upload: their bytes are kept as pieces, too.
    #[serde(default)]
    pub contested: usize,
    /// The owner of bytes that are not committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The newest request that waits for the owner to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The question of a sweeper whether the owner lives: it answers by taking it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The process that does its background work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Open,
    /// Every byte is in a part or a piece; the record becomes this phase when the object is there.
    Sealing(Phase),
    /// The object as it was made, and the state of the record from which it was.
    Done {
        etag: Option<String>,
        sealed: String,
    },
    /// It stays as a fence for a day, so that a paused process can neither change nor delete what comes after.
    Removed,
    /// The fence itself is being deleted.
    Going,
}

/// A multipart upload that has been begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Multipart {
    pub id: String,
    /// What its object carries, to be known again.
    pub seal: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "e")]
    pub etag: String,
    #[serde(rename = "n")]
    pub length: u64,
    /// The same bytes, where somebody else may overwrite the part.
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
    /// Of each renewal.
    pub nonce: String,
    /// For how long it holds, in milliseconds, after somebody has seen this renewal: no clocks are compared.
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
                format!("a state document has the format {format}, and this version of the storage knows {FORMAT}");
            return Err(StorageError::new(Failure::Internal, reason));
        }
        document.map_err(invalid)
    }

    pub(crate) fn json(&self) -> Result<Bytes, StorageError> {
        Ok(serde_json::to_vec(self).map_err(|error| StorageError::new(Failure::Internal, error))?.into())
    }

    /// The size of the part of this number, unless it is the last one, in bytes.
    pub(crate) fn part_size(&self, number: usize) -> u64 {
        let doublings = if self.grows { number / 1000 } else { 0 };
        self.part_size << doublings.min(16)
    }

    /// Another state of the record.
    pub(crate) fn change(&mut self, change: &Change) -> Result<(), StorageError> {
        change.apply(&mut self.upload);
        self.version = nonce()?;
        Ok(())
    }

    /// Clients see that it is being assembled from now on; what it becomes is known already.
    pub(crate) fn begin_sealing(&mut self, change: &Change) -> Result<(), StorageError> {
        self.change(change)?;
        self.status = Status::Sealing(std::mem::replace(&mut self.upload.phase, Phase::Assembling));
        self.release();
        Ok(())
    }

    /// Nobody has bytes any more.
    pub(crate) fn release(&mut self) {
        (self.owner, self.wanted, self.question) = (None, None, None);
    }

    /// The object is there, and has these bytes.
    pub(crate) fn done(&mut self, change: &Change, etag: Option<String>, sealed: &str) -> Result<(), StorageError> {
        self.change(change)?;
        self.status = Status::Done { etag, sealed: sealed.to_owned() };
        (self.parts, self.pieces) = Default::default();
        self.release();
        self.multipart = None;
        (self.reserved, self.contested) = (0, 0);
        Ok(())
    }

    /// Before somebody else adds bytes: whoever had it before may yet put what it was about to put.
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

    /// The names of all pieces, also of those that are kept beside contested parts.
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
    fn a_document_of_another_format_is_refused_in_words() {
        for json in [r#"{"format":7}"#, r#"{"format":7,"nonce":"a","more":[1]}"#] {
            let error = Document::from_json(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("the format 7") && error.contains("knows 1"), "{error}");
        }
        for json in ["", "{}", r#"{"format":1}"#, "[]"] {
            assert!(Document::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
