//! The database: one connection that writes, behind a queue, and others that read.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;
use tus_service::{StorageError, UploadId};

use crate::{
    changes::Changes,
    error::{Failed, OpenError, sql_error},
    job::{Nature, WhenFull, gone},
    opened::Opened,
    private,
    reserve::Reserve,
    schema,
};

/// The most connections for reading that are kept open: opening one costs more than many reads.
const READERS: usize = 32;

/// The most memory that each of them uses as a cache, in KiB. The system caches the rest.
const READER_CACHE: i32 = 2048;

const NATURE: Nature = Nature { when_full: WhenFull::Fail, bytes: 0, deletes_files: false };
const REMOVAL: Nature = Nature { when_full: WhenFull::UseReserve, ..NATURE };

pub(crate) struct Database {
    path: PathBuf,
    opened: Arc<Opened>,
    busy_timeout: Duration,
    changes: Arc<Changes>,
    readers: Mutex<Vec<Connection>>,
    name: [u8; 16],
}

impl Database {
    /// Opens the database, and creates it if it is missing; in that case `strangers` are the files that already
    /// exist. `synced` states whether a commit waits for the disk; `reserve` provides room for removals on a full
    /// disk.
    pub(crate) fn open<I: Iterator<Item = UploadId>>(
        path: &Path,
        synced: bool,
        busy_timeout: Duration,
        reserve: Arc<Reserve>,
        strangers: impl FnOnce() -> io::Result<I>,
    ) -> Result<Arc<Self>, Failed> {
        private::database(path).map_err(|error| OpenError::Directory(path.to_owned(), error))?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout)?;
        schema::migrate(&mut connection, path, strangers)?;
        let journal: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if journal != "wal" {
            return Err(OpenError::NoWal(path.to_owned()).into());
        }
        connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
        // On Apple's systems a plain fsync leaves bytes in the cache of the disk. Elsewhere these change nothing.
        connection.pragma_update(None, "fullfsync", synced)?;
        connection.pragma_update(None, "checkpoint_fullfsync", synced)?;
        // Reading opens the log, too.
        let name = connection.query_row("SELECT randomblob(16), count(*) FROM removed", [], |row| row.get(0))?;
        let opened = Arc::new(Opened::now(path)?);
        let changes = Changes::start(connection, busy_timeout, opened.clone(), reserve)?;
        Ok(Arc::new(Self { path: path.to_owned(), opened, busy_timeout, changes, readers: Mutex::default(), name }))
    }

    /// Identifies this handle to others that have opened the same file: random bytes.
    pub(crate) fn name(&self) -> &[u8; 16] {
        &self.name
    }

    /// Runs `operation` on the connection that writes. It is durable when this returns.
    ///
    /// It is undone if it fails, and fails alone unless the reason lies with the database. It is repeated if the
    /// transaction was rolled back for another operation, so what it does to files must be right then, too.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.changes.add(NATURE, operation).await.map_err(|_| gone())?
    }

    /// The same for a record of which this many bytes are written.
    pub(crate) async fn write_large<T: Send + 'static>(
        &self,
        bytes: usize,
        operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.changes.add(Nature { bytes, ..NATURE }, operation).await.map_err(|_| gone())?
    }

    /// The same for removals and what they need, which find room on a full disk, too.
    pub(crate) async fn remove<T: Send + 'static>(
        &self,
        operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.changes.add(REMOVAL, operation).await.map_err(|_| gone())?
    }

    /// Runs a removal at some later time. It may be lost. One that deletes files runs before the others of its
    /// transaction.
    pub(crate) fn remove_later<T: Send + 'static>(
        &self,
        deletes_files: bool,
        mut operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StorageError>> {
        let logged = move |connection: &Connection| {
            let result = operation(connection);
            if let Err(error) = &result {
                tracing::warn!(%error, "the database could not be cleaned up");
            }
            result
        };
        self.changes.add(Nature { deletes_files, ..REMOVAL }, logged)
    }

    /// The directory of the database's files.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Runs `operation` on a connection that sees all committed changes. It blocks.
    pub(crate) fn read<T>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = self.reader().map_err(sql_error)?;
                self.opened.check()?;
                connection
            }
        };
        let result = operation(&connection);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if result.is_ok() && readers.len() < READERS {
            readers.push(connection);
        }
        result
    }

    fn reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE)?;
        Ok(connection)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.changes.close();
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.path).finish()
    }
}
