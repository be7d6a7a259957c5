//! The body of a response: a short text or a file.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use tus_core::Failure;

use super::Sending;
use crate::{observe, storage::StorageError};

/// The body of a response: [`Body`] for frameworks that accept one, [`Stream`] for the others.
///
/// Bytes of an upload are read when the body is polled: no faster than the client receives them, one piece of at most
/// 32 KiB at a time. The next piece is read when the last one was dropped, so a layer cannot collect a larger
/// download before it forwards it: it would wait until the download times out. An error means that the body is cut
/// short; the framework then closes the connection so that the client notices.
pub struct ResponseBody {
    /// The remaining bytes.
    left: u64,
    from: From,
}

enum From {
    Memory(Bytes),
    Storage(Sending),
}

impl ResponseBody {
    /// The remaining bytes.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether no bytes remain.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The complete body if it is in memory, as it usually is: for frameworks that then send its length.
    ///
    /// # Errors
    ///
    /// The body itself, if it has to be read from the storage.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.from {
            From::Memory(bytes) => Ok(bytes),
            From::Storage(_) => Err(self),
        }
    }

    /// A body of this many bytes of an upload.
    pub(crate) fn streaming(bytes: Sending, length: u64) -> Self {
        Self { left: length, from: From::Storage(bytes) }
    }
}

impl std::convert::From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, from: From::Memory(bytes) }
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let next = match &mut this.from {
            From::Memory(bytes) => Some(Ok(std::mem::take(bytes))),
            From::Storage(bytes) => ready!(bytes.poll_next(context)),
        };
        let next = piece(&mut this.left, next);
        match &next {
            Err(error) if error.failure() == Failure::Overloaded => {}
            Err(error) => {
                observe::storage_failed(error.failure());
                tracing::error!(%error, "a download failed");
            }
            Ok(piece) => {
                if let From::Storage(_) = this.from {
                    observe::sent(piece.len() as u64);
                }
            }
        }
        Poll::Ready(Some(next))
    }
}

/// The next piece of a body of which so many bytes are `left`: no more come, and no fewer. Nothing follows an error.
pub(crate) fn piece(left: &mut u64, next: Option<Result<Bytes, StorageError>>) -> Result<Bytes, StorageError> {
    let wrong = |reason| Err(StorageError::new(Failure::Internal, reason));
    let piece = match next {
        Some(Ok(piece)) if piece.len() as u64 > *left => wrong("the storage returned more bytes than requested"),
        Some(next) => next,
        None => wrong("bytes of the upload are missing"),
    };
    *left = piece.as_ref().map_or(0, |piece| *left - piece.len() as u64);
    piece
}

impl Body for ResponseBody {
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

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("left", &self.left).finish_non_exhaustive()
    }
}
