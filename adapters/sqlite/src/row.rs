//! Between a record and its row.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, types::Type};
use tus_service::{Failure, Final, Kind, Metadata, State, StorageError, Upload, UploadId};

use crate::{database::sql_error, size::Size};

/// The changes of the schema, each made once and never changed afterwards: `user_version` counts them.
pub(crate) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE uploads (
        id TEXT NOT NULL PRIMARY KEY,
        kind INTEGER NOT NULL,           -- 0 single, 1 partial, 2 final
        upload_offset INTEGER NOT NULL,  -- bytes
        length INTEGER,                  -- bytes; NULL while it is not known
        max_size INTEGER,                -- bytes
        metadata BLOB,                   -- the value of Upload-Metadata
        concat BLOB,                     -- of a final upload: the value of Upload-Concat
        partials TEXT,                   -- of a final upload: ids, separated by a space
        created INTEGER NOT NULL,        -- milliseconds since 1970
        expires INTEGER,                 -- milliseconds since 1970
        finished INTEGER NOT NULL,       -- whether the application was told that it is whole
        due INTEGER NOT NULL             -- whether something is left to be done that no request asks for
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uploads_due ON uploads (id) WHERE due;
    CREATE INDEX uploads_expires ON uploads (expires) WHERE expires IS NOT NULL;
    -- Uploads without a row whose file may still be there.
    CREATE TABLE removed (id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
",
    "
    -- Files that belong to no upload.
    CREATE TABLE strays (
        id TEXT NOT NULL PRIMARY KEY,
        seen INTEGER                     -- milliseconds since 1970; NULL where it was there before the database
    ) STRICT, WITHOUT ROWID;
",
];

macro_rules! columns {
    () => {
        "id, kind, upload_offset, length, max_size, metadata, concat, partials, created, expires, finished"
    };
}

pub(crate) fn select(connection: &Connection, id: &UploadId) -> Result<Option<Upload>, StorageError> {
    let sql = concat!("SELECT ", columns!(), " FROM uploads WHERE id = ?1");
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row([id.as_str()], read).optional().map_err(sql_error)
}

pub(crate) fn insert(connection: &Connection, upload: &Upload) -> Result<(), StorageError> {
    let sql = concat!(
        "INSERT INTO uploads (",
        columns!(),
        ", due) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING"
    );
    let (kind, concat, partials) = match &upload.kind {
        Kind::Single => (0, None, None),
        Kind::Partial => (1, None, None),
        Kind::Final(parts) => {
            let ids: Vec<_> = parts.partials.iter().map(UploadId::as_str).collect();
            (2, Some(parts.header.as_bytes()), Some(ids.join(" ")))
        }
    };
    let inserted = execute(
        connection,
        sql,
        &[
            &upload.id.as_str(),
            &kind,
            &Size(upload.offset),
            &upload.length.map(Size),
            &upload.max_size.map(Size),
            &upload.metadata.header().map(HeaderValue::as_bytes),
            &concat,
            &partials,
            &milliseconds(upload.created),
            &upload.expires.map(milliseconds),
            &upload.finished,
            &upload.is_due(),
        ],
    )?;
    if inserted == 0 {
        return Err(Failure::Exists.into());
    }
    forget_removed(connection, &upload.id)?;
    execute(connection, "DELETE FROM strays WHERE id = ?1", &[&upload.id.as_str()]).map(drop)
}

/// Makes `new` the record if offset and length are still those of `old`.
pub(crate) fn replace(connection: &Connection, old: &Upload, new: &Upload) -> Result<(), StorageError> {
    let sql = "UPDATE uploads SET upload_offset = ?4, length = ?5, expires = ?6, finished = ?7, due = ?8
         WHERE id = ?1 AND upload_offset = ?2 AND length IS ?3";
    let changed = execute(
        connection,
        sql,
        &[
            &old.id.as_str(),
            &Size(old.offset),
            &old.length.map(Size),
            &Size(new.offset),
            &new.length.map(Size),
            &new.expires.map(milliseconds),
            &new.finished,
            &new.is_due(),
        ],
    )?;
    match changed {
        0 if select(connection, &old.id)?.is_none() => Err(Failure::NotFound.into()),
        0 => Err(Failure::Conflict.into()),
        _ => Ok(()),
    }
}

pub(crate) fn set_finished(connection: &Connection, id: &UploadId) -> Result<(), StorageError> {
    let sql = "UPDATE uploads SET finished = 1, due = 0 WHERE id = ?1";
    match execute(connection, sql, &[&id.as_str()])? {
        0 => Err(Failure::NotFound.into()),
        _ => Ok(()),
    }
}

/// Deletes the row, and notes that the file is to be deleted.
pub(crate) fn remove(
    connection: &Connection,
    id: &UploadId,
    expired_at: Option<SystemTime>,
) -> Result<(), StorageError> {
    let sql = "DELETE FROM uploads WHERE id = ?1 AND (?2 IS NULL OR expires <= ?2)";
    if execute(connection, sql, &[&id.as_str(), &expired_at.map(milliseconds)])? == 0 {
        let there = select(connection, id)?.is_some();
        return Err(if there { Failure::Conflict } else { Failure::NotFound }.into());
    }
    execute(connection, "INSERT OR IGNORE INTO removed (id) VALUES (?1)", &[&id.as_str()]).map(drop)
}

/// Whether the file of an upload is to be deleted: it was removed, and there is no new one of its name.
pub(crate) fn is_removed(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM removed WHERE id = ?1) AND NOT EXISTS (SELECT 1 FROM uploads WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row([id.as_str()], |row| row.get(0)).map_err(sql_error)
}

/// Whether an upload that is not whole, or a part, has bytes.
pub(crate) fn claims_bytes(connection: &Connection) -> Result<bool, StorageError> {
    // The file of one that is whole may have been taken away, the last moment before a kill included.
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE upload_offset > 0 AND (length > upload_offset OR length IS NULL OR kind = 1))";
    connection.query_row(sql, [], |row| row.get(0)).map_err(sql_error)
}

/// Notes that the file of a removed upload is gone.
pub(crate) fn forget_removed(connection: &Connection, id: &UploadId) -> Result<(), StorageError> {
    execute(connection, "DELETE FROM removed WHERE id = ?1", &[&id.as_str()]).map(drop)
}

pub(crate) fn removed(connection: &Connection) -> Result<Vec<UploadId>, StorageError> {
    ids(connection, "SELECT id FROM removed", &[])
}

/// Whether a file of that name belongs to an upload, or to one that is being removed.
pub(crate) fn is_known(connection: &Connection, id: &UploadId) -> Result<bool, StorageError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE id = ?1) OR EXISTS (SELECT 1 FROM removed WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row([id.as_str()], |row| row.get(0)).map_err(sql_error)
}

/// Notes that a file belongs to no upload, and when that was seen. Whether that is news.
pub(crate) fn note_stray(
    connection: &Connection,
    id: &UploadId,
    seen: Option<SystemTime>,
) -> Result<bool, StorageError> {
    let sql = "INSERT OR IGNORE INTO strays (id, seen) VALUES (?1, ?2)";
    execute(connection, sql, &[&id.as_str(), &seen.map(milliseconds)]).map(|noted| noted > 0)
}

/// Gives up files that were seen by then and still belong to no upload.
pub(crate) fn give_up_strays(connection: &Connection, seen_by: SystemTime) -> Result<(), StorageError> {
    let sql = "INSERT OR IGNORE INTO removed SELECT id FROM strays
         WHERE seen <= ?1 AND id NOT IN (SELECT id FROM uploads)";
    execute(connection, sql, &[&milliseconds(seen_by)])?;
    execute(connection, "DELETE FROM strays WHERE seen <= ?1", &[&milliseconds(seen_by)]).map(drop)
}

pub(crate) fn list(
    connection: &Connection,
    state: State,
    after: Option<&UploadId>,
    limit: usize,
) -> Result<Vec<Upload>, StorageError> {
    let condition = match state {
        State::Any => "TRUE",
        State::Unfinished => "length IS NOT upload_offset",
        State::Complete => "length IS upload_offset",
        _ => "due",
    };
    let columns = columns!();
    let sql = format!("SELECT {columns} FROM uploads WHERE {condition} AND id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql).map_err(sql_error)?;
    let rows = statement.query_map((after.map_or("", UploadId::as_str), at_most(limit)), read).map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// A limit that SQLite can count to.
fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(crate) fn expired(connection: &Connection, now: SystemTime, limit: usize) -> Result<Vec<UploadId>, StorageError> {
    let sql = "SELECT id FROM uploads WHERE expires <= ?1 ORDER BY expires LIMIT ?2";
    ids(connection, sql, &[&milliseconds(now), &at_most(limit)])
}

fn execute(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StorageError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map_err(sql_error)
}

fn ids(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<UploadId>, StorageError> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let rows = statement.query_map(values, |row| parsed(row, 0)).map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let kind = match row.get::<_, i64>(1)? {
        0 => Kind::Single,
        1 => Kind::Partial,
        2 => {
            let partials: String = row.get(7)?;
            let partials: Result<_, _> = partials.split(' ').filter(|id| !id.is_empty()).map(str::parse).collect();
            let partials = partials.map_err(|error| invalid(7, Type::Text, error))?;
            let header = row.get::<_, Vec<u8>>(6)?;
            let header = HeaderValue::from_bytes(&header).map_err(|error| invalid(6, Type::Blob, error))?;
            Kind::Final(Final { header, partials })
        }
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    };
    let metadata = match row.get::<_, Option<Vec<u8>>>(5)? {
        None => Metadata::default(),
        Some(header) => {
            let header = HeaderValue::from_bytes(&header).map_err(|error| invalid(5, Type::Blob, error))?;
            Metadata::parse(&header).map_err(|error| invalid(5, Type::Blob, error))?
        }
    };
    Ok(Upload {
        id: parsed(row, 0)?,
        kind,
        offset: row.get::<_, Size>(2)?.0,
        length: row.get::<_, Option<Size>>(3)?.map(|size| size.0),
        max_size: row.get::<_, Option<Size>>(4)?.map(|size| size.0),
        metadata,
        created: time(row.get(8)?),
        expires: row.get::<_, Option<i64>>(9)?.map(time),
        finished: row.get(10)?,
    })
}

fn parsed(row: &Row<'_>, column: usize) -> rusqlite::Result<UploadId> {
    row.get::<_, String>(column)?.parse().map_err(|error| invalid(column, Type::Text, error))
}

fn invalid(column: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(milliseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.try_into().unwrap_or(0))
}
