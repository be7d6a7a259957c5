//! Streams: bytes that can be read once, and are kept as long as the server may need them again.

use std::{
    collections::VecDeque,
    io::{self, Read},
    ops::Range,
};

use bytes::{Buf, Bytes};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tus_core::client::{Error, SourceProblem};

pub(crate) type Items = BoxStream<'static, io::Result<Bytes>>;

/// A stream, and the bytes read from it that may be needed again.
pub(crate) struct Stream {
    items: Items,
    kept: VecDeque<Bytes>,
    /// The positions of the bytes in `kept`.
    range: Range<u64>,
    ended: bool,
}

/// Bytes that a blocking reader reads at once.
const PIECE: usize = 64 * 1024;

impl Stream {
    pub(crate) fn new(items: Items) -> Self {
        Self { items, kept: VecDeque::new(), range: 0..0, ended: false }
    }

    /// Reads until the range or the stream ends; discards what is before it. Returns the position after the bytes in
    /// memory.
    pub(crate) async fn fill(&mut self, range: &Range<u64>) -> Result<u64, Error> {
        if range.start < self.range.start {
            return Err(Error::source_is(SourceProblem::Past(range.start)));
        }
        self.discard(range.start);
        while self.range.end < range.end && !self.ended {
            match self.items.next().await {
                Some(Ok(item)) => {
                    self.range.end += item.len() as u64;
                    self.kept.push_back(item);
                    self.discard(range.start);
                }
                Some(Err(error)) => return Err(Error::unreadable("stream", error)),
                None => self.ended = true,
            }
        }
        Ok(self.range.end)
    }

    fn discard(&mut self, until: u64) {
        while let Some(first) = self.kept.front_mut().filter(|_| self.range.start < until) {
            let before =
                usize::try_from(until - self.range.start).map_or(first.len(), |before| before.min(first.len()));
            first.advance(before);
            self.range.start += before as u64;
            if first.is_empty() {
                self.kept.pop_front();
            }
        }
    }

    /// Bytes that are in memory.
    pub(crate) fn slice(&self, range: &Range<u64>) -> Result<Vec<Bytes>, Error> {
        if range.start < self.range.start || range.end > self.range.end {
            return Err(Error::source_is(SourceProblem::Past(range.start)));
        }
        let mut at = self.range.start;
        let pieces = self.kept.iter().filter_map(|piece| {
            let start = at;
            at += piece.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(at));
            (from < to).then(|| piece.slice((from - start) as usize..(to - start) as usize))
        });
        Ok(pieces.collect())
    }
}

/// The bytes of a blocking reader, which a separate thread reads. The thread starts with the first request for bytes
/// and ends with the reader; nothing waits for it.
pub(crate) fn blocking<R: Read>(open: impl FnOnce() -> io::Result<R> + Send + 'static) -> Items {
    let mut open = Some(open);
    let mut receiver = None;
    stream::poll_fn(move |context| {
        if let Some(open) = open.take() {
            let (sender, receives) = mpsc::channel(2);
            let failed = sender.clone();
            receiver = Some(receives);
            let thread = std::thread::Builder::new().name("tus-source".into());
            if let Err(error) = thread.spawn(move || read(open, &sender)) {
                // There is room, because nothing has been sent yet.
                let _ = failed.try_send(Err(error));
            }
        }
        receiver.as_mut().map_or(std::task::Poll::Ready(None), |receiver| receiver.poll_recv(context))
    })
    .boxed()
}

fn read<R: Read>(open: impl FnOnce() -> io::Result<R>, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut reader = match open() {
        Ok(reader) => reader,
        Err(error) => return drop(sender.blocking_send(Err(error))),
    };
    let mut buffer = vec![0; PIECE];
    loop {
        let item = match reader.read(&mut buffer) {
            Ok(0) => return,
            // A pipe may return a few bytes at a time, and each piece is kept until it is acknowledged.
            Ok(read) if read <= PIECE / 2 => Ok(Bytes::copy_from_slice(&buffer[..read])),
            Ok(read) => {
                let mut piece = std::mem::replace(&mut buffer, vec![0; PIECE]);
                piece.truncate(read);
                Ok(piece.into())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = item.is_err();
        if sender.blocking_send(item).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn bytes_stay_until_they_are_acknowledged() {
        let items = ["hello", "", " wor", "ld"].map(|text| Ok(Bytes::from(text)));
        let mut stream = Stream::new(stream::iter(items).boxed());
        assert_eq!(stream.fill(&(0..3)).await.unwrap(), 5);
        assert_eq!(stream.fill(&(3..7)).await.unwrap(), 9);
        assert_eq!(stream.slice(&(3..7)).unwrap().concat(), b"lo w");
        assert_eq!(stream.slice(&(4..9)).unwrap().concat(), b"o wor");
        assert!(stream.slice(&(2..4)).is_err() && stream.fill(&(2..4)).await.is_err());
        assert_eq!(stream.fill(&(9..100)).await.unwrap(), 11);
        assert_eq!(stream.slice(&(9..11)).unwrap().concat(), b"ld");
    }

    #[tokio::test]
    async fn a_blocking_reader_is_read_by_its_own_thread() {
        let long = vec![7; 3 * PIECE + 1];
        let mut stream = Stream::new(blocking({
            let long = long.clone();
            || Ok(io::Cursor::new(long))
        }));
        assert_eq!(stream.fill(&(0..u64::MAX)).await.unwrap(), long.len() as u64);
        // Reads of ten bytes keep ten bytes each.
        let mut pieces = blocking(|| Ok(Read::chain(io::Cursor::new([7; 10]), io::Cursor::new(vec![8; PIECE]))));
        for length in [10, PIECE] {
            let piece = pieces.next().await.unwrap().unwrap();
            assert_eq!(piece.len(), length);
            assert_eq!(piece.try_into_mut().unwrap().capacity(), length);
        }
        let missing = blocking(|| std::fs::File::open("/nowhere/at/all"));
        let error = Stream::new(missing).fill(&(0..1)).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::NotFound);
    }
}
