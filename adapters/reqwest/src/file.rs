//! A file as it was when its upload began.

use std::{
    fs::Metadata,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tus_core::client::{Error, SourceProblem};

use crate::buffers::Buffers;

/// A file, as it was when the source was created.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    state: State,
    /// Open files with their buffers, for the next ranges: a new buffer costs more than reading into it.
    spare: Mutex<Vec<Open>>,
}

/// The file, opened.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) file: std::fs::File,
    pub(crate) buffers: Buffers,
    /// Consecutive fast reads, which the reader counts.
    pub(crate) quick: u32,
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    length: u64,
    modified: Option<SystemTime>,
    /// The device, the number of the file, and the time of its last change of any kind.
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl File {
    pub(crate) fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let state = State::of(metadata);
        Self { path, length: state.length, state, spare: Mutex::default() }
    }

    /// The same file, with open files of its own: they are closed when this is dropped.
    pub(crate) fn again(&self) -> Self {
        Self { path: self.path.clone(), length: self.length, state: self.state.clone(), spare: Mutex::default() }
    }

    pub(crate) fn unreadable(&self, error: io::Error) -> Error {
        Error::unreadable(self.path.display().to_string(), error)
    }

    /// An open file that was used before, if there is one.
    pub(crate) fn reopen(&self) -> Option<Open> {
        self.spare().pop()
    }

    pub(crate) fn open(&self) -> Result<std::fs::File, Error> {
        std::fs::File::open(&self.path).map_err(|error| self.unreadable(error))
    }

    /// Keeps an open file for the next range.
    pub(crate) fn keep(&self, open: Open) {
        self.spare().push(open);
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Open>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if the file has changed since the upload began.
    pub(crate) fn check(&self, file: &std::fs::File) -> Result<(), Error> {
        let metadata = file.metadata().map_err(|error| self.unreadable(error))?;
        match State::of(&metadata) == self.state {
            true => Ok(()),
            false => Err(Error::source_is(SourceProblem::Changed(self.path.display().to_string()))),
        }
    }
}
