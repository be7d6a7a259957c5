//! Opens a directory.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    Sqlite,
    database::Database,
    error::OpenError,
    files::Files,
    inner::{Durability, Inner},
    queries,
    reserve::Reserve,
};

/// SQLite counts milliseconds in 32 bits.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Settings for opening a directory.
///
/// ```
/// use tus_sqlite::{Durability, Sqlite};
///
/// # fn main() -> Result<(), tus_sqlite::OpenError> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let directory = directory.path();
/// let sqlite = Sqlite::options().durability(Durability::Buffered).open(directory)?;
/// # Ok(())
/// # }
/// ```
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

impl Options {
    /// What an acknowledged offset survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long to wait for another process that writes to the database; 5 s by default, at most 24 days.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.min(LONGEST);
        self
    }

    /// Opens a directory, and creates it if it is missing. It blocks.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Stored data is not changed.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Sqlite, OpenError> {
        let directory = directory.as_ref();
        let failed = |error| OpenError::Directory(directory.to_owned(), error);
        let files = Files::open(&directory.join("uploads")).map_err(failed)?;
        let path = directory.join("uploads.db");
        if !path.exists() && !files.is_empty().map_err(failed)? {
            tracing::warn!(path = %path.display(), "the database is missing; the files in uploads/ no longer belong to any upload and are left alone");
        }
        let reserve = Arc::new(Reserve::open(&directory.join("uploads.reserve")).map_err(failed)?);
        let open = || -> Result<_, OpenError> {
            let synced = self.durability == Durability::Synced;
            Ok(Database::open(&path, synced, self.busy_timeout, reserve.clone(), || files.ids())?)
        };
        let database = match open() {
            // The disk may be full: the log, which is deleted when the last process ends, then cannot be created.
            Err(OpenError::Database(_)) if reserve.is_complete().map_err(failed)? => {
                let locked = reserve.lock().map_err(failed)?;
                locked.release().map_err(failed)?;
                open()?
            }
            opened => opened?,
        };
        while files.is_empty().map_err(failed)? {
            // Other processes may create and remove uploads meanwhile: one that has bytes before and after had a file.
            let Some(upload) = database.read(queries::any_with_bytes)? else { break };
            let is_empty = files.is_empty().map_err(failed)?;
            if is_empty && database.read(|connection| queries::has_bytes(connection, &upload))? {
                return Err(OpenError::FilesMissing(directory.join("uploads")));
            }
        }
        let sqlite = Sqlite::over(Inner::new(database, files, reserve, self.durability));
        if let Err(error) = sqlite.clean_all() {
            tracing::warn!(%error, "files of removed uploads could not be deleted");
        }
        Ok(sqlite)
    }
}

impl Sqlite {
    /// Opens a directory with the default [`Options`], and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(directory)
    }

    /// Settings for opening a directory differently.
    pub fn options() -> Options {
        Options::default()
    }
}
