//! What remains of removed uploads: objects, and the document, which stays for a day as a fence. Whoever deletes them first
//! records that in the document, because nothing can be created in its place from then on.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tus_service::{Failure, Kind, StorageError, Upload};

use crate::{
    document::{Document, Status},
    keys,
    markers::{Marked, parts},
    nonce::nonce,
    records::{Inner, Seen},
    refused::Refused,
};

/// How long the document of a removed upload stays as a fence.
const FENCE: Duration = Duration::from_secs(24 * 3600);

/// A process that was suspended for longer deletes nothing any more: another one may have continued, and an upload with the
/// same id may have been created since.
const WITHIN: Duration = Duration::from_secs(1800);

/// After this time, nothing of a process that began to delete takes effect any more: it was suspended for at most
/// [`WITHIN`], and a request that was sent takes effect within an hour or never.
const ABANDONED: Duration = WITHIN.saturating_add(Duration::from_secs(3600));

/// The remains of a removed upload, in the content of its marker.
#[derive(Debug, Serialize, Deserialize)]
struct Leftovers {
    key: String,
    multipart: Option<String>,
}

impl Inner {
    /// Announces the cleanup of an upload that is removed, in case this process dies before it has deleted
    /// everything, and the deletion of the fence.
    pub(crate) async fn announce_leftovers(&self, document: &Document) -> Result<(), StorageError> {
        let multipart = document.multipart.as_ref().map(|multipart| multipart.id.clone());
        let leftovers = serde_json::to_vec(&Leftovers { key: document.key.clone(), multipart });
        let leftovers = leftovers.map_err(|error| StorageError::new(Failure::Internal, error))?;
        let later = SystemTime::now() + FENCE;
        Ok(self.bucket.mark(&keys::expiry(later, &document.upload), leftovers.into()).await?)
    }

    /// Deletes what belongs to an upload whose removal this process has just recorded.
    pub(crate) async fn clear_removed(&self, document: &Document) -> Result<(), Refused> {
        let multipart = document.multipart.as_ref().map(|multipart| multipart.id.as_str());
        self.clear(&document.upload, &document.key, multipart, Instant::now() + WITHIN).await
    }

    async fn clear(&self, upload: &Upload, key: &str, multipart: Option<&str>, until: Instant) -> Result<(), Refused> {
        if let Some(multipart) = multipart {
            // Its absence is fine, and the bucket's own rule handles remains.
            let _ = self.bucket.abort(key, multipart).await;
        }
        let pieces = self.bucket.list(&keys::pieces(upload), None).map_ok(|(key, _)| key);
        let mut all: Vec<_> = pieces.try_collect().await?;
        if upload.kind == Kind::Partial {
            // Whatever waits for it waits in vain, or was never created. What waits for another upload with its id is
            // due.
            let waiting = self.bucket.list(&keys::waiting(&upload.id), None).map_ok(|(key, _)| key);
            all.extend(waiting.try_collect::<Vec<_>>().await?);
        }
        all.extend([key.to_owned(), keys::todo(upload)]);
        all.extend(parts(upload).into_iter().map(|part| keys::waits(part, upload)));
        all.extend(upload.expires.map(|expires| keys::expiry(expires, upload)));
        if Instant::now() >= until {
            return Err(Refused::Unsettled);
        }
        self.bucket.delete(all).await
    }

    /// The upload of a marker was removed a day ago, or was never created. Returns whether nothing of it remains.
    pub(crate) async fn clear_leftovers(&self, marked: &Marked) -> Result<bool, StorageError> {
        let Some((id, Some(incarnation))) = marked.id() else { return Ok(false) };
        let content = match self.bucket.get(&marked.key).await {
            Ok((content, _)) => content,
            Err(Refused::Absent) => return Ok(false),
            Err(refused) => return Err(refused.into()),
        };
        let Ok(Leftovers { key, multipart }) = serde_json::from_slice(&content) else {
            // The expiry of an upload whose creation failed or is about to succeed, or that was removed before.
            return Ok(marked.is_stale() || marked.document().is_some());
        };
        let upload = Upload::new(id, incarnation, Kind::Single);
        match (&marked.seen, marked.document()) {
            // The later one was removed, too. Its own marker comes first.
            (Some(later), None) if later.document.is_gone() => Ok(false),
            (Some(later), None) => {
                // It was created in place of the fence, and its object has another name. If it has the same name, the
                // fence was deleted before, and with it everything else.
                if later.document.key != key {
                    self.clear(&upload, &key, multipart.as_deref(), marked.read + WITHIN).await?;
                }
                Ok(true)
            }
            (Some(fence), Some(document)) => {
                self.let_go(document.clone(), Some(fence), marked, content, multipart.as_deref()).await
            }
            // Whoever marked it again may be about to reserve the id.
            (None, _) if !is_past(marked.modified()) => Ok(false),
            // The response to the last deletion was lost, or the fence of a later upload has gone sooner.
            (None, _) => {
                let document = Document::new(&upload, key, &self.settings)?;
                self.let_go(document, None, marked, content, multipart.as_deref()).await
            }
        }
    }

    /// Deletes everything, and the document last. Returns whether it is done.
    async fn let_go(
        &self,
        mut going: Document,
        fence: Option<&Seen>,
        marked: &Marked,
        content: Bytes,
        multipart: Option<&str>,
    ) -> Result<bool, StorageError> {
        if going.status == Status::Going && !self.is_abandoned(&going.upload).await? {
            return Ok(false);
        }
        // From here on, the marker's age shows since when the id is being reserved.
        self.bucket.mark(&marked.key, content).await?;
        let until = Instant::now() + WITHIN;
        (going.status, going.nonce) = (Status::Going, nonce()?);
        if !self.reserves(&going, fence).await? {
            return Ok(false);
        }
        self.clear(&going.upload, &going.key, multipart, until).await?;
        let document = keys::document(&going.upload.id);
        Ok(Instant::now() < until && self.bucket.delete(vec![document]).await.is_ok())
    }

    /// Whether the process that was deleting it has died: it would have finished long ago. Its document shows when it began,
    /// whichever marker led to it.
    async fn is_abandoned(&self, upload: &Upload) -> Result<bool, StorageError> {
        match self.bucket.head(&keys::document(&upload.id)).await {
            Ok(head) => Ok(is_past(head.modified)),
            Err(Refused::Absent) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Records that the fence is being deleted by this process. Returns whether that succeeded: an upload may have been created
    /// in its place, or another process is deleting it.
    async fn reserves(&self, going: &Document, fence: Option<&Seen>) -> Result<bool, StorageError> {
        let (id, json) = (&going.upload.id, going.json()?);
        let key = keys::document(id);
        let put = match fence {
            Some(fence) => self.bucket.put_if(&key, json.into(), &fence.tag, None).await,
            None => self.bucket.put_new(&key, json.into(), None).await,
        };
        match put {
            Ok(_) => Ok(true),
            // It may have been done nevertheless.
            Err(_) => Ok(self.fetch_any(id).await?.is_some_and(|now| now.document.nonce == going.nonce)),
        }
    }
}

fn is_past(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age > ABANDONED)
}
