//! Bytes of a body, with the memory that they take.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of a body, in order, and their share of the memory that all bodies may take. The share is free again when
/// the last clone is dropped: a storage that holds bytes back keeps their `Chunks`.
#[derive(Clone, Default)]
pub struct Chunks {
    chunks: Vec<Bytes>,
    share: Option<Arc<OwnedSemaphorePermit>>,
}

impl Chunks {
    pub(crate) fn with_share(chunks: Vec<Bytes>, share: Option<OwnedSemaphorePermit>) -> Self {
        Self { chunks, share: share.map(Arc::new) }
    }

    /// The number of bytes in all chunks.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// Bytes that have no share of anything.
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
