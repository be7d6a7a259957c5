//! Storages that keep no guarantee at all.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tus_core::{Change, Failure, Stored, Upload, UploadId, Version};

use crate::{ByteStream, Checkpoint, Chunks, Hint, Storage, StorageError, StoredStream, UploadFilter, Writer};

pub(super) struct AlwaysBusy;

fn busy<T>() -> Result<T, StorageError> {
    Err(Failure::Busy.into())
}

#[async_trait]
impl Storage for AlwaysBusy {
    async fn create(&self, _: &Upload) -> Result<Version, StorageError> {
        busy()
    }
    async fn load(&self, _: &UploadId) -> Result<Option<Stored>, StorageError> {
        busy()
    }
    async fn load_all(&self, _: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        busy()
    }
    async fn open(&self, _: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        busy()
    }
    async fn update(&self, _: &Stored, _: &Change) -> Result<Version, StorageError> {
        busy()
    }
    async fn assemble(&self, _: &Stored, _: &[Stored], _: &Change) -> Result<Version, StorageError> {
        busy()
    }
    async fn remove(&self, _: &Stored) -> Result<(), StorageError> {
        busy()
    }
    async fn read(&self, _: &Stored, _: Range<u64>) -> Result<ByteStream, StorageError> {
        busy()
    }
    fn list(&self, _: UploadFilter, _: Option<&UploadId>) -> StoredStream<'_> {
        stream::iter([busy()]).boxed()
    }
    fn pending(&self, _: SystemTime) -> StoredStream<'_> {
        stream::iter([busy()]).boxed()
    }
    async fn waiting_for(&self, _: &UploadId, _: usize) -> Result<Vec<UploadId>, StorageError> {
        busy()
    }
    async fn pending_finals(&self, _: usize) -> Result<usize, StorageError> {
        busy()
    }
    async fn claim(&self, _: &Upload, _: Duration) -> Result<bool, StorageError> {
        busy()
    }
}

pub(super) struct DoesNothing;

#[async_trait]
impl Storage for DoesNothing {
    async fn create(&self, _: &Upload) -> Result<Version, StorageError> {
        Ok(1.into())
    }
    async fn load(&self, _: &UploadId) -> Result<Option<Stored>, StorageError> {
        Ok(None)
    }
    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        Ok(vec![None; ids.len()])
    }
    async fn open(&self, _: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        Ok(Box::new(WritesNothing))
    }
    async fn update(&self, _: &Stored, _: &Change) -> Result<Version, StorageError> {
        Ok(2.into())
    }
    async fn assemble(&self, _: &Stored, _: &[Stored], _: &Change) -> Result<Version, StorageError> {
        Ok(3.into())
    }
    async fn remove(&self, _: &Stored) -> Result<(), StorageError> {
        Ok(())
    }
    async fn read(&self, _: &Stored, _: Range<u64>) -> Result<ByteStream, StorageError> {
        Ok(stream::empty().boxed())
    }
    fn list(&self, _: UploadFilter, _: Option<&UploadId>) -> StoredStream<'_> {
        stream::empty().boxed()
    }
    fn pending(&self, _: SystemTime) -> StoredStream<'_> {
        stream::empty().boxed()
    }
    async fn waiting_for(&self, _: &UploadId, _: usize) -> Result<Vec<UploadId>, StorageError> {
        Ok(Vec::new())
    }
    async fn pending_finals(&self, _: usize) -> Result<usize, StorageError> {
        Ok(0)
    }
    async fn claim(&self, _: &Upload, _: Duration) -> Result<bool, StorageError> {
        Ok(true)
    }
}

struct WritesNothing;

#[async_trait]
impl Writer for WritesNothing {
    async fn write(&mut self, _: Chunks) -> Result<(), StorageError> {
        Ok(())
    }
    fn stored(&self) -> u64 {
        0
    }
    fn version(&self) -> Version {
        Version::from(0)
    }
    async fn checkpoint(&mut self, _: &Change, _: Hint) -> Result<Checkpoint, StorageError> {
        Ok(Checkpoint::Taken)
    }
    async fn commit(&mut self, _: &Change) -> Result<Version, StorageError> {
        Ok(4.into())
    }
}
