//! Converts between records and rows.

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use rusqlite::{
    Connection, OptionalExtension, Row, ToSql, Transaction,
    types::{ToSqlOutput, Type, ValueRef},
};
use tus_service::{
    Change, Dialect, Failure, Incarnation, Kind, Metadata, Part, Phase, StorageError, Stored, Upload, UploadId,
    Verbatim, Version,
};

use crate::error::sql_error;

/// The columns in the order that [`read`] expects.
macro_rules! columns {
    () => {
        "id, incarnation, version, dialect, kind, phase, upload_offset, length, max_size, metadata, owner, private, \
         verbatim, parts, created, expires"
    };
}
pub(crate) use columns;

pub(crate) fn select(connection: &Connection, id: &UploadId) -> Result<Option<Stored>, StorageError> {
    let sql = concat!("SELECT ", columns!(), " FROM uploads WHERE id = ?1");
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row([id.as_str()], read).optional().map_err(sql_error)
}

/// The same for many, in their order.
pub(crate) fn select_all(connection: &Connection, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
    let sql = concat!("SELECT ", columns!(), " FROM uploads WHERE id = ?1");
    let transaction = once(connection)?;
    let mut statement = transaction.prepare_cached(sql).map_err(sql_error)?;
    let rows = ids.iter().map(|id| statement.query_row([id.as_str()], |row| read_as(id.clone(), row)).optional());
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// The first of these uploads that is no longer there.
pub(crate) fn first_missing<'u>(
    connection: &Connection,
    uploads: &'u [Stored],
) -> Result<Option<&'u Stored>, StorageError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1 AND incarnation = ?2)";
    let transaction = once(connection)?;
    for stored in uploads {
        let Upload { id, incarnation, .. } = &stored.upload;
        if !exists(&transaction, sql, &[&id.as_str(), &bits(*incarnation)])? {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// One transaction for several queries: SQLite locks and checks for changes once.
fn once(connection: &Connection) -> Result<Transaction<'_>, StorageError> {
    connection.unchecked_transaction().map_err(sql_error)
}

pub(crate) fn insert(connection: &Connection, upload: &Upload) -> Result<Version, StorageError> {
    let sql = concat!(
        "INSERT INTO uploads (",
        columns!(),
        ") VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING"
    );
    let dialect = match upload.dialect {
        Dialect::Tus => None,
        Dialect::Draft(version) => Some(version),
        other => return Err(unknown(format!("dialect {other:?}"))),
    };
    let (kind, parts) = match &upload.kind {
        Kind::Single => (0, None),
        Kind::Partial => (1, None),
        Kind::Final(parts) => (2, Some(parts_text(parts))),
        other => return Err(unknown(format!("kind {other:?}"))),
    };
    let inserted = execute(
        connection,
        sql,
        &[
            &upload.id.as_str(),
            &bits(upload.incarnation),
            &dialect,
            &kind,
            &number(upload.phase)?,
            &integer(upload.offset),
            &upload.length.map(integer),
            &upload.max_size.map(integer),
            &some(upload.metadata.as_str().as_bytes()),
            &upload.owner,
            &some(&upload.private),
            &some(upload.verbatim.as_bytes()),
            &parts,
            &milliseconds(upload.created),
            &upload.expires.map(milliseconds),
        ],
    )?;
    if inserted == 0 {
        return Err(Failure::Exists.into());
    }
    if upload.phase == Phase::Assembling {
        note_parts(connection, upload)?;
    }
    Ok(Version::from(1))
}

/// The approximate size of a record in bytes: a page of the database, and fields that may be large.
pub(crate) fn bytes(upload: &Upload) -> usize {
    const PAGE: usize = 4096;
    // Each part also has an index entry, and consecutive entries are usually on different pages.
    let parts = if let Kind::Final(parts) = &upload.kind { parts.len() * PAGE } else { 0 };
    let metadata = upload.metadata.as_str().len();
    let owner = upload.owner.as_ref().map_or(0, String::len);
    PAGE + parts + metadata + owner + upload.private.len() + upload.verbatim.as_bytes().len()
}

macro_rules! update {
    ($more:literal) => {
        concat!(
            "UPDATE uploads SET version = version + 1, upload_offset = ?4, length = ?5, phase = ?6, expires = ?7",
            $more,
            " WHERE id = ?1 AND version = ?2 AND incarnation = ?3"
        )
    };
}

/// Makes many changes that leave the phase and what is repeated as they are, each if the record is still the one that was
/// seen.
pub(crate) fn change_all(connection: &Connection, changes: &[(Stored, Change)]) -> Result<(), StorageError> {
    let mut statement = connection.prepare_cached(update!("")).map_err(sql_error)?;
    for (seen, change) in changes {
        // One that another storage made is not here.
        let Ok(version) = version_of(seen) else { continue };
        let (id, incarnation) = (seen.upload.id.as_str(), bits(seen.upload.incarnation));
        let (offset, length) = (integer(change.offset), change.length.map(integer));
        let (phase, expires) = (number(change.phase)?, change.expires.map(milliseconds));
        statement.execute((id, version, incarnation, offset, length, phase, expires)).map_err(sql_error)?;
    }
    Ok(())
}

/// Makes a change if the record is still the one that was seen.
pub(crate) fn change(connection: &Connection, seen: &Stored, change: &Change) -> Result<Version, StorageError> {
    let version = version_of(seen)?;
    let (id, incarnation) = (seen.upload.id.as_str(), bits(seen.upload.incarnation));
    let (offset, length) = (integer(change.offset), change.length.map(integer));
    let (phase, expires) = (number(change.phase)?, change.expires.map(milliseconds));
    let values: [&dyn ToSql; 7] = [&id, &version, &incarnation, &offset, &length, &phase, &expires];
    let changed = match &change.verbatim {
        None => execute(connection, update!(""), &values)?,
        Some(verbatim) => {
            let verbatim: &dyn ToSql = &some(verbatim.as_bytes());
            execute(connection, update!(", verbatim = ?8"), &[&values[..], &[verbatim]].concat())?
        }
    };
    if changed == 0 {
        return Err(why_not(connection, &seen.upload.id)?.into());
    }
    match (seen.upload.phase, change.phase) {
        (Phase::Assembling, Phase::Assembling) => {}
        (Phase::Assembling, _) => forget_parts(connection, &seen.upload)?,
        (_, Phase::Assembling) => note_parts(connection, &seen.upload)?,
        _ => {}
    }
    Ok(Version::from(version as u64 + 1))
}

/// Deletes the row if the record is still the one that was seen, and records that the file must be deleted.
pub(crate) fn remove(connection: &Connection, seen: &Stored) -> Result<(), StorageError> {
    let id = &seen.upload.id.as_str();
    let sql = "DELETE FROM uploads WHERE id = ?1 AND version = ?2 AND incarnation = ?3";
    if execute(connection, sql, &[id, &version_of(seen)?, &bits(seen.upload.incarnation)])? == 0 {
        return Err(why_not(connection, &seen.upload.id)?.into());
    }
    forget_parts(connection, &seen.upload)?;
    execute(connection, "DELETE FROM claims WHERE id = ?1", &[id])?;
    execute(connection, "INSERT OR IGNORE INTO removed (id) VALUES (?1)", &[id]).map(drop)
}

/// Why no row was changed.
fn why_not(connection: &Connection, id: &UploadId) -> Result<Failure, StorageError> {
    Ok(if exists(connection, "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1)", &[&id.as_str()])? {
        Failure::Conflict
    } else {
        Failure::NotFound
    })
}

/// A final upload that is assembling can be found by its parts.
fn note_parts(connection: &Connection, upload: &Upload) -> Result<(), StorageError> {
    let Kind::Final(parts) = &upload.kind else { return Ok(()) };
    let sql = "INSERT OR IGNORE INTO parts (part, final) VALUES (?1, ?2)";
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    for part in parts {
        statement.execute([part.id.as_str(), upload.id.as_str()]).map_err(sql_error)?;
    }
    Ok(())
}

fn forget_parts(connection: &Connection, upload: &Upload) -> Result<(), StorageError> {
    match upload.kind {
        Kind::Final(_) => execute(connection, "DELETE FROM parts WHERE final = ?1", &[&upload.id.as_str()]).map(drop),
        _ => Ok(()),
    }
}

pub(crate) fn execute(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StorageError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(sql_error)
}

pub(crate) fn exists(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<bool, StorageError> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row(values, |row| row.get(0)).map_err(sql_error)
}

/// Invalid ids, which somebody changed, are skipped.
pub(crate) fn ids(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<UploadId>, StorageError> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let mut found = statement.query(values).map_err(sql_error)?;
    let mut ids = Vec::new();
    while let Some(row) = found.next().map_err(sql_error)? {
        ids.extend(valid(row, id(row, 0)));
    }
    Ok(ids)
}

/// Records in the order of their rows.
pub(crate) struct Records<P> {
    pub(crate) records: Vec<Stored>,
    pub(crate) rows: usize,
    /// The place of the last row, whether it is valid or not.
    pub(crate) last: Option<P>,
}

/// Invalid rows, which somebody changed, are skipped; the others are returned. `place` returns where the next page
/// begins after a row.
pub(crate) fn records<P>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    place: impl Fn(&Row<'_>) -> rusqlite::Result<P>,
) -> Result<Records<P>, StorageError> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let mut found = statement.query(values).map_err(sql_error)?;
    let mut page = Records { records: Vec::new(), rows: 0, last: None };
    while let Some(row) = found.next().map_err(sql_error)? {
        page.rows += 1;
        page.records.extend(valid(row, read(row)));
        page.last = Some(place(row).map_err(sql_error)?);
    }
    Ok(page)
}

/// The text of an id, even if somebody made it invalid.
#[derive(Debug, Clone, Default)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// The id in a row.
    pub(crate) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self(row.get_ref(0)?.as_bytes()?.to_owned()))
    }
}

impl From<&UploadId> for Name {
    fn from(id: &UploadId) -> Self {
        Self(id.as_str().into())
    }
}

impl ToSql for Name {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

/// What was read from a row; `None` if it is invalid.
fn valid<T>(row: &Row<'_>, read: rusqlite::Result<T>) -> Option<T> {
    let id = || row.get::<_, String>(0).unwrap_or_default();
    read.inspect_err(|error| tracing::error!(upload = %id(), %error, "the record of an upload is invalid")).ok()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    read_as(id(row, 0)?, row)
}

/// The record in a row, whose id is known.
fn read_as(id: UploadId, row: &Row<'_>) -> rusqlite::Result<Stored> {
    let bits: [u8; 16] = row.get(1)?;
    let kind = match row.get(4)? {
        0 => Kind::Single,
        1 => Kind::Partial,
        2 => {
            let parts = row.get_ref(13)?.as_str().map_err(|error| invalid(13, Type::Text, error))?;
            let parts: Option<_> = parts.split(' ').filter(|part| !part.is_empty()).map(part_of).collect();
            Kind::Final(parts.ok_or_else(|| invalid(13, Type::Text, InvalidParts))?)
        }
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
    };
    let mut upload = Upload::new(id, Incarnation::from_random(u128::from_be_bytes(bits)), kind);
    upload.dialect = row.get::<_, Option<u8>>(3)?.map_or(Dialect::Tus, Dialect::Draft);
    upload.phase = match row.get(5)? {
        0 => Phase::Receiving,
        1 => Phase::Assembling,
        2 => Phase::Complete,
        3 => Phase::Notified,
        4 => Phase::Invalid,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(5, other)),
    };
    upload.offset = unsigned(row, 6)?.unwrap_or(0);
    upload.length = unsigned(row, 7)?;
    upload.max_size = unsigned(row, 8)?;
    if let Some(text) = row.get_ref(9)?.as_blob_or_null().map_err(|error| invalid(9, Type::Blob, error))? {
        upload.metadata = Metadata::from_stored(text).map_err(|error| invalid(9, Type::Blob, error))?;
    }
    upload.owner = row.get(10)?;
    upload.private = row.get::<_, Option<Vec<u8>>>(11)?.unwrap_or_default().into();
    upload.verbatim = Verbatim::from_bytes(row.get::<_, Option<Vec<u8>>>(12)?.unwrap_or_default());
    upload.created = time(row.get(14)?);
    upload.expires = row.get::<_, Option<i64>>(15)?.map(time);
    Ok(Stored::new(upload, Version::from(unsigned(row, 2)?.unwrap_or(0))))
}

/// Parts as text: ids with incarnations, separated by a space.
pub(crate) fn parts_text(parts: &[Part]) -> String {
    let mut text = String::with_capacity(parts.iter().map(|part| part.id.as_str().len() + 34).sum());
    for Part { id, incarnation, .. } in parts {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string never fails.
        let _ = write!(text, "{space}{id}/{incarnation}");
    }
    text
}

fn part_of(text: &str) -> Option<Part> {
    let (id, incarnation) = text.split_once('/')?;
    let incarnation = Incarnation::from_random(u128::from_str_radix(incarnation, 16).ok()?);
    Some(Part::new(id.parse().ok()?, incarnation))
}

#[derive(Debug, thiserror::Error)]
#[error("the parts of a final upload are not ids with incarnations")]
struct InvalidParts;

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<UploadId> {
    let text = row.get_ref(column)?.as_str().map_err(|error| invalid(column, Type::Text, error))?;
    text.parse().map_err(|error| invalid(column, Type::Text, error))
}

/// A number that is never negative.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let number: Option<i64> = row.get(column)?;
    number.map(|n| n.try_into().map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))).transpose()
}

fn invalid(column: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

fn unknown(what: String) -> StorageError {
    StorageError::new(Failure::Internal, format!("this version of the storage does not know the {what}"))
}

fn number(phase: Phase) -> Result<i64, StorageError> {
    Ok(match phase {
        Phase::Receiving => 0,
        Phase::Assembling => 1,
        Phase::Complete => 2,
        Phase::Notified => 3,
        Phase::Invalid => 4,
        other => return Err(unknown(format!("phase {other:?}"))),
    })
}

/// Bits of the phases that match a filter.
pub(crate) fn phases(passes: impl Fn(Phase) -> bool) -> i64 {
    let numbers = Phase::ALL.into_iter().filter(|phase| passes(*phase)).filter_map(|phase| number(phase).ok());
    numbers.fold(0, |bits, number| bits | 1 << number)
}

/// The version of the row that was seen. Versions of other storages never match.
fn version_of(seen: &Stored) -> Result<i64, StorageError> {
    seen.version.as_number().and_then(|number| number.try_into().ok()).ok_or_else(|| Failure::Conflict.into())
}

pub(crate) fn bits(incarnation: Incarnation) -> [u8; 16] {
    incarnation.to_bits().to_be_bytes()
}

fn some(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

/// SQLite's numbers are signed. No upload has more bytes than the largest of them, so a larger limit has the same
/// meaning.
fn integer(bytes: u64) -> i64 {
    bytes.try_into().unwrap_or(i64::MAX)
}

pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(milliseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.try_into().unwrap_or(0))
}
