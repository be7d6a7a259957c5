//! URLs of unfinished uploads in a SQLite database.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::UrlStore;

/// Stores URLs in a table of a SQLite database, which several threads and processes may share.
#[derive(Debug)]
pub struct SqliteStore(Mutex<Connection>);

/// How long a process waits for another.
const PATIENCE: Duration = Duration::from_secs(10);

impl SqliteStore {
    /// Opens the database of this name, and creates it if it is missing. It may contain tables of the application.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let connection = Connection::open(path).map_err(io::Error::other)?;
        connection.busy_timeout(PATIENCE).map_err(io::Error::other)?;
        let table = "CREATE TABLE IF NOT EXISTS tus_urls (key TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL) STRICT";
        connection.execute_batch(table).map_err(io::Error::other)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn execute(&self, sql: &str, params: impl Params) -> io::Result<()> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(sql, params).map(drop).map_err(io::Error::other)
    }
}

impl UrlStore for SqliteStore {
    fn get(&self, key: &str) -> io::Result<Option<String>> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let url = connection.query_row("SELECT url FROM tus_urls WHERE key = ?", [key], |row| row.get(0));
        url.optional().map_err(io::Error::other)
    }

    fn set(&self, key: &str, url: &str) -> io::Result<()> {
        let sql = "INSERT INTO tus_urls (key, url) VALUES (?, ?) ON CONFLICT DO UPDATE SET url = excluded.url";
        self.execute(sql, params![key, url])
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.execute("DELETE FROM tus_urls WHERE key = ?", [key])
    }
}
