//! URLs of unfinished uploads in a SQLite database.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use tus_core::client::Protocol;

use crate::{Entry, UrlStore};

/// Stores URLs in a table of a SQLite database, which several threads and processes may share.
///
/// ```
/// use tus_reqwest::{Client, Fingerprint, SqliteStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("uploads.db");
/// let urls = SqliteStore::open(path)?;
/// let client = Client::builder("https://example.org/files").url_store(urls, Fingerprint::Content).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// How long a process waits for another.
const PATIENCE: Duration = Duration::from_secs(10);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS tus_urls (key TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, \
                     created INTEGER, length INTEGER, metadata TEXT NOT NULL DEFAULT '', \
                     protocol TEXT NOT NULL DEFAULT 'tus') STRICT";

/// What an earlier version's table lacks.
const ADDED: [(&str, &str); 4] = [
    ("created", "INTEGER"),
    ("length", "INTEGER"),
    ("metadata", "TEXT NOT NULL DEFAULT ''"),
    ("protocol", "TEXT NOT NULL DEFAULT 'tus'"),
];

impl SqliteStore {
    /// Opens the database with this name, and creates it if it is missing, readable only by its owner. It may contain
    /// tables of the application.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let opened = create(&path).and_then(|()| connect(&path).map_err(io::Error::other));
        let connection = opened.map_err(|error| named(&path, error))?;
        Ok(Self { path, connection: Mutex::new(connection) })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: rusqlite::Error) -> io::Error {
        named(&self.path, error)
    }

    fn execute(&self, sql: &str, params: impl Params) -> io::Result<()> {
        self.connection().execute(sql, params).map(drop).map_err(|error| self.failed(error))
    }
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the store {}: {error}", path.display()))
}

/// SQLite would create it readable by others.
fn create(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLE)?;
    for (column, kind) in ADDED {
        let there = "SELECT 1 FROM pragma_table_info('tus_urls') WHERE name = ?";
        if transaction.query_row(there, [column], |_| Ok(())).optional()?.is_none() {
            transaction.execute_batch(&format!("ALTER TABLE tus_urls ADD COLUMN {column} {kind}"))?;
        }
    }
    transaction.commit()?;
    Ok(connection)
}

/// An entry in the columns `url, created, length, metadata, protocol`, from this one on.
fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Entry> {
    let mut entry = Entry::new(row.get::<_, String>(from)?);
    let created: Option<i64> = row.get(from + 1)?;
    let created = created.and_then(|milliseconds| u64::try_from(milliseconds).ok()).map(Duration::from_millis);
    entry.created = created.and_then(|created| SystemTime::UNIX_EPOCH.checked_add(created));
    entry.length = row.get::<_, Option<i64>>(from + 2)?.and_then(|length| u64::try_from(length).ok());
    entry.metadata = row.get(from + 3)?;
    entry.protocol = Protocol::from_name(&row.get::<_, String>(from + 4)?).unwrap_or_default();
    Ok(entry)
}

impl UrlStore for SqliteStore {
    fn get(&self, key: &str) -> io::Result<Option<Entry>> {
        let sql = "SELECT url, created, length, metadata, protocol FROM tus_urls WHERE key = ?";
        let entry = self.connection().query_row(sql, [key], |row| read(row, 0)).optional();
        entry.map_err(|error| self.failed(error))
    }

    fn set(&self, key: &str, entry: &Entry) -> io::Result<()> {
        let created = entry.created.and_then(|created| created.duration_since(SystemTime::UNIX_EPOCH).ok());
        let created = created.and_then(|created| i64::try_from(created.as_millis()).ok());
        let length = entry.length.and_then(|length| i64::try_from(length).ok());
        let sql = "INSERT OR REPLACE INTO tus_urls (key, url, created, length, metadata, protocol) \
                   VALUES (?, ?, ?, ?, ?, ?)";
        self.execute(sql, params![key, entry.url, created, length, entry.metadata, entry.protocol.name()])
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.execute("DELETE FROM tus_urls WHERE key = ?", [key])
    }

    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        let connection = self.connection();
        let listed = || -> rusqlite::Result<Vec<_>> {
            let sql = "SELECT key, url, created, length, metadata, protocol FROM tus_urls ORDER BY key";
            let mut all = connection.prepare(sql)?;
            all.query_map([], |row| Ok((row.get(0)?, read(row, 1)?)))?.collect()
        };
        listed().map_err(|error| self.failed(error))
    }

    fn check(&self) -> io::Result<()> {
        self.connection().execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|error| self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_of_an_earlier_version_is_extended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.db");
        let old = "CREATE TABLE tus_urls (key TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL) STRICT;
                   INSERT INTO tus_urls VALUES ('a', 'http://x/1')";
        Connection::open(&path).unwrap().execute_batch(old).unwrap();
        for _ in 0..2 {
            let store = SqliteStore::open(&path).unwrap();
            let entry = store.get("a").unwrap().unwrap();
            assert_eq!((&*entry.url, entry.created, &*entry.metadata), ("http://x/1", None, ""));
            assert_eq!(entry.protocol, Protocol::Tus);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.db");
        SqliteStore::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_error_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.db");
        std::fs::write(&path, "my diary, which is longer than the header of a database would be".repeat(9)).unwrap();
        let error = SqliteStore::open(&path).unwrap_err().to_string();
        assert!(error.contains("urls.db") && error.contains("not a database"), "{error}");
    }
}
