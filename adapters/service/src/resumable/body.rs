//! The bodies that pass between a client, an upload and a handler.

use std::{
    collections::VecDeque,
    error::Error,
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

type BoxError = Box<dyn Error + Send + Sync>;

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
    pub(super) fn failed(&self) -> Arc<AtomicBool> {
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

/// The body of a request for a handler: as the client sent it, or from an upload.
#[derive(Debug)]
pub enum RequestBody<B> {
    /// The body of a request that was forwarded untouched.
    Sent(B),
    /// The content of a complete upload.
    Stored(StoredBody),
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Sent(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Stored(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Sent(body) => body.is_end_stream(),
            Self::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Sent(body) => Body::size_hint(body),
            Self::Stored(body) => Body::size_hint(body),
        }
    }
}

/// The body of a response: a handler's or the service's.
#[derive(Debug)]
pub enum RelayedBody<R> {
    /// The body of a response to a request that was forwarded untouched.
    Passed(R),
    /// The body of a handler's response to an upload: the frames that were read, and the rest if there is more.
    Handlers(VecDeque<Frame<Bytes>>, Option<R>),
    /// The body of a response about an upload, or of a stored handler's response.
    Ours(crate::ResponseBody),
}

impl<R> RelayedBody<R> {
    pub(super) fn empty() -> Self {
        Self::Ours(Bytes::new().into())
    }
}

impl<R> Body for RelayedBody<R>
where
    R: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Passed(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Handlers(read, rest) => match (read.pop_front(), rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Some(rest)) => Pin::new(rest).poll_frame(context).map_err(Into::into),
                (None, None) => Poll::Ready(None),
            },
            Self::Ours(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passed(body) => body.is_end_stream(),
            Self::Handlers(read, rest) => read.is_empty() && rest.as_ref().is_none_or(Body::is_end_stream),
            Self::Ours(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passed(body) => Body::size_hint(body),
            Self::Handlers(read, rest) => {
                let read: u64 = read.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
                let rest = rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
                let mut hint = SizeHint::new();
                hint.set_lower(read + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(read + upper);
                }
                hint
            }
            Self::Ours(body) => Body::size_hint(body),
        }
    }
}
