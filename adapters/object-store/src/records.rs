//! Documents as last seen, and their compare-and-set.

use std::sync::{Arc, Mutex};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use tus_service::{Failure, StorageError, Stored, UploadId, Version};

use crate::{
    blocks::Blocks,
    bucket::{Bucket, Tag},
    document::{Document, Status},
    first_seen::FirstSeen,
    keys,
    lock::lock,
    nonce::nonce,
    recent::Recent,
    refused::Refused,
    settings::{Rule, Settings},
};

/// How often a change is retried because others have recorded something beside the record.
const TRIES: usize = 64;

/// The same for what is recorded whatever becomes of the record.
const NOTES: usize = 8;

/// The number of remembered documents, and the most parts of one that is remembered.
const REMEMBERED: usize = 512;
const MOST_PARTS: usize = 256;

/// A document as last seen here. It may be outdated, which the store's condition detects.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub tag: Tag,
    pub document: Document,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub bucket: Bucket,
    pub settings: Settings,
    /// Identifies this storage among those on the bucket.
    pub process: String,
    /// Memory for the bytes that writers hold, in bytes: the budget without that of pieces.
    pub memory: Arc<Semaphore>,
    /// Where these bytes are.
    pub blocks: Blocks,
    /// Half of it may be reserved for bytes that are on their way to writers.
    pub ahead: Arc<Semaphore>,
    /// Memory for the bytes of pieces that are read back, in bytes.
    gathering: Semaphore,
    /// What a `Stored` cannot carry. Without it, the document would be requested again between a load and the change.
    seen: Mutex<Recent<UploadId, Seen>>,
    /// When writers elsewhere were asked to leave.
    pub asked: Mutex<FirstSeen>,
    /// Writers elsewhere that did not answer, and the request that waited for them.
    pub unanswered: Mutex<Recent<String, String>>,
    /// When questions whether an owner is alive were first seen.
    pub questions: Mutex<FirstSeen>,
    /// When claims of other processes, identified by their nonces, were first seen.
    pub claims: Mutex<FirstSeen>,
    /// Claims that came with this process's own changes and were not asked for yet, and since when they exist.
    pub fresh: Mutex<Recent<String, Instant>>,
}

impl Inner {
    pub(crate) fn new(bucket: Bucket, settings: Settings) -> Result<Self, StorageError> {
        let memory = settings.memory_of_writers();
        Ok(Self {
            bucket,
            process: nonce()?,
            memory: Arc::new(Semaphore::new(memory)),
            blocks: Blocks::for_budget(settings.memory),
            ahead: Arc::new(Semaphore::new(memory / 2)),
            gathering: Semaphore::new(settings.memory_of_pieces()),
            settings,
            seen: Mutex::new(Recent::new(REMEMBERED)),
            asked: Mutex::default(),
            unanswered: Mutex::new(Recent::new(4 * REMEMBERED)),
            questions: Mutex::default(),
            claims: Mutex::default(),
            fresh: Mutex::new(Recent::new(4 * REMEMBERED)),
        })
    }

    /// Memory for this many bytes that are read back. Who has some must not wait for more.
    pub(crate) async fn gather(&self, bytes: u64) -> Result<SemaphorePermit<'_>, StorageError> {
        self.bucket.patience.for_memory(self.gathering.acquire_many(self.permits(bytes))).await
    }

    /// The same without waiting.
    pub(crate) fn try_gather(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        self.gathering.try_acquire_many(self.permits(bytes)).ok()
    }

    /// More than there is comes never.
    fn permits(&self, bytes: u64) -> u32 {
        let most = u32::try_from(self.settings.memory_of_pieces()).unwrap_or(u32::MAX);
        u32::try_from(bytes).map_or(most, |bytes| bytes.min(most))
    }

    pub(crate) fn stored(&self, seen: &Seen) -> Stored {
        let document = &seen.document;
        let mut stored = Stored::new(document.upload.clone(), Version::from(document.version.as_str()));
        stored.held_elsewhere = document.owner.as_ref().is_some_and(|owner| owner.process != self.process);
        stored
    }

    /// The document as last seen, if it is remembered.
    pub(crate) fn remembered(&self, id: &UploadId) -> Option<Seen> {
        lock(&self.seen).get(id).cloned()
    }

    pub(crate) fn remember(&self, seen: Seen) -> Seen {
        let id = &seen.document.upload.id;
        if seen.document.parts.len() <= MOST_PARTS {
            lock(&self.seen).insert(id.clone(), seen.clone());
        } else {
            lock(&self.seen).remove(id);
        }
        seen
    }

    /// Even if it states that the upload was removed.
    pub(crate) async fn fetch_any(&self, id: &UploadId) -> Result<Option<Seen>, StorageError> {
        let (json, tag) = match self.bucket.get(&keys::document(id)).await {
            Err(Refused::Absent) => {
                lock(&self.seen).remove(id);
                return Ok(None);
            }
            answer => answer?,
        };
        Ok(Some(self.remember(Seen { tag, document: Document::from_json(&json)? })))
    }

    pub(crate) async fn fetch(&self, id: &UploadId) -> Result<Option<Seen>, StorageError> {
        Ok(self.fetch_any(id).await?.filter(|seen| !seen.document.is_gone()))
    }

    /// The document in exactly this state of the record.
    pub(crate) async fn expect(&self, stored: &Stored) -> Result<Seen, StorageError> {
        let is_it = |Seen { document, .. }: &Seen| {
            stored.is_same_upload(&document.upload) && Some(document.version.as_str()) == stored.version.as_text()
        };
        let seen = self.remembered(&stored.upload.id).filter(|seen| is_it(seen) && !seen.document.is_gone());
        let seen = match seen {
            Some(seen) => seen,
            None => self.fetch(&stored.upload.id).await?.ok_or(Failure::NotFound)?,
        };
        if is_it(&seen) { Ok(seen) } else { Err(Failure::Conflict.into()) }
    }

    /// Changes the document in this state of the record, whatever others have recorded in it since. `edit` is called
    /// again for what they recorded, and may refuse.
    pub(crate) async fn swap(
        &self,
        seen: &Seen,
        mut edit: impl FnMut(&mut Document) -> Result<(), StorageError>,
    ) -> Result<Seen, StorageError> {
        let mut seen = seen.clone();
        for _ in 0..TRIES {
            let mut document = seen.document.clone();
            edit(&mut document)?;
            document.nonce = if self.settings.keeps(Rule::Nonce) { nonce()? } else { String::new() };
            let key = keys::document(&document.upload.id);
            let refused = match self.bucket.put_if(&key, document.json()?.into(), &seen.tag, None).await {
                Ok(tag) => return Ok(self.remember(Seen { tag, document })),
                Err(refused) => refused,
            };
            // It may have been done nevertheless: read before deciding.
            let now = self.fetch_any(&document.upload.id).await?.ok_or(Failure::NotFound)?;
            let (before, new) = (&seen.document, &document);
            if now.document.nonce == new.nonce || (new.version != before.version && now.document.version == new.version)
            {
                return Ok(now);
            }
            if now.document.upload.incarnation == before.upload.incarnation && now.document.is_gone() {
                return Err(Failure::NotFound.into());
            }
            if now.document.version != before.version {
                return Err(Failure::Conflict.into());
            }
            if refused.is_unclear() && now.document.nonce == before.nonce {
                return Err(refused.into());
            }
            seen = now;
        }
        Err(Failure::Busy.into())
    }

    /// Records something beside the record, whatever becomes of that in the meantime.
    pub(crate) async fn note(
        &self,
        seen: &Seen,
        mut edit: impl FnMut(&mut Document) -> Result<(), StorageError>,
    ) -> Result<Seen, StorageError> {
        let mut seen = seen.clone();
        for _ in 0..NOTES {
            let error = match self.swap(&seen, &mut edit).await {
                Err(error) if error.failure() == Failure::Conflict => error,
                noted => return noted,
            };
            let before = &seen.document;
            let now = self.fetch(&before.upload.id).await?.ok_or(Failure::NotFound)?;
            if now.document.version == before.version || now.document.upload.incarnation != before.upload.incarnation {
                // It was refused.
                return Err(error);
            }
            seen = now;
        }
        Err(Failure::Busy.into())
    }

    /// Writes the first state of a document, also if an upload with this id was removed.
    pub(crate) async fn put_first(&self, mut document: Document) -> Result<Seen, StorageError> {
        let id = document.upload.id.clone();
        let key = keys::document(&id);
        let refused = match self.bucket.put_new(&key, document.json()?.into(), None).await {
            Ok(tag) => return Ok(self.remember(Seen { tag, document })),
            Err(refused) => refused,
        };
        let there = match self.fetch_any(&id).await? {
            None => return Err(refused.unsettled().into()),
            Some(seen) if seen.document.nonce == document.nonce => return Ok(seen),
            Some(seen) => seen,
        };
        match there.document.status {
            // It was created, and removed since: an incarnation never returns.
            _ if there.document.upload.incarnation == document.upload.incarnation => {
                return Err(Failure::Exists.into());
            }
            Status::Removed => {}
            Status::Going => return Err(Failure::Busy.into()),
            _ => return Err(Failure::Exists.into()),
        }
        // The process that removed it may still delete its object, so this one gets another name.
        document.key = format!("{}-{}", document.key, document.upload.incarnation);
        document.nonce = nonce()?;
        match self.bucket.put_if(&key, document.json()?.into(), &there.tag, None).await {
            Ok(tag) => Ok(self.remember(Seen { tag, document })),
            Err(refused) => match self.fetch_any(&id).await? {
                Some(seen) if seen.document.nonce == document.nonce => Ok(seen),
                Some(seen) if !seen.document.is_gone() => Err(Failure::Exists.into()),
                _ => Err(refused.unsettled().into()),
            },
        }
    }
}
