//! Assembles a final upload from its parts.

use std::{fs::File, io, sync::Arc};

use tus_service::{Change, Failure, Kind, Phase, StorageError, Stored, Version};

use crate::{files, inner::Inner, lane::blocking, room::Claimed, row};

/// How many files of parts are open at once. They are checked together.
const OPEN_AT_ONCE: usize = 16;

/// Fills the file of a final upload with the bytes of its parts, and makes the change.
pub(crate) async fn assemble(
    inner: &Arc<Inner>,
    stored: &Stored,
    parts: &[Stored],
    change: &Change,
) -> Result<Version, StorageError> {
    let (filling, seen, parts, bytes) = (inner.clone(), stored.clone(), parts.to_vec(), change.offset);
    let filled = blocking(move || fill(&filling, &seen, &parts, bytes)).await;
    let assembled = match filled {
        // The file stays locked until the row claims its bytes.
        Ok(_locked) => {
            let (seen, change) = (stored.clone(), change.clone());
            inner.database.write(move |connection| row::change(connection, &seen, &change)).await
        }
        Err(error) => Err(error),
    };
    if assembled.as_ref().is_err_and(|error| error.failure() == Failure::NotFound) {
        // The upload may have been removed before the file was created.
        inner.give_up(stored.upload.id.clone());
    }
    assembled
}

/// Creates the file, locked until it is dropped.
fn fill(inner: &Inner, stored: &Stored, parts: &[Stored], bytes: u64) -> Result<File, StorageError> {
    let upload = &stored.upload;
    if !matches!(upload.kind, Kind::Final(_)) || upload.phase != Phase::Assembling {
        return Err(Failure::Conflict.into());
    }
    inner.unchanged(stored)?;
    inner.reserve.keep()?;
    // Each sweep tries again: without this check, it would fill the disk for everybody, fail, and empty it.
    let Some(mut room) = inner.room.claim(bytes, || inner.files.room())? else {
        if inner.files.room()? >= bytes {
            // It is its turn after those that are running.
            return Err(Failure::Busy.into());
        }
        let reason = format!("the disk has no room for the {bytes} bytes of a final upload");
        return Err(StorageError::new(Failure::Full, reason));
    };
    let file = loop {
        let file = inner.files.create(&upload.id)?;
        if !files::lock(&file)? {
            return Err(Failure::Busy.into());
        }
        // Only after this nobody else assembles it: the file of a complete upload must not be touched.
        inner.unchanged(stored)?;
        if files::is_named(&file)? {
            break file;
        }
    };
    files::cut(&file, 0)?;
    if let Err(error) = copy(inner, &file, parts, bytes, &mut room) {
        // Its name stays, because another process may have opened it.
        files::cut(&file, 0)?;
        return Err(error);
    }
    Ok(file)
}

fn copy(inner: &Inner, file: &File, parts: &[Stored], bytes: u64, room: &mut Claimed<'_>) -> Result<(), StorageError> {
    let mut copied = 0;
    for parts in parts.chunks(OPEN_AT_ONCE) {
        for (part, source) in parts.iter().zip(open(inner, parts)?) {
            if let Some(source) = source {
                files::append_from(file, &source, part.upload.offset)?;
            }
            room.used(part.upload.offset);
            copied += part.upload.offset;
        }
    }
    if copied != bytes {
        let reason = format!("the parts have {copied} bytes instead of {bytes}");
        return Err(StorageError::new(Failure::Internal, reason));
    }
    if inner.is_synced() {
        file.sync_data()?;
    }
    inner.sync_names()
}

/// The files of parts that have bytes.
fn open(inner: &Inner, parts: &[Stored]) -> Result<Vec<Option<File>>, StorageError> {
    let mut sources = Vec::with_capacity(parts.len());
    for part in parts {
        if part.upload.offset == 0 {
            sources.push(None);
            continue;
        }
        sources.push(match inner.files.read(&part.upload.id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone(part)),
            source => Some(source?),
        });
    }
    // Checked after the files were opened, so that none is the file of a later upload.
    let missing = inner.database.read(|connection| row::first_missing(connection, parts))?;
    missing.map_or(Ok(sources), |part| Err(gone(part)))
}

fn gone(part: &Stored) -> StorageError {
    StorageError::new(Failure::NotFound, format!("the part {} is gone", part.upload.id))
}
