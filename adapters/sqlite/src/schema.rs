//! The tables, and their migration from older versions.

use std::{io, path::Path};

use http::HeaderValue;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tus_service::{Metadata, UploadId};

use crate::{
    error::{Failed, OpenError},
    leftovers,
};

/// Marks the file as ours ("tus1").
const APPLICATION_ID: i32 = 0x7475_7331;

/// A change of the schema.
struct Migration {
    sql: &'static str,
    /// Further work after the SQL.
    then: fn(&Connection) -> rusqlite::Result<()>,
}

/// The changes of the schema. Each is made once and never edited afterwards; `user_version` counts them.
const MIGRATIONS: &[Migration] = &[
    Migration {
        sql: "
    CREATE TABLE uploads (
        id TEXT NOT NULL PRIMARY KEY,
        kind INTEGER NOT NULL,           -- 0 single, 1 partial, 2 final
        upload_offset INTEGER NOT NULL,  -- bytes
        length INTEGER,                  -- bytes; NULL if not known yet
        max_size INTEGER,                -- bytes
        metadata BLOB,                   -- the value of Upload-Metadata
        concat BLOB,                     -- of a final upload: the value of Upload-Concat
        partials TEXT,                   -- of a final upload: ids, separated by a space
        created INTEGER NOT NULL,        -- milliseconds since 1970
        expires INTEGER,                 -- milliseconds since 1970
        finished INTEGER NOT NULL,       -- whether the application was notified that it is complete
        due INTEGER NOT NULL             -- whether work remains that no request asks for
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uploads_due ON uploads (id) WHERE due;
    CREATE INDEX uploads_expires ON uploads (expires) WHERE expires IS NOT NULL;
    -- Uploads without a row whose file may still be there.
    CREATE TABLE removed (id TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
",
        then: |_| Ok(()),
    },
    Migration {
        sql: "
    -- Files that belong to no upload.
    CREATE TABLE strays (
        id TEXT NOT NULL PRIMARY KEY,
        seen INTEGER                     -- milliseconds since 1970; NULL if it is older than the database
    ) STRICT, WITHOUT ROWID;
",
        then: |_| Ok(()),
    },
    // The second edition of the record. The table is a new one, so that an older program that is still running fails
    // instead of making changes without versions.
    Migration {
        sql: "
    CREATE TABLE uploads_3 (
        id TEXT NOT NULL PRIMARY KEY,
        incarnation BLOB NOT NULL,       -- 16 random bytes
        version INTEGER NOT NULL,        -- 1 at the creation, and one more with each change
        dialect INTEGER,                 -- the interop version of the IETF's draft; NULL for tus 1.0.0
        kind INTEGER NOT NULL,           -- 0 single, 1 partial, 2 final
        phase INTEGER NOT NULL,          -- 0 receiving, 1 assembling, 2 complete, 3 notified, 4 invalid
        upload_offset INTEGER NOT NULL,  -- bytes
        length INTEGER,                  -- bytes; NULL if not known yet
        max_size INTEGER,                -- bytes
        metadata BLOB,                   -- as a value of Upload-Metadata; NULL if there is none
        owner TEXT,
        private BLOB,                    -- NULL if empty
        verbatim BLOB,                   -- NULL if empty
        parts TEXT,                      -- of a final upload: ids, separated by a space (see the next version)
        created INTEGER NOT NULL,        -- milliseconds since 1970
        expires INTEGER                  -- milliseconds since 1970
    ) STRICT, WITHOUT ROWID;
    INSERT INTO uploads_3 (id, incarnation, version, kind, phase, upload_offset, length, max_size, metadata, verbatim,
            parts, created, expires)
        SELECT id, randomblob(16), 1, kind,
            CASE
                WHEN length IS upload_offset THEN CASE WHEN finished AND kind <> 1 THEN 3 ELSE 2 END
                WHEN kind = 2 THEN 1
                ELSE 0
            END,
            upload_offset, length, max_size, metadata,
            CASE WHEN concat IS NOT NULL THEN CAST('upload-concat:' || concat || x'0a' AS BLOB) END,
            partials, created, expires
        FROM uploads;
    DROP TABLE uploads;
    ALTER TABLE uploads_3 RENAME TO uploads;
    -- Work that no request asks for: assembling, and notifying the application (not of parts).
    CREATE INDEX uploads_due ON uploads (id) WHERE phase = 1 OR (phase = 2 AND kind <> 1);
    CREATE INDEX uploads_expires ON uploads (expires) WHERE expires IS NOT NULL;
    CREATE INDEX uploads_owner ON uploads (owner, id) WHERE owner IS NOT NULL;
    -- Which final uploads that are not assembled yet name a part.
    CREATE TABLE parts (
        part TEXT NOT NULL,
        final TEXT NOT NULL,
        PRIMARY KEY (part, final)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX parts_final ON parts (final);
    -- Uploads that a process wants while another one adds bytes to them. The row is that of the newest asker.
    CREATE TABLE wanted (
        id TEXT NOT NULL PRIMARY KEY,
        since INTEGER NOT NULL,          -- microseconds of the machine's monotonic clock
        asker BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- The process that does the background work on an upload.
    CREATE TABLE claims (
        id TEXT NOT NULL PRIMARY KEY,
        claimant BLOB NOT NULL,
        until INTEGER NOT NULL           -- milliseconds since 1970
    ) STRICT, WITHOUT ROWID;
",
        then: take_over_headers,
    },
    // A final upload stores the incarnations of its parts: text of `id/incarnation`, separated by spaces. Each
    // request that wants an upload has a row of its own.
    Migration {
        sql: "
    DROP TABLE wanted;
    CREATE TABLE wanted (
        id TEXT NOT NULL,
        asker BLOB NOT NULL,
        since INTEGER NOT NULL,          -- microseconds of the machine's monotonic clock
        writes INTEGER NOT NULL,         -- 1 to add bytes, 0 to read
        PRIMARY KEY (id, asker)
    ) STRICT, WITHOUT ROWID;
",
        then: identify_parts,
    },
    // Final uploads that are not assembled yet can be counted.
    Migration {
        sql: "
    CREATE INDEX uploads_pending ON uploads (id) WHERE phase = 1 AND kind = 2;
",
        then: |_| Ok(()),
    },
];

/// Migrates the schema. `strangers` are the files that exist before the database is created. It runs under the write
/// lock, so that processes that start together don't run a migration twice.
pub(crate) fn migrate<I: Iterator<Item = UploadId>>(
    connection: &mut Connection,
    path: &Path,
    strangers: impl FnOnce() -> io::Result<I>,
) -> Result<(), Failed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i32 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()).into());
    }
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    let pending = MIGRATIONS.get(version..).ok_or_else(|| OpenError::Newer {
        path: path.to_owned(),
        found: version,
        known: MIGRATIONS.len(),
    })?;
    if pending.is_empty() {
        return Ok(());
    }
    for Migration { sql, then } in pending {
        transaction.execute_batch(sql)?;
        then(&transaction)?;
    }
    if version == 0 {
        for id in strangers().map_err(|error| OpenError::Directory(path.to_owned(), error))? {
            leftovers::note_orphan(&transaction, &id, None).map_err(OpenError::Storage)?;
        }
    }
    stamp(&transaction)?;
    Ok(transaction.commit()?)
}

fn stamp(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)
}

/// Metadata becomes pairs. A header whose text differs from that of the pairs is also kept. Final uploads that wait
/// are recorded at their parts.
fn take_over_headers(connection: &Connection) -> rusqlite::Result<()> {
    let mut update = connection.prepare(
        "UPDATE uploads SET metadata = ?2,
            verbatim = CAST(coalesce(verbatim, x'') || 'upload-metadata:' || metadata || x'0a' AS BLOB)
         WHERE id = ?1",
    )?;
    let mut with_metadata = connection
        .prepare("SELECT id, metadata FROM uploads WHERE metadata IS NOT NULL AND id > ?1 ORDER BY id LIMIT 256")?;
    // In pages, because a table must not be changed while it is read.
    let mut after = String::new();
    loop {
        let rows =
            with_metadata.query_map([&after], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let page = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        for (id, sent) in &page {
            // What could not be read before stays as it is.
            let parsed = HeaderValue::from_bytes(sent).ok().and_then(|header| Metadata::parse(&header).ok());
            if let Some(canonical) = parsed.and_then(|metadata| metadata.to_header())
                && canonical.as_bytes() != sent
            {
                update.execute((id, canonical.as_bytes()))?;
            }
        }
    }
    let mut waiting = connection.prepare("SELECT id, parts FROM uploads WHERE phase = 1 AND parts IS NOT NULL")?;
    let mut note = connection.prepare("INSERT OR IGNORE INTO parts (part, final) VALUES (?1, ?2)")?;
    let rows = waiting.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows {
        let (id, parts) = row?;
        for part in parts.split(' ').filter(|part| !part.is_empty()) {
            note.execute((part, &id))?;
        }
    }
    Ok(())
}

/// Parts are the current uploads with these ids. A part that is gone gets an incarnation that no upload has.
fn identify_parts(connection: &Connection) -> rusqlite::Result<()> {
    let mut finals = connection.prepare("SELECT id, parts FROM uploads WHERE parts IS NOT NULL")?;
    let rows = finals.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    // Read before the table is changed.
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut incarnation = connection.prepare("SELECT hex(incarnation) FROM uploads WHERE id = ?1")?;
    let mut update = connection.prepare("UPDATE uploads SET parts = ?2 WHERE id = ?1")?;
    for (id, parts) in rows {
        let mut identified = Vec::new();
        for part in parts.split(' ').filter(|part| !part.is_empty()) {
            let found: Option<String> = incarnation.query_row([part], |row| row.get(0)).optional()?;
            let found = found.map_or("0".repeat(32), |hex| hex.to_lowercase());
            identified.push(format!("{part}/{found}"));
        }
        update.execute((id, identified.join(" ")))?;
    }
    Ok(())
}
