//! Bytes in hand, and the memory that they take until they are put.

use std::collections::VecDeque;

use bytes::Bytes;
use tus_service::Chunks;

#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The chunks not put yet, with their shares.
    chunks: VecDeque<Chunks>,
    length: u64,
}

/// Bytes to put. Their shares go back to the budget with it.
#[derive(Debug, Default)]
pub(crate) struct Payload(Vec<Chunks>);

impl Held {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn push(&mut self, chunks: Chunks) {
        self.length += chunks.bytes() as u64;
        self.chunks.push_back(chunks);
    }

    /// The first bytes, in as many as there are.
    pub(crate) fn take(&mut self, length: u64) -> Payload {
        let (mut payload, mut left) = (Payload::default(), length.min(self.length));
        self.length -= left;
        while left > 0
            && let Some(mut chunks) = self.chunks.pop_front()
        {
            let first = chunks.split_to(chunks.bytes().min(left as usize));
            left -= first.bytes() as u64;
            payload.0.push(first);
            if chunks.bytes() > 0 {
                self.chunks.push_front(chunks);
            }
        }
        payload
    }

    /// Takes back what was not put.
    pub(crate) fn put_back(&mut self, payload: Payload) {
        for chunks in payload.0.into_iter().rev() {
            self.length += chunks.bytes() as u64;
            self.chunks.push_front(chunks);
        }
    }
}

impl Payload {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter().flat_map(|chunks| chunks.iter())
    }
}
