//! How much each user has, in a table beside the store: each upload has a row from before it is created until after it is
//! gone. Whatever number of processes share it, the sum is looked at and the row is added in one transaction.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum_tus::{Storage, StorageError, Upload, UploadId};
use rusqlite::{Connection, TransactionBehavior, params};

/// A row that is older, and whose upload does not exist, is a leftover of a process that was killed: no creation takes so
/// long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Quotas {
    table: Arc<Mutex<Connection>>,
    storage: Arc<dyn Storage>,
    /// What each user may have.
    most: Used,
}

/// Uploads of a user, and the bytes that they have or will have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) uploads: u64,
}

/// The room that a user has left is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// The bytes that the user has left.
    Bytes(u64),
    /// The user has so many uploads.
    Uploads(u64),
}

impl Quotas {
    pub(crate) fn open(path: &Path, storage: Arc<dyn Storage>, most: Used) -> rusqlite::Result<Self> {
        let table = Connection::open(path)?;
        table.busy_timeout(Duration::from_secs(5))?;
        table.pragma_update(None, "journal_mode", "WAL")?;
        // What a power cut takes is counted again at the start.
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

    /// An upload is gone, or was not created after all.
    pub(crate) async fn release(&self, id: &UploadId) -> Result<(), StorageError> {
        let id = id.to_string();
        self.with(move |table| table.execute("DELETE FROM used WHERE id = ?", [id]).map(drop)).await
    }

    /// An upload that was there before the table counts, too.
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
            // Nobody else reads the sum until the row is there.
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

    /// Forgets uploads of a user that a process reserved room for and did not create, since it was killed, or removed
    /// without coming to the hook. Whether there were any.
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

    /// Runs what blocks where it may.
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
