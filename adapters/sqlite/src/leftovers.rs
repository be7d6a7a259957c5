//! Rows about files that belong to no upload: of removed ones, and of none.

use std::time::SystemTime;

use rusqlite::Connection;
use tus_service::{StorageError, UploadId};

use crate::row::{execute, exists, ids, milliseconds};

/// Whether the file of an upload is to be deleted: it was removed, and there is no new one of its name.
pub(crate) fn is_removed(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM removed WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM uploads WHERE id = ?1)";
    exists(connection, sql, &[&id.as_str()])
}

/// Notes that the file of a removed upload is gone.
pub(crate) fn forget_removed(connection: &Connection, id: &UploadId) -> Result<(), StorageError> {
    execute(connection, "DELETE FROM removed WHERE id = ?1", &[&id.as_str()]).map(drop)
}

/// Removed uploads whose files may still be there.
pub(crate) fn removed(connection: &Connection) -> Result<Vec<UploadId>, StorageError> {
    ids(connection, "SELECT id FROM removed WHERE id NOT IN (SELECT id FROM uploads)", &[])
}

/// Whether a file of that name belongs to an upload, or to one that is being removed.
pub(crate) fn is_known(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1) OR EXISTS (SELECT 1 FROM removed WHERE id = ?1)";
    exists(connection, sql, &[&id.as_str()])
}

/// Notes that a file belongs to no upload, and when that was seen. Whether that is news.
pub(crate) fn note_orphan(
    connection: &Connection,
    id: &UploadId,
    seen: Option<SystemTime>,
) -> Result<bool, StorageError> {
    let sql = "INSERT OR IGNORE INTO strays (id, seen) VALUES (?1, ?2)";
    execute(connection, sql, &[&id.as_str(), &seen.map(milliseconds)]).map(|noted| noted > 0)
}

/// Gives up files that were seen by then and still belong to no upload.
pub(crate) fn give_up_orphans(connection: &Connection, seen_by: SystemTime) -> Result<(), StorageError> {
    forget_used(connection)?;
    let seen_by = milliseconds(seen_by);
    execute(connection, "INSERT OR IGNORE INTO removed SELECT id FROM strays WHERE seen <= ?1", &[&seen_by])?;
    execute(connection, "DELETE FROM strays WHERE seen <= ?1", &[&seen_by]).map(drop)
}

/// Forgets what is noted of names that an upload has by now. It is not forgotten when the upload is created: that
/// would cost each creation two statements, and until then it does no harm, since the upload's row counts for more.
fn forget_used(connection: &Connection) -> Result<(), StorageError> {
    for sql in [
        "DELETE FROM removed WHERE id IN (SELECT id FROM uploads)",
        "DELETE FROM strays WHERE id IN (SELECT id FROM uploads)",
    ] {
        execute(connection, sql, &[])?;
    }
    Ok(())
}
