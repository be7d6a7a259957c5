//! The content of an upload for a handler.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http_body::{Body, Frame, SizeHint};

use crate::{
    request::piece,
    storage::{ByteStream, StorageError},
};

/// The bytes of a complete upload, as the body of the request for a handler. They are read from the storage on
/// demand.
pub struct StoredBody {
    /// The remaining bytes.
    left: u64,
    /// Never shared nor locked, but some frameworks require `Sync`.
    bytes: Mutex<ByteStream>,
    failed: Arc<AtomicBool>,
}

impl StoredBody {
    pub(crate) fn empty() -> Self {
        Self::new(stream::empty().boxed(), 0)
    }

    pub(crate) fn new(bytes: ByteStream, length: u64) -> Self {
        Self { left: length, bytes: Mutex::new(bytes), failed: Arc::default() }
    }

    /// The remaining bytes.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether no bytes remain.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Set if bytes cannot be read: the request is then not to blame if the handler fails.
    pub(crate) fn failed(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }
}

impl Stream for StoredBody {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let bytes = this.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let next = piece(&mut this.left, ready!(bytes.as_mut().poll_next(context)));
        if let Err(error) = &next {
            tracing::error!(%error, "a complete upload cannot be read");
            this.failed.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(next))
    }
}

impl Body for StoredBody {
    type Data = Bytes;
    type Error = StorageError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StorageError>>> {
        self.poll_next(context).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody").field("left", &self.left).finish_non_exhaustive()
    }
}
