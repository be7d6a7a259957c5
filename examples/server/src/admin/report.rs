//! What a command says beside its output.

use std::{
    fmt,
    io::{self, Write},
};

use crate::say;

/// Reports a problem with one of several uploads; returns `false`.
pub(super) fn report(problem: fmt::Arguments<'_>) -> bool {
    say(problem);
    false
}

/// The output of a command that changes something: its work goes on after its reader has left, and where the output has
/// no room, which is reported once.
pub(super) struct Unread<W> {
    out: W,
    has_failed: bool,
}

impl<W> Unread<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, has_failed: false }
    }

    fn unless_failed<T>(&mut self, written: io::Result<T>, instead: T) -> io::Result<T> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) if !self.has_failed => say(format_args!("the output is incomplete: {error}")),
            Err(_) => {}
            written => return written,
        }
        self.has_failed = true;
        Ok(instead)
    }
}

impl<W: Write> Write for Unread<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let written = if self.has_failed { Ok(text.len()) } else { self.out.write(text) };
        self.unless_failed(written, text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = if self.has_failed { Ok(()) } else { self.out.flush() };
        self.unless_failed(flushed, ())
    }
}
