//! Rows about files that belong to no upload: those of removed uploads, and orphans.

use std::time::SystemTime;

use rusqlite::Connection;
use tus_service::{StorageError, UploadId};

use crate::row::{execute, exists, ids, milliseconds};

/// Whether the file of an upload must be deleted: the upload was removed, and there is no new one with its id.
pub(crate) fn is_removed(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM removed WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM uploads WHERE id = ?1)";
    exists(connection, sql, &[&id.as_str()])
}

/// Records that the file of a removed upload is gone.
pub(crate) fn forget_removed(connection: &Connection, id: &UploadId) -> Result<(), StorageError> {
    execute(connection, "DELETE FROM removed WHERE id = ?1", &[&id.as_str()]).map(drop)
}

/// Removed uploads whose files may still exist.
pub(crate) fn removed(connection: &Connection) -> Result<Vec<UploadId>, StorageError> {
    ids(connection, "SELECT id FROM removed WHERE id NOT IN (SELECT id FROM uploads)", &[])
}

/// Whether a file with this name belongs to an upload, or to one that is being removed.
pub(crate) fn is_known(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1) OR EXISTS (SELECT 1 FROM removed WHERE id = ?1)";
    exists(connection, sql, &[&id.as_str()])
}

/// Records that a file is an orphan, and when that was noticed. Returns whether it was not known before.
pub(crate) fn note_orphan(
    connection: &Connection,
    id: &UploadId,
    seen: Option<SystemTime>,
) -> Result<bool, StorageError> {
    let sql = "INSERT OR IGNORE INTO strays (id, seen) VALUES (?1, ?2)";
    execute(connection, sql, &[&id.as_str(), &seen.map(milliseconds)]).map(|noted| noted > 0)
}

/// Gives up files that were noticed by then and are still orphans.
pub(crate) fn give_up_orphans(connection: &Connection, seen_by: SystemTime) -> Result<(), StorageError> {
    forget_used(connection)?;
    let seen_by = milliseconds(seen_by);
    execute(connection, "INSERT OR IGNORE INTO removed SELECT id FROM strays WHERE seen <= ?1", &[&seen_by])?;
    execute(connection, "DELETE FROM strays WHERE seen <= ?1", &[&seen_by]).map(drop)
}

/// Forgets records about names that uploads have by now. This does not happen at the creation, because it would cost
/// two statements each time. Until then the records do no harm, because an upload's row takes precedence.
fn forget_used(connection: &Connection) -> Result<(), StorageError> {
    for sql in [
        "DELETE FROM removed WHERE id IN (SELECT id FROM uploads)",
        "DELETE FROM strays WHERE id IN (SELECT id FROM uploads)",
    ] {
        execute(connection, sql, &[])?;
    }
    Ok(())
}
