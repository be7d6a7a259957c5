//! A storage that tells how far it is, and can be held up.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::watch;
use tus_service::{State, Storage, StorageError, Upload, UploadId, Writer, async_trait};

use crate::harness::wait_until;

/// The test's hand on a storage. A clone is the same hand.
#[derive(Clone)]
pub(crate) struct Watch {
    taken: Arc<AtomicU64>,
    held: watch::Sender<bool>,
    pace: watch::Sender<Duration>,
    /// Whether records that were read are kept back.
    late: watch::Sender<bool>,
    kept_back: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
}

impl Watch {
    /// Puts a hand on a storage.
    pub(crate) fn over(storage: Arc<dyn Storage>) -> (Self, Arc<dyn Storage>) {
        let watch = Self {
            taken: Arc::default(),
            held: watch::Sender::new(false),
            pace: watch::Sender::default(),
            late: watch::Sender::new(false),
            kept_back: Arc::default(),
            commits: Arc::default(),
        };
        (watch.clone(), Arc::new(Watched { storage, watch }))
    }

    /// Holds every write up from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Makes every write take that long from now on.
    pub(crate) fn slow_down(&self, pace: Duration) {
        self.pace.send_replace(pace);
    }

    /// Lets the writes go on.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// Keeps each record back that is read from now on, until `tell_late`.
    pub(crate) fn keep_back(&self) {
        self.late.send_replace(true);
    }

    /// Hands out what was kept back.
    pub(crate) fn tell_late(&self) {
        self.late.send_replace(false);
    }

    /// Waits until a record is kept back.
    pub(crate) fn wait_for_a_record(&self) {
        wait_until(|| self.kept_back.load(Ordering::Relaxed) > 0);
    }

    /// Waits until a writer has committed.
    pub(crate) fn wait_for_a_commit(&self) {
        wait_until(|| self.commits.load(Ordering::Relaxed) > 0);
    }

    /// Waits until the storage was handed so many bytes, be they committed or not.
    pub(crate) fn wait_for_bytes(&self, bytes: u64) {
        wait_until(|| self.has_taken(bytes));
    }

    /// Whether the storage was handed so many bytes, be they committed or not.
    pub(crate) fn has_taken(&self, bytes: u64) -> bool {
        self.taken.load(Ordering::Relaxed) >= bytes
    }
}

struct Watched {
    storage: Arc<dyn Storage>,
    watch: Watch,
}

struct WatchedWriter {
    writer: Box<dyn Writer>,
    watch: Watch,
}

#[async_trait]
impl Writer for WatchedWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        // The sender is ours, so that this ends only when it is let go on.
        let _ = self.watch.held.subscribe().wait_for(|held| !held).await;
        let pace = *self.watch.pace.borrow();
        tokio::time::sleep(pace).await;
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        self.writer.write(chunks).await?;
        self.watch.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.writer.stored()
    }

    async fn checkpoint(&mut self, upload: &Upload) -> Result<bool, StorageError> {
        self.writer.checkpoint(upload).await
    }

    async fn commit(&mut self, upload: &Upload) -> Result<(), StorageError> {
        self.writer.commit(upload).await?;
        self.watch.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Storage for Watched {
    async fn append(&self, upload: &Upload) -> Result<Box<dyn Writer>, StorageError> {
        let writer = self.storage.append(upload).await?;
        Ok(Box::new(WatchedWriter { writer, watch: self.watch.clone() }))
    }

    async fn create(&self, upload: &Upload) -> Result<(), StorageError> {
        self.storage.create(upload).await
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        let loaded = self.storage.load(id).await;
        if *self.watch.late.borrow() {
            self.watch.kept_back.fetch_add(1, Ordering::Relaxed);
            let _ = self.watch.late.subscribe().wait_for(|late| !late).await;
        }
        loaded
    }

    async fn join(&self, upload: &Upload, partials: &[Upload]) -> Result<(), StorageError> {
        self.storage.join(upload, partials).await
    }

    async fn finish(&self, id: &UploadId) -> Result<(), StorageError> {
        self.storage.finish(id).await
    }

    async fn remove(&self, id: &UploadId, expired_at: Option<SystemTime>) -> Result<(), StorageError> {
        self.storage.remove(id, expired_at).await
    }

    async fn read(&self, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.storage.read(upload, range).await
    }

    async fn list(&self, state: State, after: Option<&UploadId>, limit: usize) -> Result<Vec<Upload>, StorageError> {
        self.storage.list(state, after, limit).await
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        self.storage.tidy().await
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<UploadId>, StorageError> {
        self.storage.expired(now, limit).await
    }
}
