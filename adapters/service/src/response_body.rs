//! The body of a response: a few words, or a file.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tus_core::{Failure, Upload};

use crate::{Storage, StorageError, observe};

/// The body of a response: [`Body`] for frameworks that take one, [`Stream`] for the others.
///
/// An error means that it is not whole; a framework breaks the connection off then, so that the client learns of it.
#[derive(Debug)]
pub struct ResponseBody {
    /// Comes before what is read.
    first: Bytes,
    /// Bytes that are left, `first` included.
    left: u64,
    rest: Option<Receiver<Result<Bytes, StorageError>>>,
}

impl ResponseBody {
    /// Bytes that are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether there is no body, or no more of it.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// All of it where it is here already, as it mostly is: for frameworks that tell its length then.
    ///
    /// # Errors
    ///
    /// The body itself, where it has to be read.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.rest.is_none() { Ok(self.first) } else { Err(self) }
    }

    /// Bytes of a finished upload. The first of them are read now; the rest while others are on their way, and no
    /// faster than the client takes them.
    pub(crate) async fn read(
        storage: Arc<dyn Storage>,
        upload: Upload,
        range: Range<u64>,
    ) -> Result<Self, StorageError> {
        let left = range.end - range.start;
        if left == 0 {
            return Ok(Bytes::new().into());
        }
        let first = piece(&*storage, &upload, range.clone()).await?;
        let next = range.start + first.len() as u64;
        let rest = (next < range.end).then(|| {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(read_on(storage, upload, next..range.end, sender));
            receiver
        });
        Ok(Self { first, left, rest })
    }
}

/// Ends when all is read, when the client has left, or when reading fails.
async fn read_on(
    storage: Arc<dyn Storage>,
    upload: Upload,
    mut range: Range<u64>,
    sender: Sender<Result<Bytes, StorageError>>,
) {
    while range.start < range.end {
        let read = piece(&*storage, &upload, range.clone()).await;
        match &read {
            Ok(bytes) => range.start += bytes.len() as u64,
            Err(error) => {
                tracing::error!(upload = %upload.id, %error, "a download broke off");
                range.start = range.end;
            }
        }
        if sender.send(read).await.is_err() {
            return;
        }
    }
}

/// At least a byte of the range.
async fn piece(storage: &dyn Storage, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError> {
    let bytes = storage.read(upload, range).await?;
    if bytes.is_empty() {
        return Err(StorageError::new(Failure::Internal, "bytes of the upload are missing"));
    }
    observe::sent(bytes.len() as u64);
    Ok(bytes)
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, first: bytes, rest: None }
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = if self.left == 0 {
            return Poll::Ready(None);
        } else if !self.first.is_empty() {
            Ok(std::mem::take(&mut self.first))
        } else {
            let read = self.rest.as_mut().map_or(Poll::Ready(None), |rest| rest.poll_recv(context));
            ready!(read).unwrap_or_else(|| Err(StorageError::new(Failure::Internal, "reading was given up")))
        };
        // After an error there is nothing more.
        self.left = next.as_ref().map_or(0, |bytes| self.left - bytes.len() as u64);
        Poll::Ready(Some(next))
    }
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
