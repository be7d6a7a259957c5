//! Rows with which processes communicate: uploads that a process wants while another one adds bytes to them, and
//! claims of background work.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row};
use rustix::time::{ClockId, clock_gettime};
use tus_service::{Access, Incarnation, StorageError, UploadId};

use crate::{
    error::sql_error,
    row::{bits, execute, exists, milliseconds},
};

/// A request that asked longer ago than this, in microseconds, was killed or has given up.
const DEAD: i64 = 15_000_000;

/// Processors agree on the time within this many microseconds.
const AHEAD: i64 = 1_000_000;

/// A moment of the clock that all processes of a machine share and nobody sets, in microseconds. It starts again when
/// the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) i64);

impl Tick {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
    }

    /// Whether a request from this moment may still be waiting. One that seems to be from the future asked before the
    /// machine was restarted.
    pub(crate) fn is_recent(self) -> bool {
        let age = Self::now().0 - self.0;
        (-AHEAD..DEAD).contains(&age)
    }
}

/// A request that wants an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: UploadId,
    pub(crate) since: Tick,
    pub(crate) access: Access,
}

/// Asks for an upload.
pub(crate) fn want(
    connection: &Connection,
    id: &UploadId,
    access: Access,
    since: Tick,
    asker: &[u8],
) -> Result<(), StorageError> {
    let sql = "INSERT INTO wanted (id, since, asker, writes) VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, &[&id.as_str(), &since.0, &asker, &(access == Access::Write)]).map(drop)
}

/// Whether a newer request, in this or another process, wants to write.
pub(crate) fn is_outdone(
    connection: &Connection,
    id: &UploadId,
    since: Tick,
    asker: &[u8],
) -> Result<bool, StorageError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM wanted WHERE id = ?1 AND writes AND (since, asker) > (?2, ?3) AND since <= ?4)";
    exists(connection, sql, &[&id.as_str(), &since.0, &asker, &(Tick::now().0 + AHEAD)])
}

/// Whether a request is waiting in order to write.
pub(crate) fn is_wanted(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let now = Tick::now().0;
    let sql = "SELECT EXISTS (SELECT 1 FROM wanted WHERE id = ?1 AND writes AND since > ?2 AND since <= ?3)";
    exists(connection, sql, &[&id.as_str(), &(now - DEAD), &(now + AHEAD)])
}

pub(crate) fn want_no_more(connection: &Connection, id: &UploadId, asker: &[u8]) -> Result<(), StorageError> {
    execute(connection, "DELETE FROM wanted WHERE id = ?1 AND asker = ?2", &[&id.as_str(), &asker]).map(drop)
}

/// The uploads that are wanted. There are as many rows as requests that are waiting now.
pub(crate) fn wanted(connection: &Connection) -> Result<Vec<Wanted>, StorageError> {
    let mut statement = connection.prepare_cached("SELECT id, since, writes FROM wanted").map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut wanted = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        // Invalid rows, which somebody changed, are skipped.
        wanted.extend(read(row).filter(|wanted| wanted.since.is_recent()));
    }
    Ok(wanted)
}

fn read(row: &Row<'_>) -> Option<Wanted> {
    let id = row.get_ref(0).ok()?.as_str().ok()?.parse().ok()?;
    let access = if row.get(2).ok()? { Access::Write } else { Access::Read };
    Some(Wanted { id, since: Tick(row.get(1).ok()?), access })
}

/// Claims the background work on an upload, or releases the claim. Returns whether the claimant holds it.
pub(crate) fn claim(
    connection: &Connection,
    id: &UploadId,
    incarnation: Incarnation,
    claimant: &[u8],
    duration: Duration,
) -> Result<bool, StorageError> {
    let now = SystemTime::now();
    let until = now.checked_add(duration).map_or(i64::MAX, milliseconds);
    let now = milliseconds(now);
    let incarnation = bits(incarnation);
    let is_there = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1 AND incarnation = ?2)";
    if !exists(connection, is_there, &[&id.as_str(), &incarnation])? {
        return Ok(false);
    }
    if duration.is_zero() {
        execute(connection, "DELETE FROM claims WHERE id = ?1 AND claimant = ?2", &[&id.as_str(), &claimant])?;
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM claims WHERE id = ?1 AND until > ?2)";
        return exists(connection, sql, &[&id.as_str(), &now]);
    }
    let sql = "INSERT INTO claims (id, claimant, until) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET claimant = excluded.claimant, until = excluded.until
         WHERE claimant = excluded.claimant OR until <= ?4";
    execute(connection, sql, &[&id.as_str(), &claimant, &until, &now]).map(|changed| changed > 0)
}

/// Deletes rows that killed processes have left.
pub(crate) fn forget_old(connection: &Connection) -> Result<(), StorageError> {
    let now = Tick::now().0;
    execute(connection, "DELETE FROM wanted WHERE since <= ?1 OR since > ?2", &[&(now - DEAD), &(now + AHEAD)])?;
    execute(connection, "DELETE FROM claims WHERE until <= ?1", &[&milliseconds(SystemTime::now())]).map(drop)
}
