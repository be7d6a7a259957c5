//! Reads a file: directly if the system has it in memory, otherwise on a blocking thread.

use std::{
    fmt,
    io::Read,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};
use tus_core::client::Error;

use crate::{buffers::Buffers, file::File};

/// Reads a range of a file, piece by piece.
pub(crate) struct FileReader(State);

type Piece = Result<Bytes, Error>;

enum State {
    /// Reads happen on this thread.
    Here(Open),
    /// A blocking thread reads.
    Away(JoinHandle<(Option<Open>, Piece)>),
    Failed,
}

struct Open {
    source: Arc<File>,
    file: std::fs::File,
    left: u64,
    buffers: Buffers,
    /// Consecutive fast reads.
    quick: u32,
}

/// The maximum duration of a fast read.
const QUICK: Duration = Duration::from_millis(5);

/// After this many fast reads in a row, the next one is expected to be fast, too.
const ENOUGH: u32 = 16;

impl FileReader {
    /// Opens the file on a thread, and reads the first piece there.
    pub(crate) fn open(source: Arc<File>, range: Range<u64>) -> Self {
        Self(State::Away(spawn_blocking(move || match source.open_at(range.start) {
            Ok(file) => {
                let left = range.end - range.start;
                Open { source, file, left, buffers: Buffers::default(), quick: ENOUGH }.read_away()
            }
            Err(error) => (None, Err(error)),
        })))
    }

    /// The next piece. Must not be called at the end.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        loop {
            match std::mem::replace(&mut self.0, State::Failed) {
                State::Here(mut open) if open.quick >= ENOUGH => {
                    let piece = open.read();
                    self.0 = State::Here(open);
                    return Poll::Ready(piece);
                }
                State::Here(open) => self.0 = State::Away(spawn_blocking(move || open.read_away())),
                State::Away(mut away) => {
                    let Poll::Ready(done) = Pin::new(&mut away).poll(context) else {
                        self.0 = State::Away(away);
                        return Poll::Pending;
                    };
                    let (open, piece) = done.unwrap_or_else(|error| (None, Err(Error::unreadable("file", error))));
                    self.0 = open.map_or(State::Failed, State::Here);
                    return Poll::Ready(piece);
                }
                State::Failed => return Poll::Ready(Err(Error::unreadable("file", "reading it has failed before"))),
            }
        }
    }
}

impl Open {
    fn read(&mut self) -> Piece {
        let began = Instant::now();
        let Self { source, file, left, buffers, quick } = self;
        let piece = buffers.fill(*left, |buffer| file.read_exact(buffer)).map_err(|error| source.unreadable(error))?;
        *left -= piece.len() as u64;
        if *left == 0 {
            // The last bytes are held back if what was read before them may be a mixture of old and new.
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

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileReader(..)")
    }
}
