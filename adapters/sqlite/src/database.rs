//! The database: one connection that writes, with a queue before it, and others beside it that read.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tus_service::{Failure, StorageError, UploadId};

use crate::{
    OpenError,
    changes::{Changes, gone},
    open::Failed,
    row::{self, MIGRATIONS},
};

/// Marks the file as ours ("tus1").
const APPLICATION_ID: i32 = 0x7475_7331;

/// Connections for reading that are kept open, at most: to open one costs more than many reads.
const READERS: usize = 32;

/// Bytes of the database that each of them remembers, at most, in KiB: the system remembers the rest.
const READER_CACHE: i32 = 2048;

pub(crate) struct Database {
    path: PathBuf,
    opened: Opened,
    busy_timeout: Duration,
    changes: Arc<Changes>,
    readers: Mutex<Vec<Connection>>,
}

impl Database {
    /// Opens the database, which is made if it is missing: then `strangers` are the files that are there
    /// already. `synced` says whether a commit waits for the disk.
    pub(crate) fn open<I: Iterator<Item = UploadId>>(
        path: &Path,
        synced: bool,
        busy_timeout: Duration,
        strangers: impl FnOnce() -> io::Result<I>,
    ) -> Result<Arc<Self>, Failed> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout)?;
        migrate(&mut connection, path, strangers)?;
        let journal: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if journal != "wal" {
            return Err(OpenError::NoWal(path.to_owned()).into());
        }
        connection.pragma_update(None, "synchronous", if synced { "FULL" } else { "NORMAL" })?;
        // Reading opens the log, too.
        connection.query_row("SELECT count(*) FROM removed", [], |_| Ok(()))?;
        let opened = Opened::now(path)?;
        let changes = Arc::new(Changes::new(connection, busy_timeout, opened.clone(), synced)?);
        let on_thread = changes.clone();
        thread::Builder::new().name("tus-sqlite".into()).spawn(move || on_thread.run()).map_err(OpenError::Thread)?;
        Ok(Arc::new(Self { path: path.to_owned(), opened, busy_timeout, changes, readers: Mutex::default() }))
    }

    /// Runs `operation` on the connection that writes. It is durable when this returns.
    ///
    /// An operation that fails for a reason of its own (a conflict) must not have changed anything.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.changes.add(operation).await.map_err(|_| gone())?
    }

    /// Runs `operation` on the connection that writes some time. It may be lost.
    pub(crate) fn write_later(&self, operation: impl FnOnce(&Connection) -> Result<(), StorageError> + Send + 'static) {
        let logged = move |connection: &Connection| {
            let result = operation(connection);
            if let Err(error) = &result {
                tracing::warn!(%error, "the database could not be tidied up");
            }
            result
        };
        drop(self.changes.add(logged));
    }

    /// Runs `operation` on a connection that sees all that was committed. It blocks.
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

/// The files that a database consists of, as they were opened. A commit to one that has lost its name would
/// be gone with the process.
#[derive(Clone)]
pub(crate) struct Opened(Vec<(PathBuf, Identity)>);

/// Device and inode.
type Identity = (u64, u64);

impl Opened {
    fn now(path: &Path) -> Result<Self, OpenError> {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let files = [path.to_owned(), log.into()];
        let identities = files.into_iter().map(|file| match identity(&file) {
            Ok(identity) => Ok((file, identity)),
            Err(error) => Err(OpenError::Directory(file, error)),
        });
        Ok(Self(identities.collect::<Result<_, _>>()?))
    }

    pub(crate) fn check(&self) -> Result<(), StorageError> {
        match self.0.iter().find(|(file, opened)| identity(file).ok() != Some(*opened)) {
            None => Ok(()),
            Some((file, _)) => {
                let reason = format!(
                    "{} was moved, deleted or replaced under the running server: put it back, or start again",
                    file.display()
                );
                Err(StorageError::new(Failure::Internal, reason))
            }
        }
    }
}

fn identity(file: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(file).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Brings the schema up to date. Migrations only add, and run under the write lock, so that processes
/// that start together don't run them twice.
fn migrate<I: Iterator<Item = UploadId>>(
    connection: &mut Connection,
    path: &Path,
    strangers: impl FnOnce() -> io::Result<I>,
) -> Result<(), Failed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i32 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()).into());
    }
    let version = version as usize;
    let pending = MIGRATIONS.get(version..).ok_or_else(|| OpenError::Newer {
        path: path.to_owned(),
        found: version,
        known: MIGRATIONS.len(),
    })?;
    if pending.is_empty() {
        return Ok(());
    }
    for migration in pending {
        transaction.execute_batch(migration)?;
    }
    if version == 0 {
        for id in strangers().map_err(|error| OpenError::Directory(path.to_owned(), error))? {
            row::note_stray(&transaction, &id, None).map_err(OpenError::Storage)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    Ok(transaction.commit()?)
}

pub(crate) fn sql_error(error: rusqlite::Error) -> StorageError {
    let failure = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
        Some(ErrorCode::DiskFull) => Failure::Full,
        _ => Failure::Internal,
    };
    StorageError::new(failure, error)
}
