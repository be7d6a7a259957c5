//! Adds bytes to one upload.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tus_core::{Change, Stored, Version};

use super::{Memory, claims_other_bytes, takeover::Held};
use crate::{Checkpoint, Chunks, Hint, StorageError, Writer};

pub(super) struct MemoryWriter {
    memory: Memory,
    held: Held,
    opened_at: u64,
    /// The record that this writer saw or made last.
    seen: Stored,
    /// Bytes after the offset of `seen`.
    tail: Vec<u8>,
}

impl MemoryWriter {
    pub(super) fn new(memory: Memory, seen: Stored) -> Self {
        let held = Held::new(memory.clone(), &seen.upload);
        Self { memory, held, opened_at: seen.upload.offset, seen, tail: Vec::new() }
    }

    /// Commits the bytes up to the offset of the change, and keeps the rest.
    fn save(&mut self, change: &Change) -> Result<Version, StorageError> {
        let (offset, written) = (self.seen.upload.offset, self.tail.len() as u64);
        let added = change.offset.checked_sub(offset).filter(|added| *added <= written);
        let added = added.ok_or_else(|| claims_other_bytes(change, offset + written))? as usize;
        let mut state = self.memory.state();
        let version = state.change(self.memory.process, &self.seen, change, |bytes| {
            let rest = self.tail.split_off(added);
            let added = Bytes::from(std::mem::replace(&mut self.tail, rest));
            if !added.is_empty() {
                Arc::make_mut(bytes).push(added);
            }
        })?;
        drop(state);
        change.apply(&mut self.seen.upload);
        self.seen.version = version.clone();
        Ok(version)
    }
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        chunks.iter().for_each(|chunk| self.tail.extend_from_slice(chunk));
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.seen.upload.offset - self.opened_at + self.tail.len() as u64
    }

    fn version(&self) -> Version {
        self.seen.version.clone()
    }

    async fn checkpoint(&mut self, change: &Change, _: Hint) -> Result<Checkpoint, StorageError> {
        if change.offset > self.seen.upload.offset || change.expires != self.seen.upload.expires {
            self.save(change)?;
        }
        Ok(Checkpoint::Taken)
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        let version = self.save(change)?;
        self.tail.clear();
        Ok(version)
    }

    fn committed(&self) -> Option<u64> {
        Some(self.seen.upload.offset)
    }

    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        self.held.leave().cancelled_owned().boxed()
    }
}

#[cfg(test)]
mod tests {
    use tus_core::{Incarnation, Kind, Upload, UploadId};

    use super::*;
    use crate::Storage;

    #[tokio::test]
    async fn a_hint_that_allows_nothing_does_nothing() {
        let memory = Memory::new();
        let upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
        let stored = Stored::new(upload.clone(), memory.create(&upload).await.unwrap());
        let mut writer = memory.open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
        for hint in [Hint::Streaming, Hint::Stalled] {
            assert_eq!(writer.checkpoint(&Change::of(&upload), hint).await.unwrap(), Checkpoint::Taken);
            assert_eq!(memory.load(&upload.id).await.unwrap().as_ref(), Some(&stored));
        }
    }
}
