//! Bytes that are not part of a part yet.

use tokio::sync::OwnedSemaphorePermit;
use tus_service::StorageError;

use super::{PartWriter, held::Held};
use crate::{
    document::{Piece, length},
    keys,
    nonce::nonce,
    seal::Gathered,
};

/// More pieces than this are merged, so that documents and parts do not consist of thousands.
const MOST: usize = 16;

/// What the service has of one body while a write of it waits, in bytes.
const AHEAD: u32 = 2 * 1024 * 1024;

impl PartWriter {
    /// Reserves memory for bytes that are on their way to this writer while it waits for memory, as soon as there is some.
    /// This keeps them within the budget.
    pub(super) fn keep_memory_ahead(&mut self) {
        if self.ahead.is_none()
            && let Ok(turn) = self.store.ahead.clone().try_acquire_many_owned(AHEAD)
            && let Ok(memory) = self.store.memory.clone().try_acquire_many_owned(AHEAD)
        {
            self.ahead = Some((turn, memory));
        }
    }

    /// Memory for this many bytes. If there is none, the buffer becomes a piece, and another writer may use its
    /// memory.
    pub(super) async fn memory_for(&mut self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, StorageError> {
        let memory = self.store.memory.clone();
        // More than that comes never, or never again.
        let most = self.store.settings.memory_of_writers() / 2;
        let needed = u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
        if let Ok(share) = memory.clone().try_acquire_many_owned(needed) {
            return Ok(Some(share));
        }
        self.put_piece().await?;
        self.store.bucket.patience.for_memory(memory.acquire_many_owned(needed)).await.map(Some)
    }

    /// Writes the buffer as a piece, which frees its memory. Buffered bytes that fill parts become parts first.
    pub(super) async fn put_piece(&mut self) -> Result<(), StorageError> {
        while self.tail() > self.next_size() {
            self.put_part(self.next_size()).await?;
        }
        if self.held.length() == 0 {
            return Ok(());
        }
        let merged = self.merged();
        let kept = self.pieces.len() - merged;
        let nonces: Vec<_> = self.pieces[kept..].iter().map(|piece| piece.nonce.clone()).collect();
        let store = self.store.clone();
        let gathered = store.bytes_of(&self.seen.document.upload, &self.pieces[kept..]).await;
        let Gathered { bytes: before, memory: _memory } = match gathered {
            Ok(gathered) => gathered,
            Err(error) => {
                // If another writer took over and has deleted them, that is the reason.
                self.swap(|_| Ok(())).await?;
                return Err(error);
            }
        };
        let piece = Piece { nonce: nonce()?, length: length(&self.pieces[kept..]) + self.held.length() };
        let payload = before.into_iter().chain(self.held.bytes()).collect();
        let key = keys::piece(&self.seen.document.upload, &piece.nonce);
        self.store.bucket.put_piece(&key, payload).await.map_err(|refused| {
            // It may be there nevertheless.
            self.litter = true;
            StorageError::new(refused.failure(), format!("buffered bytes cannot be written: {refused}"))
        })?;
        self.held = Held::default();
        self.pieces.truncate(kept);
        self.dead.extend(nonces);
        self.pieces.push(piece);
        Ok(())
    }

    /// The number of last pieces that are merged with the buffer: none, unless there are many. None of the remaining
    /// ones is smaller than the sum of its successors, so that each byte is written only a few times.
    fn merged(&self) -> usize {
        if self.pieces.len() < MOST {
            return 0;
        }
        let mut after = length(&self.pieces) + self.held.length();
        let first = self.pieces.iter().position(|piece| {
            after -= piece.length;
            piece.length <= after
        });
        first.map_or(0, |first| self.pieces.len() - first)
    }
}
