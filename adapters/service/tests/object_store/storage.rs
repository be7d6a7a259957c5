//! The storage: records, indexes, and what is asked between processes.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::try_join_all,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, sleep};
use tus_service::{
    Access, ByteStream, Change, Failure, Kind, Phase, Storage, StorageError, Stored, StoredStream, Upload,
    UploadFilter, UploadId, Version, Writer, async_trait,
};

use crate::{
    bucket::{Bucket, Refused},
    document::*,
    writer::PartWriter,
};

#[derive(Debug, Clone)]
pub(crate) struct ObjectStore(pub Arc<Inner>);

impl ObjectStore {
    pub(crate) fn new(bucket: Arc<Bucket>, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            bucket,
            settings,
            process: nonce(),
            seen: Default::default(),
            unanswered: Default::default(),
        }))
    }
}

#[async_trait]
impl Storage for ObjectStore {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        let mut document = Document::new(upload);
        if upload.is_complete() {
            // Empty; its object has still to be made.
            document.status = Status::Sealing(upload.phase);
            document.upload.phase = Phase::Assembling;
        }
        self.0.announce(upload, None).await?;
        if let Kind::Final(parts) = &upload.kind {
            for part in BTreeSet::from_iter(parts.iter().map(|part| &part.id)) {
                self.0.bucket.put(&format!(".tus/f/{part}/{}", upload.id), Default::default()).await?;
            }
        }
        let mut seen = self.0.put_first(document).await?;
        if upload.is_complete() {
            seen = self.0.seal(&seen, &Change::of(upload)).await?;
        }
        Ok(self.0.stored(&seen).version)
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        Ok(self.0.fetch(id).await?.map(|seen| self.0.stored(&seen)))
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        try_join_all(ids.iter().map(|id| self.load(id))).await
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let (mine, end, mut asked) = (nonce(), Instant::now() + patience, false);
        loop {
            let Some(seen) = self.0.fetch(&stored.upload.id).await? else { return Ok(None) };
            let now = self.0.stored(&seen);
            let Some(owner) = seen.document.owner.clone().filter(|_| now.held_elsewhere) else { return Ok(Some(now)) };
            if access == Access::Write && asked && seen.document.wanted.as_ref() != Some(&mine) {
                // Somebody asked later, and is to get it.
                return Ok(Some(now));
            }
            // A reader takes the upload from nobody who asked already.
            asked |= access == Access::Read && seen.document.wanted.is_some();
            if Instant::now() >= end {
                self.0.unanswered.lock().unwrap().insert(owner.writer);
                return Ok(Some(now));
            }
            if !asked {
                let want = |document: &mut Document| document.wanted = Some(mine.clone());
                match self.0.swap(&seen, want).await {
                    Err(error) if error.failure() == Failure::Conflict => continue,
                    swapped => asked = swapped.is_ok(),
                }
            }
            sleep(self.0.settings.look).await;
        }
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        let seen = self.0.expect(stored).await?;
        let owner = seen.document.owner.as_ref().filter(|owner| owner.process != self.0.process);
        // Who was asked (`settle`) and did not answer is taken over; not where somebody asked later.
        let unanswered = owner.is_some_and(|owner| self.0.unanswered.lock().unwrap().contains(&owner.writer));
        if (owner.is_some() || stored.held_elsewhere) && !unanswered {
            return Err(Failure::Busy.into());
        }
        Ok(Box::new(PartWriter::new(self.0.clone(), seen)))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let seen = self.0.expect(stored).await?;
        let before = &seen.document.upload;
        let mut after = before.clone();
        change.apply(&mut after);
        self.0.announce(&after, Some(before)).await?;
        let is_sealed = matches!(seen.document.status, Status::Done { .. });
        if after.is_complete() && !is_sealed && !matches!(after.kind, Kind::Final(_)) {
            let sealing = |document: &mut Document| document.begin_sealing(change);
            return Ok(self.0.stored(&self.0.seal(&self.0.swap(&seen, sealing).await?, change).await?).version);
        }
        // Whoever adds bytes cannot commit them any more.
        let changing = |document: &mut Document| {
            document.owner = None;
            document.change(change);
        };
        let changed = self.0.swap(&seen, changing).await?;
        if before.is_due() && !after.is_due() {
            self.0.forget_todo(&after.id).await;
        }
        Ok(self.0.stored(&changed).version)
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        let mut seen = self.0.expect(stored).await?;
        match (&seen.document.status, &seen.document.upload.kind) {
            _ if seen.document.upload.phase != Phase::Assembling => return Err(Failure::Conflict.into()),
            (Status::Open, Kind::Final(_)) => seen = self.0.concatenate(seen, parts, change).await?,
            _ => {}
        }
        let sealed = self.0.seal(&seen, change).await?;
        if let Kind::Final(parts) = &stored.upload.kind {
            for part in BTreeSet::from_iter(parts.iter().map(|part| &part.id)) {
                let _ = self.0.bucket.delete(&format!(".tus/f/{part}/{}", stored.upload.id)).await;
            }
        }
        Ok(self.0.stored(&sealed).version)
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        let seen = self.0.expect(stored).await?;
        let Document { upload, multipart, .. } = &seen.document;
        let removed = |document: &mut Document| {
            (document.status, document.version) = (Status::Removed, nonce());
        };
        self.0.swap(&seen, removed).await?;
        // From here on it is gone; the rest is space. The document goes a day later.
        let pieces = self.0.bucket.list(&piece_key(&upload.id, ""), "").await?;
        let expiry = upload.expires.map(|expires| expiry_key(expires, &upload.id));
        for key in pieces.into_iter().chain([object_key(&upload.id), todo_key(&upload.id)]).chain(expiry) {
            let _ = self.0.bucket.delete(&key).await;
        }
        if let Some(multipart) = multipart {
            let _ = self.0.bucket.abort(multipart).await;
        }
        Ok(())
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        self.0.bytes(stored, range).await
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        let after = after.map_or(String::new(), |id| id.as_str().to_owned());
        let loaded = self.loaded(".tus/u/", after);
        loaded.try_filter(move |stored| std::future::ready(filter.passes(&stored.upload))).boxed()
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        let due = self.loaded(".tus/todo/", String::new()).try_filter(|s| std::future::ready(s.upload.is_due()));
        let expired = self.listed(".tus/x/", String::new()).try_filter_map(move |key| async move {
            // The product asks for no page beyond `now`.
            if key.as_str() > format!(".tus/x/{:015}/~", milliseconds(now)).as_str() {
                return Ok(None);
            }
            let Some(stored) = self.load(&id_of(&key)?).await? else { return Ok(None) };
            if !stored.upload.is_expired(now) {
                // It was put off: the sweeper moves it.
                if let Some(expires) = stored.upload.expires {
                    self.0.bucket.put(&expiry_key(expires, &stored.upload.id), Default::default()).await?;
                }
                let _ = self.0.bucket.delete(&key).await;
                return Ok(None);
            }
            Ok(Some(stored).filter(|stored| !stored.upload.is_due()))
        });
        due.chain(expired).boxed()
    }

    async fn waiting_for(&self, part: &UploadId) -> Result<Vec<UploadId>, StorageError> {
        let keys = self.0.bucket.list(&format!(".tus/f/{part}/"), "").await?;
        let finals = self.load_all(&keys.iter().map(|key| id_of(key)).collect::<Result<Vec<_>, _>>()?).await?;
        let waits = |stored: Stored| (stored.upload.phase == Phase::Assembling).then_some(stored.upload.id);
        Ok(finals.into_iter().flatten().filter_map(waits).collect())
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let (key, now) = (format!(".tus/c/{}-{}", upload.id, upload.incarnation), milliseconds(SystemTime::now()));
        if !self.0.fetch(&upload.id).await?.is_some_and(|seen| seen.document.upload.incarnation == upload.incarnation) {
            return Ok(false);
        }
        let claim = Bytes::from(format!("{} {}", now + duration.as_millis(), self.0.process));
        loop {
            let put = match self.0.bucket.get(&key).await {
                Err(Refused::Absent) => self.0.bucket.put_new(&key, claim.clone()).await,
                Err(other) => return Err(other.into()),
                Ok((old, etag)) => {
                    let old = String::from_utf8_lossy(&old).into_owned();
                    let (until, process) = old.split_once(' ').ok_or(Failure::Internal)?;
                    if process != self.0.process && until.parse().is_ok_and(|until: u128| until > now) {
                        return Ok(false);
                    }
                    self.0.bucket.put_if(&key, claim.clone(), &etag).await
                }
            };
            match put {
                Ok(_) => return Ok(true),
                Err(Refused::Exists | Refused::Changed) => {}
                Err(Refused::Absent | Refused::Lost) => return Err(Failure::Internal.into()),
            }
        }
    }
}

impl ObjectStore {
    fn listed(&self, prefix: &'static str, after: String) -> BoxStream<'_, Result<String, StorageError>> {
        let page = async move { self.0.bucket.list(prefix, &after).await.map_err(StorageError::from) };
        stream::once(page).map_ok(|keys| stream::iter(keys).map(Ok)).try_flatten().boxed()
    }

    fn loaded(&self, prefix: &'static str, after: String) -> StoredStream<'_> {
        let load = move |key: String| async move { self.load(&id_of(&key)?).await };
        self.listed(prefix, after).try_filter_map(load).boxed()
    }
}

impl Inner {
    /// Writes into the indexes what a change is about to make true. Too much there does no harm.
    pub(crate) async fn announce(&self, after: &Upload, before: Option<&Upload>) -> Result<(), StorageError> {
        let known = before.and_then(|before| before.expires);
        if let Some(expires) = after.expires.filter(|expires| known.is_none_or(|known| *expires < known)) {
            self.bucket.put(&expiry_key(expires, &after.id), Default::default()).await?;
        }
        if after.is_due() && !before.is_some_and(Upload::is_due) {
            self.bucket.put(&todo_key(&after.id), Default::default()).await?;
        }
        Ok(())
    }

    pub(crate) async fn forget_todo(&self, id: &UploadId) {
        let _ = self.bucket.delete(&todo_key(id)).await;
    }
}

/// The upload that an index's key ends with.
fn id_of(key: &str) -> Result<UploadId, StorageError> {
    let (_, id) = key.rsplit_once('/').unwrap_or(("", key));
    id.parse().map_err(|error| StorageError::new(Failure::Internal, format!("{key}: {error}")))
}
