//! Opening a directory: what it is opened for, and why it may not be usable.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;
use tus_service::StorageError;

use crate::{
    Sqlite,
    database::Database,
    files::Files,
    pace::Pace,
    row,
    shared_sync::SharedSync,
    storage::{CHECKPOINTS, Inner},
};

/// How a directory is opened.
#[derive(Debug, Clone)]
pub struct Options {
    durability: Durability,
    busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Synced, busy_timeout: Duration::from_secs(5) }
    }
}

/// What an acknowledged offset outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: bytes are on the disk before the row that claims them.
    #[default]
    Synced,
    /// A killed process. After a power cut an upload goes on from what is there.
    Buffered,
}

impl Options {
    /// What an acknowledged offset outlives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long is waited for another process that writes to the database; 5 s by default.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Opens a directory, which is made if it is missing. It blocks.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing that is stored is changed then.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Sqlite, OpenError> {
        let directory = directory.as_ref();
        let failed = |error| OpenError::Directory(directory.to_owned(), error);
        let files = Files::open(&directory.join("uploads")).map_err(failed)?;
        let path = directory.join("uploads.db");
        if !path.exists() && !files.is_empty().map_err(failed)? {
            tracing::warn!(path = %path.display(), "the database is missing; files that are in uploads/ belong to no upload now, and are left alone");
        }
        let database = Database::open(&path, self.durability == Durability::Synced, self.busy_timeout, || files.ids())?;
        if files.is_empty().map_err(failed)? && database.read(row::claims_bytes)? {
            return Err(OpenError::FilesMissing(directory.join("uploads")));
        }
        let sqlite = Sqlite::over(Inner {
            database,
            files,
            durability: self.durability,
            reading: Pace::default(),
            writing: Pace::default(),
            naming: SharedSync::default(),
            checkpoints: Arc::new(Semaphore::new(CHECKPOINTS)),
            tidied: Mutex::default(),
        });
        if let Err(error) = sqlite.clean_all() {
            tracing::warn!(%error, "files of removed uploads could not be deleted");
        }
        Ok(sqlite)
    }
}

/// A directory cannot be used as a storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or opened.
    #[error("the directory {0} cannot be used: {1}")]
    Directory(PathBuf, #[source] io::Error),
    /// SQLite cannot open, read or write the database.
    #[error("uploads.db cannot be used: {0}")]
    Database(#[source] Box<dyn Error + Send + Sync>),
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
    Storage(#[from] StorageError),
    /// The thread that writes could not be started.
    #[error("the thread that writes uploads.db cannot be started: {0}")]
    Thread(#[from] io::Error),
}

/// An [`OpenError`] on its way. `?` makes one of rusqlite's errors, too, which the public type has to say nothing of.
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
