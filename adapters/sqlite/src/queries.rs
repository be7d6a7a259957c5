//! Queries for many rows. Lists are read in pages.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row};
use tus_service::{StorageError, UploadFilter, UploadId};

use crate::error::sql_error;
use crate::row::{Name, Records, columns, exists, ids, milliseconds, phases, records};

/// The number of rows that are read at once.
pub(crate) const PAGE: usize = 256;

/// The condition of the index `uploads_due`, in the same words so that SQLite uses it.
macro_rules! due {
    () => {
        "(phase = 1 OR (phase = 2 AND kind <> 1))"
    };
}

/// The next uploads that match, ordered by id.
pub(crate) fn list(
    connection: &Connection,
    filter: &UploadFilter,
    after: Option<&Name>,
) -> Result<Records<Name>, StorageError> {
    let (after, phases) = (after.cloned().unwrap_or_default(), phases(|phase| filter.has_phase(phase)));
    match filter.owner.as_deref() {
        None => {
            let sql = concat!(
                "SELECT ",
                columns!(),
                " FROM uploads WHERE id > ?1 AND (?2 >> phase) & 1 ORDER BY id LIMIT ?3"
            );
            records(connection, sql, &[&after, &phases, &(PAGE as i64)], Name::of)
        }
        Some(owner) => {
            let sql = concat!(
                "SELECT ",
                columns!(),
                " FROM uploads WHERE owner = ?4 AND id > ?1 AND (?2 >> phase) & 1 ORDER BY id LIMIT ?3"
            );
            records(connection, sql, &[&after, &phases, &(PAGE as i64), &owner], Name::of)
        }
    }
}

/// The time in milliseconds at which an upload expires, and its id.
pub(crate) type Expiring = (i64, Name);

/// The next uploads that have expired, after the last one.
pub(crate) fn expired(
    connection: &Connection,
    now: SystemTime,
    after: Option<&Expiring>,
) -> Result<Records<Expiring>, StorageError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM uploads WHERE expires <= ?1 AND (expires, id) > (?2, ?3) ORDER BY expires, id LIMIT ?4"
    );
    let (time, id) = after.cloned().unwrap_or((i64::MIN, Name::default()));
    let place = |row: &Row<'_>| Ok((row.get("expires")?, Name::of(row)?));
    records(connection, sql, &[&milliseconds(now), &time, &id, &(PAGE as i64)], place)
}

/// The next uploads that are due and have not expired.
pub(crate) fn due(
    connection: &Connection,
    now: SystemTime,
    after: Option<&Name>,
) -> Result<Records<Name>, StorageError> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM uploads WHERE ",
        due!(),
        " AND id > ?1 AND (expires IS NULL OR expires > ?2) ORDER BY id LIMIT ?3"
    );
    let after = after.cloned().unwrap_or_default();
    records(connection, sql, &[&after, &milliseconds(now), &(PAGE as i64)], Name::of)
}

/// The final uploads that name this part and are not assembled yet.
pub(crate) fn waiting_for(
    connection: &Connection,
    part: &UploadId,
    at_most: usize,
) -> Result<Vec<UploadId>, StorageError> {
    ids(connection, "SELECT final FROM parts WHERE part = ?1 LIMIT ?2", &[&part.as_str(), &limit(at_most)])
}

/// The number of final uploads that are not assembled yet, counted up to this limit.
pub(crate) fn pending_finals(connection: &Connection, at_most: usize) -> Result<usize, StorageError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM uploads WHERE phase = 1 AND kind = 2 LIMIT ?1)";
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let count: i64 = statement.query_row([limit(at_most)], |row| row.get(0)).map_err(sql_error)?;
    Ok(count.try_into().unwrap_or(0))
}

fn limit(at_most: usize) -> i64 {
    at_most.try_into().unwrap_or(i64::MAX)
}

/// The condition that an upload has bytes in a file. That of a complete one may have been moved away, even in the last
/// moment before a kill.
macro_rules! has_bytes {
    () => {
        "upload_offset > 0 AND (phase IN (0, 1) OR kind = 1)"
    };
}

/// The incarnation of any upload that has bytes in a file.
pub(crate) fn any_with_bytes(connection: &Connection) -> Result<Option<[u8; 16]>, StorageError> {
    let sql = concat!("SELECT incarnation FROM uploads WHERE ", has_bytes!(), " LIMIT 1");
    connection.query_row(sql, [], |row| row.get(0)).optional().map_err(sql_error)
}

/// Whether this upload has bytes in a file.
pub(crate) fn has_bytes(connection: &Connection, incarnation: &[u8; 16]) -> Result<bool, StorageError> {
    let sql = concat!("SELECT EXISTS (SELECT 1 FROM uploads WHERE incarnation = ?1 AND ", has_bytes!(), ")");
    exists(connection, sql, &[incarnation])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_for_many_rows_use_an_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection, "".as_ref(), || Ok(std::iter::empty())).unwrap();
        for (sql, plan) in [
            (concat!("SELECT id FROM uploads WHERE ", due!(), " AND id > '' ORDER BY id"), "uploads_due"),
            (
                "SELECT id FROM uploads WHERE expires <= 9 AND (expires, id) > (1, 'a') ORDER BY expires, id",
                "uploads_expires",
            ),
            ("SELECT id FROM uploads WHERE owner = 'a' AND id > '' AND (3 >> phase) & 1 ORDER BY id", "uploads_owner"),
            ("SELECT final FROM parts WHERE part = 'a' LIMIT 16", "PRIMARY KEY"),
            ("SELECT 1 FROM uploads WHERE phase = 1 AND kind = 2 LIMIT 9", "COVERING INDEX uploads_pending"),
            ("DELETE FROM parts WHERE final = 'a'", "parts_final"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<_> = rows.map(Result::unwrap).collect();
            assert!(matches!(&steps[..], [step] if step.contains(plan)), "{sql}: {steps:?}");
        }
    }
}
