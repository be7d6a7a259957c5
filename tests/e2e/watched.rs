//! A storage that reports its progress and can be blocked.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tus_service::{
    Access, ByteStream, Change, Checkpoint, Chunks, Failure, Hint, Storage, StorageError, Stored, StoredStream, Upload,
    UploadFilter, UploadId, Version, Writer, async_trait,
};

use crate::harness::wait_until;

/// The test's control of a storage. Clones share it.
#[derive(Clone)]
pub(crate) struct Watch {
    received: Arc<AtomicU64>,
    held: watch::Sender<bool>,
    pace: watch::Sender<Duration>,
    /// Whether loaded records are delayed.
    late: watch::Sender<bool>,
    kept_back: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
    refused_claims: Arc<AtomicU64>,
    /// How the next attempt to add bytes fails.
    refusal: Arc<Mutex<Option<Failure>>>,
}

impl Watch {
    /// Takes control of a storage.
    pub(crate) fn over(storage: Arc<dyn Storage>) -> (Self, Arc<dyn Storage>) {
        let watch = Self {
            received: Arc::default(),
            held: watch::Sender::new(false),
            pace: watch::Sender::default(),
            late: watch::Sender::new(false),
            kept_back: Arc::default(),
            commits: Arc::default(),
            refused_claims: Arc::default(),
            refusal: Arc::default(),
        };
        (watch.clone(), Arc::new(Watched { storage, watch }))
    }

    /// Blocks every write from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Delays every write by this time from now on.
    pub(crate) fn slow_down(&self, pace: Duration) {
        self.pace.send_replace(pace);
    }

    /// The next attempt to add bytes fails in this way.
    pub(crate) fn refuse(&self, failure: Failure) {
        *self.refusal.lock().unwrap() = Some(failure);
    }

    /// Lets the writes continue.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// Delays each record that is loaded from now on, until `release_records`.
    pub(crate) fn delay_records(&self) {
        self.late.send_replace(true);
    }

    /// Returns the delayed records.
    pub(crate) fn release_records(&self) {
        self.late.send_replace(false);
    }

    /// Waits until a record is delayed.
    pub(crate) fn wait_for_a_record(&self) {
        wait_until(|| self.kept_back.load(Ordering::Relaxed) > 0);
    }

    /// Waits until a writer has committed.
    pub(crate) fn wait_for_a_commit(&self) {
        wait_until(|| self.commits.load(Ordering::Relaxed) > 0);
    }

    /// Waits until this many claims of background work were refused.
    pub(crate) fn wait_for_refused_claims(&self, claims: u64) {
        wait_until(|| self.refused_claims.load(Ordering::Relaxed) >= claims);
    }

    /// Waits until the storage has received this many bytes, committed or not.
    pub(crate) fn wait_for_bytes(&self, bytes: u64) {
        wait_until(|| self.has_received(bytes));
    }

    /// Whether the storage has received this many bytes, committed or not.
    pub(crate) fn has_received(&self, bytes: u64) -> bool {
        self.received() >= bytes
    }

    /// How many bytes the storage has received, committed or not.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
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
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        // The sender is ours, so this ends only when writes may continue.
        let _ = self.watch.held.subscribe().wait_for(|held| !held).await;
        let pace = *self.watch.pace.borrow();
        tokio::time::sleep(pace).await;
        let bytes = chunks.bytes();
        self.writer.write(chunks).await?;
        self.watch.received.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.writer.stored()
    }

    fn version(&self) -> Version {
        self.writer.version()
    }

    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError> {
        self.writer.checkpoint(change, hint).await
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        let version = self.writer.commit(change).await?;
        self.watch.commits.fetch_add(1, Ordering::Relaxed);
        Ok(version)
    }

    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        self.writer.asked_to_leave()
    }
}

#[async_trait]
impl Storage for Watched {
    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        if let Some(failure) = self.watch.refusal.lock().unwrap().take() {
            return Err(failure.into());
        }
        let writer = self.storage.open(stored).await?;
        Ok(Box::new(WatchedWriter { writer, watch: self.watch.clone() }))
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        let loaded = self.storage.load(id).await;
        if *self.watch.late.borrow() {
            self.watch.kept_back.fetch_add(1, Ordering::Relaxed);
            let _ = self.watch.late.subscribe().wait_for(|late| !late).await;
        }
        loaded
    }

    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        self.storage.create(upload).await
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        self.storage.load_all(ids).await
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        self.storage.settle(stored, access, patience).await
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        self.storage.update(stored, change).await
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        self.storage.assemble(stored, parts, change).await
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        self.storage.remove(stored).await
    }

    async fn make_readable(&self, stored: &Stored) -> Result<Version, StorageError> {
        self.storage.make_readable(stored).await
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        self.storage.read(stored, range).await
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        self.storage.list(filter, after)
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        self.storage.pending(now)
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        self.storage.waiting_for(part, at_most).await
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        self.storage.pending_finals(at_most).await
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let claimed = self.storage.claim(upload, duration).await?;
        self.watch.refused_claims.fetch_add(u64::from(!claimed), Ordering::Relaxed);
        Ok(claimed)
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        self.storage.tidy().await
    }

    fn batch(&self) -> usize {
        self.storage.batch()
    }
}
