//! Bytes that are not yet a part.

use tokio::sync::OwnedSemaphorePermit;
use tus_service::{Failure, StorageError};

use super::{PartWriter, held::Held};
use crate::{
    document::{Piece, length},
    keys,
    nonce::nonce,
};

/// More pieces than this are put together, so that neither a document nor a part is made of thousands.
const MOST: usize = 16;

impl PartWriter {
    /// Memory for so many bytes. Where there is none, what is held becomes a piece, and another writer may use its memory.
    pub(super) async fn memory_for(&mut self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, StorageError> {
        let memory = self.store.memory.clone();
        let needed = u32::try_from(bytes.min(self.store.settings.memory)).unwrap_or(u32::MAX);
        if let Ok(share) = memory.clone().try_acquire_many_owned(needed) {
            return Ok(Some(share));
        }
        self.put_piece().await?;
        Ok(memory.acquire_many_owned(needed).await.ok())
    }

    /// Puts what is held as a piece, which frees its memory. What makes parts becomes parts: those that could not be put
    /// before.
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
        let before = self.store.bytes_of(&self.seen.document.upload, nonces.iter().map(String::as_str)).await?;
        let piece = Piece { nonce: nonce()?, length: length(&self.pieces[kept..]) + self.held.length() };
        let payload = before.into_iter().chain(self.held.bytes()).collect();
        let key = keys::piece(&self.seen.document.upload, &piece.nonce);
        self.store.bucket.put_new(&key, payload, None).await.map_err(|refused| {
            StorageError::new(Failure::Internal, format!("bytes that wait cannot be put: {refused}"))
        })?;
        self.held = Held::default();
        self.pieces.truncate(kept);
        self.dead.extend(nonces);
        self.pieces.push(piece);
        Ok(())
    }

    /// How many of the last pieces are put together with what is held: none, unless there are many. Of those left, none is
    /// smaller than all that come after it, so that each byte is written a few times at most.
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
