//! Bytes of a source in transit.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tus_core::client::Error;

use crate::{file::File, file_reader::FileReader};

/// A number of bytes, piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    from: From,
    left: u64,
}

#[derive(Debug)]
enum From {
    /// They have been read already.
    Kept(VecDeque<Bytes>),
    File(FileReader),
    /// A task reads ahead.
    Task(Receiver<Result<Bytes, Error>>),
    Failed(Option<Error>),
}

/// The most bytes that a connection gets at once, so that it can stop in between.
const PIECE: usize = 64 * 1024;

impl Pieces {
    /// Bytes that have been read already.
    pub(crate) fn kept(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { from: From::Kept(pieces.into()), left }
    }

    pub(crate) fn file(file: Arc<File>, range: Range<u64>) -> Self {
        let left = range.end - range.start;
        Self { from: From::File(FileReader::open(file, range)), left }
    }

    /// Bytes that a task reads ahead.
    pub(crate) fn task<R>(left: u64, read: impl FnOnce(Sender<Result<Bytes, Error>>) -> R) -> Self
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(read(sender));
        Self { from: From::Task(receiver), left }
    }

    pub(crate) fn failed(left: u64, error: Error) -> Self {
        Self { from: From::Failed(Some(error)), left }
    }

    /// The remaining bytes.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = match &mut self.from {
            From::Kept(pieces) => pieces.pop_front().map(|mut piece| {
                if piece.len() > PIECE {
                    pieces.push_front(piece.split_off(PIECE));
                }
                Ok(piece)
            }),
            From::File(reader) => Some(ready!(reader.poll_next(context))),
            From::Task(receiver) => ready!(receiver.poll_recv(context)),
            From::Failed(error) => error.take().map(Err),
        };
        let next = next.unwrap_or_else(|| Err(Error::unreadable("source", "its reader ended early")));
        // Nothing follows an error.
        self.left = next.as_ref().map_or(0, |piece| self.left - piece.len() as u64);
        Poll::Ready(Some(next))
    }
}
