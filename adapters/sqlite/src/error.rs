//! Errors of opening a directory and of the database.

use std::{error::Error, io, path::PathBuf};

use rusqlite::ErrorCode;
use tus_service::{Failure, StorageError};

/// Why a directory cannot be used as a storage. The text contains the reason; there is no source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be created or opened.
    #[error("the directory {0} cannot be used: {1}")]
    Directory(PathBuf, io::Error),
    /// SQLite cannot open, read or write the database.
    #[error("uploads.db cannot be used: {0}")]
    Database(Box<dyn Error + Send + Sync>),
    /// The database was written by a newer version of this crate.
    #[error(
        "{path} has schema version {found}, but this program supports versions up to {known}: use a newer version of the program"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest supported version.
        known: usize,
    },
    /// The database belongs to something else.
    #[error("{0} belongs to another program: choose another directory")]
    Foreign(PathBuf),
    /// The file system does not support memory shared between processes, for example a network file system.
    #[error("{0} is on a file system where SQLite cannot keep a write-ahead log: use a local one")]
    NoWal(PathBuf),
    /// The database refers to unfinished uploads, but none of their files exists.
    #[error("{0} is empty, but uploads.db refers to bytes in it: is its volume mounted?")]
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

/// An [`OpenError`] in the making. `?` also converts rusqlite's errors, which the public type does not name.
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
    fn an_error_is_printed_once() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = OpenError::Directory("uploads-data".into(), denied());
        assert_eq!(error.to_string(), "the directory uploads-data cannot be used: permission denied");
        for error in [error, OpenError::Thread(denied()), StorageError::from(denied()).into()] {
            assert!(error.to_string().ends_with(": permission denied"), "{error}");
            assert!(error.source().is_none(), "{error}");
        }
    }
}
