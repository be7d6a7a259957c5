//! How much each user has, in a table beside the storage: each upload has a row from before its creation until after
//! its deletion. Any number of processes share the table: the sum is read and the row inserted in one transaction.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum_tus::{Storage, StorageError, Upload, UploadId};
use rusqlite::{Connection, TransactionBehavior, params};

/// An older row without an upload was left by a killed process: no creation takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Quotas {
    table: Arc<Mutex<Connection>>,
    storage: Arc<dyn Storage>,
    /// The limits of each user.
    most: Used,
}

/// A user's uploads, and the bytes that they have or will have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) uploads: u64,
}

/// The user has too little room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// The bytes that are left.
    Bytes(u64),
    /// The number of the user's uploads.
    Uploads(u64),
}

impl Quotas {
    pub(crate) fn open(path: &Path, storage: Arc<dyn Storage>, most: Used) -> rusqlite::Result<Self> {
        let table = Connection::open(path)?;
        table.busy_timeout(Duration::from_secs(5))?;
        table.pragma_update(None, "journal_mode", "WAL")?;
        // Rows that a power cut loses are inserted again at the start.
        table.pragma_update(None, "synchronous", "NORMAL")?;
        table.execute_batch(
            "CREATE TABLE IF NOT EXISTS used
                 (id TEXT PRIMARY KEY, owner TEXT NOT NULL, bytes INTEGER NOT NULL, since INTEGER NOT NULL);
             CREATE INDEX IF NOT EXISTS used_owner ON used (owner)",
        )?;
        Ok(Self { table: Arc::new(Mutex::new(table)), storage, most })
    }

    /// Reserves room for an upload that is about to be created.
    pub(crate) async fn reserve(
        &self,
        id: &UploadId,
        owner: &str,
        bytes: u64,
    ) -> Result<Result<(), Exceeded>, StorageError> {
        let reserved = self.try_to_reserve(id, owner, bytes).await?;
        if reserved.is_err() && self.forget_leftovers(owner).await? {
            return self.try_to_reserve(id, owner, bytes).await;
        }
        Ok(reserved)
    }

    /// An upload was deleted, or was not created after all.
    pub(crate) async fn release(&self, id: &UploadId) -> Result<(), StorageError> {
        let id = id.to_string();
        self.with(move |table| table.execute("DELETE FROM used WHERE id = ?", [id]).map(drop)).await
    }

    /// Counts an upload that is older than the table.
    pub(crate) async fn count(&self, upload: &Upload) -> Result<(), StorageError> {
        let Some(owner) = upload.owner.clone() else { return Ok(()) };
        let (id, bytes) = (upload.id.to_string(), upload.length.unwrap_or(upload.offset) as i64);
        let sql = "INSERT INTO used (id, owner, bytes, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        self.with(move |table| table.execute(sql, params![id, owner, bytes, now()]).map(drop)).await
    }

    async fn try_to_reserve(
        &self,
        id: &UploadId,
        owner: &str,
        bytes: u64,
    ) -> Result<Result<(), Exceeded>, StorageError> {
        let (id, owner, most) = (id.to_string(), owner.to_owned(), self.most);
        self.with(move |table| {
            // Nobody else reads the sum until the row exists.
            let transaction = table.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "SELECT coalesce(sum(bytes), 0), count(*) FROM used WHERE owner = ?";
            let used = transaction.query_row(sql, [&owner], |row| {
                Ok(Used { bytes: row.get::<_, i64>(0)? as u64, uploads: row.get::<_, i64>(1)? as u64 })
            })?;
            let left = most.bytes.saturating_sub(used.bytes);
            if bytes > left {
                return Ok(Err(Exceeded::Bytes(left)));
            }
            if used.uploads >= most.uploads {
                return Ok(Err(Exceeded::Uploads(used.uploads)));
            }
            let sql = "INSERT INTO used (id, owner, bytes, since) VALUES (?, ?, ?, ?)";
            transaction.execute(sql, params![id, owner, bytes as i64, now()])?;
            transaction.commit()?;
            Ok(Ok(()))
        })
        .await
    }

    /// Deletes the rows of uploads that a process reserved room for but did not create because it was killed, or that
    /// it deleted without calling the hook. Returns whether there were any.
    async fn forget_leftovers(&self, owner: &str) -> Result<bool, StorageError> {
        let (owner, before) = (owner.to_owned(), now() - PATIENCE.as_secs() as i64);
        let old = self.with(move |table| {
            let mut old = table.prepare("SELECT id FROM used WHERE owner = ? AND since <= ?")?;
            old.query_map(params![owner, before], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()
        });
        let mut any = false;
        for id in old.await?.iter().filter_map(|id| id.parse::<UploadId>().ok()) {
            if self.storage.load(&id).await?.is_none() {
                self.release(&id).await?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Runs a blocking operation where it may block.
    async fn with<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let table = self.table.clone();
        let ran =
            tokio::task::spawn_blocking(move || operation(&mut table.lock().unwrap_or_else(PoisonError::into_inner)));
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| StorageError::new(axum_tus::Failure::Internal, error);
        ran.await.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
