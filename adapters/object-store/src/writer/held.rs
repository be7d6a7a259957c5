//! Buffered bytes, and the memory that they use until they are written.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tus_service::Chunks;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// The chunks that are not written yet, with their shares.
    chunks: VecDeque<Share>,
    length: u64,
}

#[derive(Debug)]
struct Share {
    chunks: Chunks,
    memory: Option<OwnedSemaphorePermit>,
}

/// Bytes to write. Dropping this frees their memory.
#[derive(Debug, Default)]
pub(super) struct Payload(Vec<Share>);

impl Held {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn push(&mut self, chunks: Chunks, memory: Option<OwnedSemaphorePermit>) {
        self.length += chunks.bytes() as u64;
        self.chunks.push_back(Share { chunks, memory });
    }

    /// Removes the first `length` bytes, or as many as there are.
    pub(super) fn take(&mut self, length: u64) -> Payload {
        let mut left = length.min(self.length);
        self.length -= left;
        let mut payload = Payload::default();
        while left > 0
            && let Some(mut share) = self.chunks.pop_front()
        {
            let bytes = share.chunks.bytes();
            let first = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
            left -= first as u64;
            if first == bytes {
                payload.0.push(share);
                continue;
            }
            let memory = share.memory.as_mut().and_then(|memory| memory.split(first.min(memory.num_permits())));
            payload.0.push(Share { chunks: share.chunks.split_to(first), memory });
            self.chunks.push_front(share);
        }
        payload
    }

    /// The bytes, which stay in the buffer.
    pub(super) fn bytes(&self) -> impl Iterator<Item = Bytes> {
        self.chunks.iter().flat_map(|share| share.chunks.iter().cloned())
    }
}

impl Payload {
    pub(super) fn bytes(&self) -> impl Iterator<Item = Bytes> {
        self.0.iter().flat_map(|share| share.chunks.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn bytes_are_split_anywhere_with_their_memory() {
        for n in 0..=7 {
            let memory = Arc::new(Semaphore::new(6));
            let mut held = Held::default();
            for text in ["abc", "", "def"] {
                let share = memory.clone().try_acquire_many_owned(text.len() as u32).unwrap();
                held.push(Bytes::from(text).into(), Some(share));
            }
            let first = held.take(n);
            let taken = first.bytes().collect::<Vec<_>>().concat();
            assert_eq!([&taken[..], &held.bytes().collect::<Vec<_>>().concat()].concat(), b"abcdef");
            assert_eq!((taken.len() as u64, held.length()), (n.min(6), 6 - n.min(6)));
            drop(first);
            assert_eq!(memory.available_permits() as u64, n.min(6));
            drop(held);
            assert_eq!(memory.available_permits(), 6);
        }
    }
}
