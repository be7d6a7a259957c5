//! A storage in memory that does what it is asked to do, and may fail afterwards.

use std::{ops::Range, sync::Mutex};

use tus_service::{
    ByteStream, Change, Checkpoint, Chunks, Failure, Hint, Memory, Storage, StorageError, Stored, StoredStream, Upload,
    UploadFilter, UploadId, Version, Writer, async_trait,
};

use super::*;

/// What the storage is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Update,
    Write,
    Commit,
}

type Fate = Arc<Mutex<dyn FnMut(Call) -> Option<Failure> + Send>>;

/// The storage.
pub(super) struct Faulty {
    memory: Memory,
    fate: Fate,
}

impl Faulty {
    /// An empty one. `fate` is asked when a call has been done, and before its answer.
    pub(super) fn new(fate: impl FnMut(Call) -> Option<Failure> + Send + 'static) -> Self {
        Self { memory: Memory::new(), fate: Arc::new(Mutex::new(fate)) }
    }
}

fn answer<T>(fate: &Fate, call: Call, answer: Result<T, StorageError>) -> Result<T, StorageError> {
    match (fate.lock().unwrap())(call) {
        Some(failure) => Err(StorageError::new(failure, "it failed")),
        None => answer,
    }
}

#[async_trait]
impl Storage for Faulty {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        self.memory.create(upload).await
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        self.memory.load(id).await
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        self.memory.load_all(ids).await
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        Ok(Box::new(FaultyWriter { writer: self.memory.open(stored).await?, fate: self.fate.clone() }))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        answer(&self.fate, Call::Update, self.memory.update(stored, change).await)
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        self.memory.assemble(stored, parts, change).await
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        self.memory.remove(stored).await
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        self.memory.read(stored, range).await
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        self.memory.list(filter, after)
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        self.memory.pending(now)
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        self.memory.waiting_for(part, at_most).await
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        self.memory.pending_finals(at_most).await
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        self.memory.claim(upload, duration).await
    }
}

struct FaultyWriter {
    writer: Box<dyn Writer>,
    fate: Fate,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        answer(&self.fate, Call::Write, self.writer.write(chunks).await)
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
        answer(&self.fate, Call::Commit, self.writer.commit(change).await)
    }
}
