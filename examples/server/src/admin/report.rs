//! What a command says beside its output.

use std::{
    fmt,
    io::{self, Write},
};

/// Reports a problem with one of several uploads; returns `false`.
pub(super) fn report(problem: fmt::Arguments<'_>) -> bool {
    // If nobody reads it, the exit code still shows that there was one.
    let _ = writeln!(io::stderr(), "tus-serve: {problem}");
    false
}

/// The output of a command that changes something: its work goes on after its reader has left.
pub(super) struct Unread<W>(pub(super) W);

impl<W: Write> Write for Unread<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.0.write(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(text.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}
