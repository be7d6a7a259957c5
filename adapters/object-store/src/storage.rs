//! The storage.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use tus_service::{
    Access, ByteStream, Change, Failure, Kind, Phase, Storage, StorageError, Stored, StoredStream, Upload,
    UploadFilter, UploadId, Version, Writer, async_trait,
};

use crate::{
    document::{Document, Status},
    keys,
    markers::AT_ONCE,
    records::{Inner, Seen},
    settings::Rule,
    writer::PartWriter,
};

/// About how many bytes of an upload are copied at once, and how many wait meanwhile.
const BATCH: usize = 256 * 1024;

/// Stores uploads in a bucket of an object store, with any number of servers. Clones share their uploads.
///
/// See the [crate](crate) for its guarantees and its cost.
#[derive(Clone)]
pub struct ObjectStore(pub(crate) Arc<Inner>);

impl ObjectStore {
    /// The name of an upload's finished object in the bucket, below the prefix, as the store lists it. It never changes. The object exists
    /// when the upload is complete. It must stay until [`finished`](tus_service::Hooks::finished) was called: if it is
    /// moved or deleted earlier, the upload may start again from the first byte. `None` if there is no such upload.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached.
    pub async fn key(&self, id: &UploadId) -> Result<Option<String>, StorageError> {
        Ok(self.0.fetch(id).await?.map(|seen| seen.document.key))
    }
}

#[async_trait]
impl Storage for ObjectStore {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        let inner = &self.0;
        let key = keys::chosen(&(inner.settings.key)(upload))?;
        let mut document = Document::new(upload, key, &inner.settings)?;
        if upload.is_complete() {
            // It is empty; its object has yet to be made.
            document.status = Status::Sealing(upload.phase);
            document.upload.phase = Phase::Assembling;
        }
        inner.announce(&document.upload, None, false).await?;
        inner.announce_parts(upload).await?;
        let mut seen = inner.put_first(document).await?;
        if upload.is_complete() {
            let created = inner.stored(&seen);
            seen = match inner.seal(&seen, &Change::of(upload)).await {
                Ok(sealed) => sealed,
                Err(error) => {
                    // A creation that fails leaves nothing that is finished later, unless that has happened already.
                    let _ = self.remove(&created).await;
                    return Err(error);
                }
            };
        }
        Ok(inner.stored(&seen).version)
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        Ok(self.0.fetch(id).await?.map(|seen| self.0.stored(&seen)))
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        let load = |id: UploadId| async move { self.load(&id).await };
        stream::iter(ids.to_vec()).map(load).buffered(AT_ONCE).try_collect().await
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        self.0.settle(stored, access, patience).await
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        let mut seen = self.0.expect(stored).await?;
        if seen.document.upload.phase != Phase::Receiving {
            return Err(Failure::Conflict.into());
        }
        if seen.document.status != Status::Open {
            // It has all its bytes, but its phase may still change.
            seen = self.0.made_readable(seen).await?;
        }
        let document = &seen.document;
        let is_held = document.owner.as_ref().is_some_and(|owner| owner.process != self.0.process);
        if (is_held || stored.held_elsewhere) && !self.0.may_take_over(document) {
            return Err(Failure::Busy.into());
        }
        Ok(Box::new(PartWriter::new(self.0.clone(), seen)?))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let inner = &self.0;
        let seen = inner.expect(stored).await?;
        let before = &seen.document.upload;
        let mut after = before.clone();
        change.apply(&mut after);
        let is_sealed = matches!(seen.document.status, Status::Done { .. });
        let seals = after.is_complete() && !is_sealed && !matches!(after.kind, Kind::Final(_));
        inner.announce(&after, Some(before), seals).await?;
        if seals {
            let sealing = inner.swap(&seen, |document| {
                document.litter = document.upload.offset > 0;
                document.begin_sealing(change)
            });
            let sealing = sealing.await?;
            return Ok(inner.stored(&inner.seal(&sealing, change).await?).version);
        }
        let changed = inner.swap(&seen, |document| {
            // A writer that is adding bytes can no longer commit them.
            document.release();
            document.change(change)
        });
        let changed = changed.await?;
        let was_made_readable = is_sealed && before.phase == Phase::Receiving;
        if (before.is_due() || was_made_readable) && after.phase != Phase::Receiving && !after.is_due() {
            inner.nothing_due(&changed.document).await;
        }
        Ok(inner.stored(&changed).version)
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        let mut seen = self.0.expect(stored).await?;
        let before = &seen.document.upload;
        if before.phase != Phase::Assembling {
            return Err(Failure::Conflict.into());
        }
        let mut after = before.clone();
        change.apply(&mut after);
        self.0.announce(&after, Some(before), false).await?;
        if let (Status::Open, Kind::Final(_)) = (&seen.document.status, &seen.document.upload.kind) {
            seen = self.0.concatenate(seen, parts, change).await?;
        }
        Ok(self.0.stored(&self.0.seal(&seen, change).await?).version)
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        let seen = self.0.expect(stored).await?;
        self.0.announce_leftovers(&seen.document).await?;
        let removed = self.0.swap(&seen, |document| {
            document.status = Status::Removed;
            document.version = crate::nonce::nonce()?;
            document.release();
            document.claim = None;
            Ok(())
        });
        let removed = removed.await?.document;
        if !self.0.settings.keeps(Rule::Fence) {
            self.0.bucket.delete(vec![keys::document(&removed.upload.id)]).await?;
        }
        // It is gone from here on. Only space remains to be freed, and a marker exists for that.
        if let Err(refused) = self.0.clear_removed(&removed).await {
            tracing::warn!(upload = %removed.upload.id, %refused, "the objects of a removed upload stay for one more day");
        }
        Ok(())
    }

    async fn make_readable(&self, stored: &Stored) -> Result<Version, StorageError> {
        let seen = self.0.expect(stored).await?;
        if seen.document.parts.is_empty() {
            // Pieces can be read.
            return Ok(self.0.stored(&seen).version);
        }
        Ok(self.0.stored(&self.0.made_readable(seen).await?).version)
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        self.0.read(stored, range).await
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        self.0.list(filter, after)
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        self.0.pending(now)
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        let found = self.0.bucket.list(&keys::waiting(part), None).map_err(StorageError::from);
        let finals: Vec<_> = found.map_ok(|(key, _)| keys::of(&key)).try_collect().await?;
        let waits = |(id, incarnation)| async move {
            let seen = self.0.fetch(&id).await?;
            let waits = seen.is_some_and(|Seen { document, .. }| {
                document.upload.phase == Phase::Assembling && Some(document.upload.incarnation) == incarnation
            });
            Ok(waits.then_some(id))
        };
        let waiting = stream::iter(finals.into_iter().flatten()).map(waits).buffered(AT_ONCE);
        waiting.try_filter_map(|id| std::future::ready(Ok(id))).take(at_most).try_collect().await
    }

    /// A list has no kinds, so this counts all markers of due work, also those of uploads whose completion has failed and
    /// was not tried again.
    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        let due = self.0.bucket.list(keys::TODO, None).take(at_most);
        Ok(due.try_fold(0, |count, _| std::future::ready(Ok(count + 1))).await?)
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        self.0.claim(upload, duration).await
    }

    /// A write only copies the bytes. What waits for memory meanwhile is not in the memory budget.
    fn batch(&self) -> usize {
        BATCH
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStore").field("bucket", &self.0.bucket).field("settings", &self.0.settings).finish()
    }
}
