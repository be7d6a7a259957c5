//! The state document of an upload, and its compare-and-set.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tus_service::{Change, Failure, Phase, StorageError, Stored, Upload, UploadId, Version};

use crate::bucket::{Bucket, Refused};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Of this state of the document: no two have the same bytes, and a writer knows its own again.
    pub nonce: String,
    /// Of this state of the *record*: what others note here (`owner`, `wanted`, `pending`) must not make it another.
    pub version: String,
    pub upload: Upload,
    pub status: Status,
    pub multipart: Option<String>,
    /// The committed bytes: parts, then pieces.
    pub parts: Vec<Part>,
    pub pieces: Vec<Piece>,
    /// Parts that landed beyond the offset.
    pub pending: Vec<Part>,
    pub owner: Option<Owner>,
    pub epoch: u64,
    pub wanted: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Status {
    Open,
    /// Every byte is in a part or a piece; the record becomes this phase when the object is there.
    Sealing(Phase),
    /// The object, and the version from which it was sealed.
    Done {
        object: String,
        sealed: String,
    },
    /// Stays as a fence for a while, so that a paused process can neither change nor delete what comes after.
    Removed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub etag: String,
    pub length: u64,
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

impl Document {
    pub(crate) fn new(upload: &Upload) -> Self {
        Self {
            nonce: nonce(),
            version: nonce(),
            upload: upload.clone(),
            status: Status::Open,
            multipart: None,
            parts: Vec::new(),
            pieces: Vec::new(),
            pending: Vec::new(),
            owner: None,
            epoch: 0,
            wanted: None,
        }
    }

    /// Another state of the record.
    pub(crate) fn change(&mut self, change: &Change) {
        change.apply(&mut self.upload);
        self.version = nonce();
    }

    fn json(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap().into()
    }
}

/// Never the same twice; the product takes 128 random bits.
pub(crate) fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:08x}", NEXT.fetch_add(1, Relaxed))
}

pub(crate) fn document_key(id: &UploadId) -> String {
    format!(".tus/u/{id}")
}

pub(crate) fn piece_key(id: &UploadId, nonce: &str) -> String {
    format!(".tus/w/{id}/{nonce}")
}

pub(crate) fn object_key(id: &UploadId) -> String {
    format!("files/{id}")
}

pub(crate) fn todo_key(id: &UploadId) -> String {
    format!(".tus/todo/{id}")
}

/// The index of expiry, in its order.
pub(crate) fn expiry_key(expires: SystemTime, id: &UploadId) -> String {
    format!(".tus/x/{:015}/{id}", milliseconds(expires))
}

pub(crate) fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// A document as it was last seen here. It may be out of date: the bucket's condition says so.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub etag: String,
    pub document: Document,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub part_size: u64,
    pub window: usize,
    /// How often an owner looks whether it is asked, and who asks, whether it has left.
    pub look: Duration,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub bucket: Arc<Bucket>,
    pub settings: Settings,
    /// Names this storage among those on the bucket.
    pub process: String,
    /// What a `Stored` cannot carry: between `load` and the change, the document would be asked for again.
    pub seen: Mutex<HashMap<UploadId, Seen>>,
    /// Writers elsewhere that were asked to leave and did not.
    pub unanswered: Mutex<HashSet<String>>,
}

impl Inner {
    pub(crate) fn stored(&self, seen: &Seen) -> Stored {
        let document = &seen.document;
        let mut stored = Stored::new(document.upload.clone(), Version::from(document.version.as_str()));
        stored.held_elsewhere = document.owner.as_ref().is_some_and(|owner| owner.process != self.process);
        stored
    }

    fn remember(&self, seen: Seen) -> Seen {
        self.seen.lock().unwrap().insert(seen.document.upload.id.clone(), seen.clone());
        seen
    }

    /// Also where it says that the upload was removed.
    pub(crate) async fn fetch_any(&self, id: &UploadId) -> Result<Option<Seen>, StorageError> {
        let (bytes, etag) = match self.bucket.get(&document_key(id)).await {
            Err(Refused::Absent) => return Ok(None),
            answer => answer?,
        };
        let document = serde_json::from_slice(&bytes).map_err(|error| StorageError::new(Failure::Internal, error))?;
        Ok(Some(self.remember(Seen { etag, document })))
    }

    pub(crate) async fn fetch(&self, id: &UploadId) -> Result<Option<Seen>, StorageError> {
        Ok(self.fetch_any(id).await?.filter(|seen| seen.document.status != Status::Removed))
    }

    /// The document of this very state of the record.
    pub(crate) async fn expect(&self, stored: &Stored) -> Result<Seen, StorageError> {
        let id = &stored.upload.id;
        let is_it = |Seen { document, .. }: &Seen| {
            stored.is_same_upload(&document.upload) && Some(document.version.as_str()) == stored.version.as_text()
        };
        let seen = self.seen.lock().unwrap().get(id).filter(|seen| is_it(seen)).cloned();
        let seen = match seen {
            Some(seen) => seen,
            None => self.fetch(id).await?.ok_or(Failure::NotFound)?,
        };
        if is_it(&seen) { Ok(seen) } else { Err(Failure::Conflict.into()) }
    }

    /// Changes the document of this state of the record, whatever others have noted in it meanwhile.
    pub(crate) async fn swap(&self, seen: &Seen, edit: impl Fn(&mut Document)) -> Result<Seen, StorageError> {
        let edit = |document: &mut Document| {
            edit(document);
            Ok(())
        };
        self.try_swap(seen, edit).await
    }

    /// The same for a change that not every document allows.
    pub(crate) async fn try_swap(
        &self,
        seen: &Seen,
        edit: impl Fn(&mut Document) -> Result<(), Failure>,
    ) -> Result<Seen, StorageError> {
        let mut seen = seen.clone();
        for _ in 0..20 {
            let mut document = seen.document.clone();
            edit(&mut document)?;
            document.nonce = nonce();
            let key = document_key(&document.upload.id);
            if let Ok(etag) = self.bucket.put_if(&key, document.json(), &seen.etag).await {
                return Ok(self.remember(Seen { etag, document }));
            }
            let now = self.fetch_any(&document.upload.id).await?.ok_or(Failure::NotFound)?;
            let (before, new) = (&seen.document.version, &document.version);
            match &now.document {
                // It was done all the same, and others may have noted something since.
                done if done.nonce == document.nonce || (new != before && done.version == *new) => return Ok(now),
                gone if gone.status == Status::Removed => return Err(Failure::NotFound.into()),
                other if other.version != *before => return Err(Failure::Conflict.into()),
                _ => seen = now,
            }
        }
        Err(Failure::Busy.into())
    }

    /// The first state of a document, also where an upload of this id was removed.
    pub(crate) async fn put_first(&self, document: Document) -> Result<Seen, StorageError> {
        let (key, json) = (document_key(&document.upload.id), document.json());
        let etag = match self.bucket.put_new(&key, json.clone()).await {
            Ok(etag) => etag,
            Err(refused) => match self.fetch_any(&document.upload.id).await? {
                Some(seen) if seen.document.nonce == document.nonce => seen.etag,
                Some(seen) if seen.document.status == Status::Removed => {
                    self.bucket.put_if(&key, json, &seen.etag).await.map_err(|_| Failure::Exists)?
                }
                Some(_) => return Err(Failure::Exists.into()),
                None => return Err(refused.into()),
            },
        };
        Ok(self.remember(Seen { etag, document }))
    }
}
