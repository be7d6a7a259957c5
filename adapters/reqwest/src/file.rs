//! A file as it was when its upload began.

use std::{fs::Metadata, io, path::PathBuf, time::SystemTime};

use tus_core::client::{Error, SourceProblem};

/// A file, as it was when the source was created.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    state: State,
}

/// What changes when a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
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
        Self { path, length: state.length, state }
    }

    pub(crate) fn unreadable(&self, error: io::Error) -> Error {
        Error::unreadable(self.path.display().to_string(), error)
    }

    /// The file at a position, if it has not changed since the upload began.
    pub(crate) fn open_at(&self, start: u64) -> Result<std::fs::File, Error> {
        use std::io::Seek;
        let mut file = std::fs::File::open(&self.path).map_err(|error| self.unreadable(error))?;
        self.check(&file)?;
        file.seek(io::SeekFrom::Start(start)).map_err(|error| self.unreadable(error))?;
        Ok(file)
    }

    /// Fails if the file is not what it was when the upload began.
    pub(crate) fn check(&self, file: &std::fs::File) -> Result<(), Error> {
        let metadata = file.metadata().map_err(|error| self.unreadable(error))?;
        match State::of(&metadata) == self.state {
            true => Ok(()),
            false => Err(Error::source_is(SourceProblem::Changed(self.path.display().to_string()))),
        }
    }
}
