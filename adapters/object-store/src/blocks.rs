//! Memory for buffered bytes, in blocks that are used again.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tus_service::Chunks;

use crate::lock::lock;

/// The size of a block in bytes.
const BLOCK: usize = 256 * 1024;

/// The number of free blocks that are kept at most: 8 MiB, as much as a part of the default size frees at once. They are in
/// no budget.
const KEPT: usize = 32;

/// Blocks of one size. What one upload frees fits the next one; an allocator keeps what does not, and returns the rest to
/// the system, which fills each page with zeros when it is needed again: a fifth of the processor time of an upload.
#[derive(Clone)]
pub(crate) struct Blocks {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    kept: usize,
}

impl Blocks {
    /// For a budget of so many bytes, beside which an eighth more is little.
    pub(crate) fn for_budget(bytes: usize) -> Self {
        Self { free: Arc::default(), kept: KEPT.min(bytes / 8 / BLOCK) }
    }

    /// The same bytes in memory of their own. What comes is pieces of buffers of the framework, which are twice as large
    /// and more: held for long, they would take much more memory than they count.
    pub(crate) fn copy(&self, mut chunks: Chunks) -> Chunks {
        let mut copied = Vec::with_capacity(chunks.bytes().div_ceil(BLOCK));
        while chunks.bytes() >= BLOCK {
            let mut bytes = lock(&self.free).pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
            chunks.split_to(BLOCK).iter().for_each(|chunk| bytes.extend_from_slice(chunk));
            copied.push(Bytes::from_owner(Block { bytes, blocks: self.clone() }));
        }
        // A block would take more memory than it counts.
        if chunks.bytes() > 0 {
            copied.push(Bytes::from(chunks.concat()));
        }
        copied.into()
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocks").field(&lock(&self.free).len()).finish()
    }
}

/// A block in use.
struct Block {
    bytes: Vec<u8>,
    blocks: Blocks,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = lock(&self.blocks.free);
        if free.len() < self.blocks.kept {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_in_blocks_and_one_rest() {
        let bytes: Vec<u8> = (0..2 * BLOCK + 5).map(|at| (at % 251) as u8).collect();
        let chunks: Vec<_> = bytes.chunks(10_007).map(Bytes::copy_from_slice).collect();
        let copied = Blocks::for_budget(1 << 30).copy(chunks.into());
        assert_eq!(copied.iter().map(Bytes::len).collect::<Vec<_>>(), [BLOCK, BLOCK, 5]);
        assert!(copied.concat() == bytes);
        assert_eq!(Blocks::for_budget(0).copy(Chunks::default()).len(), 0);
    }

    #[test]
    fn a_block_is_used_again_when_the_last_part_of_it_is_dropped() {
        let (blocks, filled) = (Blocks::for_budget(1 << 30), |byte| Bytes::from(vec![byte; BLOCK]));
        let mut first = blocks.copy(filled(1).into());
        let (part, at) = (first.split_to(7), first[0].as_ptr());
        drop(first);
        assert_eq!(lock(&blocks.free).len(), 0, "the part is in it");
        assert_eq!(part[0], [1; 7][..]);
        drop(part);
        let second = blocks.copy(filled(2).into());
        assert_eq!((second[0].as_ptr() as usize) + 7, at as usize);
        assert!(second[0].iter().all(|byte| *byte == 2));
    }

    #[test]
    fn few_free_blocks_are_kept() {
        for (budget, kept) in [(128 << 20, KEPT), (8 << 20, 4)] {
            let blocks = Blocks::for_budget(budget);
            let many: Vec<_> = (0..2 * KEPT).map(|_| blocks.copy(Bytes::from(vec![0; BLOCK]).into())).collect();
            drop(many);
            assert_eq!(lock(&blocks.free).len(), kept);
        }
    }
}
