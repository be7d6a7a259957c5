//! Uploads in memory: for tests, and as the plainest storage there is.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use tus_core::{Failure, Kind, Upload, UploadId};

use crate::{State, Storage, StorageError, Writer};

/// A storage in memory. Its uploads go with the process. A clone is the same storage.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<UploadId, Entry>>>);

#[derive(Debug)]
struct Entry {
    upload: Upload,
    /// Exactly the committed bytes.
    bytes: Vec<u8>,
}

impl Memory {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<UploadId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for Memory {
    async fn create(&self, upload: &Upload) -> Result<(), StorageError> {
        let mut entries = self.entries();
        if entries.contains_key(&upload.id) {
            return Err(Failure::Exists.into());
        }
        entries.insert(upload.id.clone(), Entry { upload: upload.clone(), bytes: Vec::new() });
        Ok(())
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        Ok(self.entries().get(id).map(|entry| entry.upload.clone()))
    }

    async fn append(&self, upload: &Upload) -> Result<Box<dyn Writer>, StorageError> {
        Ok(Box::new(MemoryWriter {
            storage: self.clone(),
            opened_at: upload.offset,
            seen: upload.clone(),
            tail: Vec::new(),
        }))
    }

    async fn join(&self, upload: &Upload, partials: &[Upload]) -> Result<(), StorageError> {
        let mut entries = self.entries();
        let mut bytes = Vec::new();
        for partial in partials {
            bytes.extend_from_slice(&entries.get(&partial.id).ok_or(Failure::NotFound)?.bytes);
        }
        let entry = entries.get_mut(&upload.id).ok_or(Failure::NotFound)?;
        if !matches!(entry.upload.kind, Kind::Final(_)) || entry.upload.is_complete() {
            return Err(Failure::Conflict.into());
        }
        *entry = Entry { upload: upload.clone(), bytes };
        Ok(())
    }

    async fn finish(&self, id: &UploadId) -> Result<(), StorageError> {
        self.entries().get_mut(id).ok_or(Failure::NotFound)?.upload.finished = true;
        Ok(())
    }

    async fn remove(&self, id: &UploadId, expired_at: Option<SystemTime>) -> Result<(), StorageError> {
        let mut entries = self.entries();
        let entry = entries.get(id).ok_or(Failure::NotFound)?;
        if expired_at.is_some_and(|now| !entry.upload.is_expired(now)) {
            return Err(Failure::Conflict.into());
        }
        entries.remove(id);
        Ok(())
    }

    async fn read(&self, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError> {
        let entries = self.entries();
        let entry = entries.get(&upload.id).ok_or(Failure::NotFound)?;
        let end = range.end.min(entry.bytes.len() as u64);
        let start = range.start.min(end);
        Ok(Bytes::copy_from_slice(&entry.bytes[start as usize..end as usize]))
    }

    async fn list(&self, state: State, after: Option<&UploadId>, limit: usize) -> Result<Vec<Upload>, StorageError> {
        let entries = self.entries();
        let uploads = entries.values().map(|entry| &entry.upload);
        let listed = uploads.filter(|upload| state.includes(upload) && after.is_none_or(|after| upload.id > *after));
        Ok(listed.take(limit).cloned().collect())
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<UploadId>, StorageError> {
        let entries = self.entries();
        let mut expired: Vec<_> =
            entries.values().map(|entry| &entry.upload).filter(|upload| upload.is_expired(now)).collect();
        expired.sort_by_key(|upload| upload.expires);
        Ok(expired.into_iter().take(limit).map(|upload| upload.id.clone()).collect())
    }
}

struct MemoryWriter {
    storage: Memory,
    opened_at: u64,
    /// The record as this writer saw or set it last.
    seen: Upload,
    /// Bytes after `seen.offset`.
    tail: Vec<u8>,
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        chunks.iter().for_each(|chunk| self.tail.extend_from_slice(chunk));
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.seen.offset - self.opened_at + self.tail.len() as u64
    }

    async fn checkpoint(&mut self, upload: &Upload) -> Result<bool, StorageError> {
        self.commit(upload).await.map(|()| true)
    }

    async fn commit(&mut self, upload: &Upload) -> Result<(), StorageError> {
        let mut entries = self.storage.entries();
        let entry = entries.get_mut(&upload.id).ok_or(Failure::NotFound)?;
        if (entry.upload.offset, entry.upload.length) != (self.seen.offset, self.seen.length) {
            return Err(Failure::Conflict.into());
        }
        let added = (upload.offset - self.seen.offset) as usize;
        entry.bytes.extend(self.tail.drain(..added));
        entry.upload = upload.clone();
        self.seen = upload.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_what_a_storage_promises() {
        crate::conformance::check(Arc::new(Memory::new())).await;
    }
}
