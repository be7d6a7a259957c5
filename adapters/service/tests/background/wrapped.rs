//! A storage in memory that is slow, counts, or panics, as a test wants it.

use std::{
    future::pending,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::{
    sync::{Mutex, Notify},
    time::sleep,
};
use tus_service::{
    ByteStream, Change, Failure, Memory, Phase, Storage, StorageError, Stored, StoredStream, Upload, UploadFilter,
    UploadId, Version, Writer, async_trait,
};

pub(crate) struct Wrapped {
    pub(crate) memory: Memory,
    /// How long loading a record takes, and the number of loads.
    pub(crate) loading: Duration,
    pub(crate) loads: Arc<AtomicUsize>,
    /// How long an assembly takes. It holds what a claim needs.
    pub(crate) assembly: Duration,
    /// Whether assemblies never end.
    pub(crate) hangs: bool,
    /// Whether there is no room for assemblies.
    pub(crate) is_full: bool,
    /// The number of assemblies that were started.
    pub(crate) assemblies: Arc<AtomicUsize>,
    /// The number of removals of orphaned data.
    pub(crate) tidied: Arc<AtomicUsize>,
    /// How many of the first sweeps panic.
    pub(crate) panics: usize,
    /// The number of sweeps that were started.
    pub(crate) sweeps: Arc<AtomicUsize>,
    /// The number of claims that had to wait.
    pub(crate) claims: Arc<AtomicUsize>,
    pub(crate) connection: Mutex<()>,
    /// How many of the first reads fail in the middle.
    pub(crate) unreadable: AtomicUsize,
    /// Whether another process adds three bytes before an upload is removed.
    pub(crate) grows: bool,
    /// An upload that cannot be removed.
    pub(crate) unremovable: Option<UploadId>,
    /// Whether the list of pending uploads ends with an error, after an upload was removed.
    pub(crate) list_fails: bool,
    pub(crate) removed: Notify,
    /// Delays the records of complete uploads.
    pub(crate) late: Option<Arc<Late>>,
}

/// The test's control of delayed records.
#[derive(Default)]
pub(crate) struct Late {
    /// A record has been loaded.
    pub(crate) loaded: Notify,
    /// It may be returned.
    pub(crate) returns: Notify,
}

impl Wrapped {
    pub(crate) fn new() -> Self {
        Self {
            memory: Memory::new(),
            loading: Duration::ZERO,
            loads: Arc::default(),
            assembly: Duration::ZERO,
            hangs: false,
            is_full: false,
            assemblies: Arc::default(),
            tidied: Arc::default(),
            panics: 0,
            sweeps: Arc::default(),
            claims: Arc::default(),
            connection: Mutex::default(),
            unreadable: AtomicUsize::new(0),
            grows: false,
            unremovable: None,
            list_fails: false,
            removed: Notify::new(),
            late: None,
        }
    }
}

#[async_trait]
impl Storage for Wrapped {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        self.memory.create(upload).await
    }
    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        self.loads.fetch_add(1, SeqCst);
        if !self.loading.is_zero() {
            sleep(self.loading).await;
        }
        let loaded = self.memory.load(id).await?;
        let is_complete = |stored: &Stored| stored.upload.phase == Phase::Complete;
        if let Some(late) = self.late.as_ref().filter(|_| loaded.as_ref().is_some_and(is_complete)) {
            late.loaded.notify_one();
            late.returns.notified().await;
        }
        Ok(loaded)
    }
    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        self.memory.load_all(ids).await
    }
    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        self.memory.open(stored).await
    }
    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        self.memory.update(stored, change).await
    }
    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        self.assemblies.fetch_add(1, SeqCst);
        if self.hangs {
            pending::<()>().await;
        }
        if self.is_full {
            return Err(Failure::Full.into());
        }
        let _connection = self.connection.lock().await;
        sleep(self.assembly).await;
        self.memory.assemble(stored, parts, change).await
    }
    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        if self.grows {
            let other = self.memory.another_process();
            let now = other.load(&stored.upload.id).await?.unwrap();
            let mut writer = other.open(&now).await?;
            writer.write(Bytes::from_static(b"abc").into()).await?;
            let mut change = Change::of(&now.upload);
            change.offset += 3;
            writer.commit(&change).await?;
        }
        if self.unremovable.as_ref() == Some(&stored.upload.id) {
            return Err(StorageError::new(Failure::Internal, "the disk is broken"));
        }
        self.memory.remove(stored).await?;
        self.removed.notify_one();
        Ok(())
    }
    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let bytes = self.memory.read(stored, range).await?;
        match self.unreadable.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => {
                let broken = stream::once(async { Err(StorageError::new(Failure::Internal, "the disk is broken")) });
                Ok(stream::iter([Ok(Bytes::from_static(b"hel"))]).chain(broken).boxed())
            }
            Err(_) => Ok(bytes),
        }
    }
    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        self.memory.list(filter, after)
    }
    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        let sweep = self.sweeps.fetch_add(1, SeqCst);
        assert!(sweep >= self.panics, "as the test wants it");
        let pending = self.memory.pending(now);
        if !self.list_fails {
            return pending;
        }
        let failed = stream::once(async {
            self.removed.notified().await;
            Err(StorageError::new(Failure::Internal, "the list is broken"))
        });
        pending.chain(failed).boxed()
    }
    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        self.memory.waiting_for(part, at_most).await
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        self.memory.pending_finals(at_most).await
    }
    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        if self.connection.try_lock().is_err() {
            self.claims.fetch_add(1, SeqCst);
        }
        let _connection = self.connection.lock().await;
        self.memory.claim(upload, duration).await
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        self.tidied.fetch_add(1, SeqCst);
        self.memory.tidy().await
    }
}
