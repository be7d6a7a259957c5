//! Reads a file: directly if the system has it cached, otherwise on a blocking thread.

use std::{
    fmt,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tus_core::client::Error;

use crate::{
    buffers::Buffers,
    file::{File, Open},
};

/// Reads a range of a file, piece by piece.
pub(crate) struct FileReader(State);

type Piece = Result<Bytes, Error>;

enum State {
    /// Reads happen on this thread if they are fast.
    Here(Reading),
    /// A blocking thread reads.
    Away(JoinHandle<(Option<Reading>, Piece)>),
    Failed,
}

/// A range of a file. When this is dropped, the open file is kept for the next one.
struct Reading {
    source: Arc<File>,
    /// `None` before the first read of a file that has to be opened.
    open: Option<Open>,
    /// The position to go to before the first read.
    start: Option<u64>,
    left: u64,
}

/// The maximum duration of a fast read.
const QUICK: Duration = Duration::from_millis(5);

/// After this many fast reads in a row, the next one is expected to be fast, too.
const ENOUGH: u32 = 16;

impl FileReader {
    /// A file is opened on a thread, which also reads the first piece.
    pub(crate) fn open(source: Arc<File>, range: Range<u64>) -> Self {
        let (open, start, left) = (source.reopen(), Some(range.start), range.end - range.start);
        Self(State::Here(Reading { source, open, start, left }))
    }

    /// The next piece. Must not be called at the end.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        loop {
            match std::mem::replace(&mut self.0, State::Failed) {
                State::Here(mut reading) if reading.is_quick() => {
                    let piece = reading.read();
                    self.0 = State::Here(reading);
                    return Poll::Ready(piece);
                }
                State::Here(reading) => self.0 = State::Away(spawn_blocking(move || reading.read_away())),
                State::Away(mut away) => {
                    let Poll::Ready(done) = Pin::new(&mut away).poll(context) else {
                        self.0 = State::Away(away);
                        return Poll::Pending;
                    };
                    let (reading, piece) = done.unwrap_or_else(|error| (None, Err(Error::unreadable("file", error))));
                    self.0 = reading.map_or(State::Failed, State::Here);
                    return Poll::Ready(piece);
                }
                State::Failed => return Poll::Ready(Err(Error::unreadable("file", "an earlier read of it failed"))),
            }
        }
    }
}

impl Reading {
    fn is_quick(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.quick >= ENOUGH)
    }

    fn read(&mut self) -> Piece {
        let began = Instant::now();
        let Self { source, open, start, left } = self;
        let Open { file, buffers, quick } = match open {
            Some(open) => open,
            None => open.insert(Open { file: source.open()?, buffers: Buffers::default(), quick: ENOUGH }),
        };
        if let Some(start) = start.take() {
            source.check(file)?;
            file.seek(SeekFrom::Start(start)).map_err(|error| source.unreadable(error))?;
        }
        let piece = buffers.fill(*left, |buffer| file.read_exact(buffer)).map_err(|error| source.unreadable(error))?;
        *left -= piece.len() as u64;
        if *left == 0 {
            // The last bytes are held back if the bytes before them may be a mixture of old and new.
            source.check(file)?;
        }
        *quick = if began.elapsed() > QUICK { 0 } else { quick.saturating_add(1) };
        Ok(piece)
    }

    fn read_away(mut self) -> (Option<Self>, Piece) {
        let piece = self.read();
        (Some(self), piece)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.source.keep(open);
        }
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileReader(..)")
    }
}
