//! Bytes in hand, and the memory that they take until they are put.

use std::collections::VecDeque;

use bytes::Bytes;
use tus_service::Chunks;

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The chunks not put yet, each with its share; `Chunks` cannot be split.
    chunks: VecDeque<(Bytes, Chunks)>,
    length: u64,
}

/// Bytes to put. Their shares go back to the budget with it.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub bytes: Vec<Bytes>,
    /// Not to be read, only to be dropped.
    shares: Vec<Chunks>,
}

impl Held {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn push(&mut self, chunks: Chunks) {
        self.length += chunks.bytes() as u64;
        self.chunks.extend(chunks.iter().map(|chunk| (chunk.clone(), chunks.clone())));
    }

    /// The first bytes, in as many as there are.
    pub(crate) fn take(&mut self, length: u64) -> Payload {
        let (mut payload, mut left) = (Payload::default(), length.min(self.length));
        self.length -= left;
        while left > 0
            && let Some((mut chunk, share)) = self.chunks.pop_front()
        {
            let taken = chunk.split_to(chunk.len().min(left as usize));
            left -= taken.len() as u64;
            payload.bytes.push(taken);
            payload.shares.push(share.clone());
            if !chunk.is_empty() {
                self.chunks.push_front((chunk, share));
            }
        }
        payload
    }
}
