//! What can fail: opening a directory, and the database.

use std::{error::Error, io, path::PathBuf};

use rusqlite::ErrorCode;
use tus_service::{Failure, StorageError};

/// A directory cannot be used as a storage. The text says why: there is no other error behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or opened.
    #[error("the directory {0} cannot be used: {1}")]
    Directory(PathBuf, io::Error),
    /// SQLite cannot open, read or write the database.
    #[error("uploads.db cannot be used: {0}")]
    Database(Box<dyn Error + Send + Sync>),
    /// The database was written by a newer version of this crate.
    #[error("{path} has schema version {found}, and this program knows up to {known}: use a newer version of it")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version that is known.
        known: usize,
    },
    /// The database belongs to something else.
    #[error("{0} is a database of another program: choose another directory")]
    Foreign(PathBuf),
    /// The file system cannot share memory between processes, as a network file system.
    #[error("{0} is on a file system where SQLite cannot keep a write-ahead log: use a local one")]
    NoWal(PathBuf),
    /// The database knows of unfinished uploads, and none of their files is there.
    #[error("{0} is empty, and uploads.db knows of bytes in it: is its volume mounted?")]
    FilesMissing(PathBuf),
    /// The database cannot be read.
    #[error("uploads.db cannot be read: {0}")]
    Storage(StorageError),
    /// The thread that writes could not be started.
    #[error("the thread that writes uploads.db cannot be started: {0}")]
    Thread(io::Error),
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// An [`OpenError`] on its way. `?` makes one of rusqlite's errors, too, which the public type does not name.
#[derive(Debug)]
pub(crate) struct Failed(OpenError);

impl From<OpenError> for Failed {
    fn from(error: OpenError) -> Self {
        Self(error)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self(OpenError::Database(error.into()))
    }
}

impl From<Failed> for OpenError {
    fn from(failed: Failed) -> Self {
        failed.0
    }
}

pub(crate) fn sql_error(error: rusqlite::Error) -> StorageError {
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        Some(ErrorCode::DiskFull) => Failure::Full,
        _ => Failure::Internal,
    };
    StorageError::new(failure, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_main_that_fails_says_why_once() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = OpenError::Directory("uploads-data".into(), denied());
        assert_eq!(error.to_string(), "the directory uploads-data cannot be used: permission denied");
        for error in [error, OpenError::Thread(denied()), StorageError::from(denied()).into()] {
            assert!(error.to_string().ends_with(": permission denied"), "{error}");
            assert!(error.source().is_none(), "{error}");
        }
    }
}
