//! Waits for a line that a program prints.

use std::{
    io::{BufRead, BufReader, Read},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// How long a test waits for a line before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lines that a program prints.
pub(crate) struct Lines(Receiver<String>);

/// Reads all that a program prints, so that it never blocks on a full pipe.
pub(crate) fn read(output: impl Read + Send + 'static) -> Lines {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Perhaps nobody waits any more.
            let _ = sender.send(line);
        }
    });
    Lines(receiver)
}

impl Lines {
    /// What `find` returns for one of the next lines.
    #[track_caller]
    pub(crate) fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let mut log = String::new();
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(line) => match find(&line) {
                    Some(found) => return found,
                    None => log += &(line + "\n"),
                },
                Err(why) => panic!("the line was not printed ({why}):\n{log}"),
            }
        }
    }
}
