//! Bytes of a body, with the memory that they use.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;
#[cfg(feature = "conformance")]
use tokio::sync::OwnedSemaphorePermit;

use super::Share;

/// Bytes of a body, in order, and their share of the memory for all bodies. Dropping the last clone frees the share:
/// a storage that buffers bytes keeps their `Chunks`.
#[derive(Clone, Default)]
pub struct Chunks {
    chunks: Vec<Bytes>,
    share: Option<Arc<Share>>,
}

impl Chunks {
    pub(crate) fn with_share(chunks: Vec<Bytes>, share: Option<Share>) -> Self {
        Self { chunks, share: share.map(Arc::new) }
    }

    /// Bytes with a share of a budget, for tests of a storage.
    #[cfg(feature = "conformance")]
    pub fn sharing(self, share: OwnedSemaphorePermit) -> Self {
        Self::with_share(self.chunks, Some(Share::of(share)))
    }

    /// The number of bytes in all chunks.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Splits off the first `n` bytes without copying. Both halves have the share, which is freed when the last of
    /// them is dropped.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use tus_service::Chunks;
    ///
    /// let mut chunks = Chunks::from(vec![Bytes::from("hel"), Bytes::from("lo")]);
    /// let first = chunks.split_to(4);
    /// assert_eq!(first[..], ["hel", "l"]);
    /// assert_eq!(chunks[..], ["o"]);
    /// ```
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use = "the bytes are taken away"]
    pub fn split_to(&mut self, n: usize) -> Self {
        let there = self.bytes();
        assert!(n <= there, "{n} bytes are split off {there}");
        let (mut all, mut left) = (0, n);
        while left > 0 && self.chunks[all].len() <= left {
            left -= self.chunks[all].len();
            all += 1;
        }
        let mut first: Vec<_> = self.chunks.drain(..all).collect();
        if left > 0 {
            first.push(self.chunks[0].split_to(left));
        }
        Self { chunks: first, share: self.share.clone() }
    }
}

/// Bytes without a share.
impl From<Vec<Bytes>> for Chunks {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self { chunks, share: None }
    }
}

impl From<Bytes> for Chunks {
    fn from(chunk: Bytes) -> Self {
        vec![chunk].into()
    }
}

impl Deref for Chunks {
    type Target = [Bytes];

    fn deref(&self) -> &[Bytes] {
        &self.chunks
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} chunks, with a share: {}", self.bytes(), self.chunks.len(), self.share.is_some())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn chunks() -> Chunks {
        vec![Bytes::from("abc"), Bytes::new(), Bytes::from("d"), Bytes::from("ef")].into()
    }

    #[test]
    fn chunks_are_split_anywhere() {
        for n in 0..=6 {
            let mut rest = chunks();
            let first = rest.split_to(n);
            assert_eq!((first.bytes(), rest.bytes()), (n, 6 - n));
            assert_eq!([first.concat(), rest.concat()].concat(), b"abcdef");
        }
    }

    #[test]
    #[should_panic(expected = "7 bytes are split off 6")]
    fn splitting_beyond_the_end_panics() {
        let _ = chunks().split_to(7);
    }

    #[test]
    fn a_share_is_free_again_when_the_last_piece_is_dropped() {
        let budget = Arc::new(Semaphore::new(6));
        let mut rest = chunks().sharing(budget.clone().try_acquire_many_owned(6).unwrap());
        let first = rest.split_to(2);
        drop(rest);
        assert_eq!(budget.available_permits(), 0);
        drop(first);
        assert_eq!(budget.available_permits(), 6);
    }
}
