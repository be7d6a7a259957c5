//! What all operations share: a database, a directory of files, and its writers.

use std::{
    cell::LazyCell,
    fs::File,
    io,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};

use tokio::sync::{Semaphore, oneshot};
use tus_service::{Failure, Kind, Phase, StorageError, Stored, UploadId};

use crate::{
    database::Database, files::Files, fresh::Fresh, lane::blocking, leftovers, reserve::Reserve, room::Room, row,
    shared_sync::SharedSync, writers::Writers,
};

/// What an acknowledged offset survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A power cut: bytes are on the disk before the row that refers to them.
    #[default]
    Synced,
    /// A killed process. After a power cut, an upload continues from the bytes that exist.
    Buffered,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Arc<Database>,
    pub(crate) files: Files,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) durability: Durability,
    /// Makes the names of new files durable.
    naming: SharedSync,
    /// Permits for checkpoints: commits, for which clients wait, must not queue behind thousands of them.
    pub(crate) checkpoints: Arc<Semaphore>,
    /// The writers that add bytes here.
    pub(crate) writers: Arc<Writers>,
    pub(crate) fresh: Fresh,
    /// Room for the final uploads that are being assembled.
    pub(crate) room: Room,
    /// How often other processes were asked for an upload.
    pub(crate) asked: AtomicU64,
    /// How often this storage has checked whether other processes ask for one.
    pub(crate) looks: AtomicU64,
    /// When orphans were last looked for.
    pub(crate) tidied: Mutex<Option<Instant>>,
}

/// The maximum number of concurrent checkpoints.
const CHECKPOINTS: usize = 8;

/// A record, and the end of its existing bytes.
pub(crate) type Found = (Stored, u64);

impl Inner {
    pub(crate) fn new(database: Arc<Database>, files: Files, reserve: Arc<Reserve>, durability: Durability) -> Self {
        Self {
            database,
            files,
            reserve,
            durability,
            naming: SharedSync::default(),
            room: Room::default(),
            checkpoints: Arc::new(Semaphore::new(CHECKPOINTS)),
            writers: Arc::default(),
            fresh: Fresh::default(),
            asked: AtomicU64::default(),
            looks: AtomicU64::default(),
            tidied: Mutex::default(),
        }
    }

    /// Whether acknowledged bytes survive a power cut.
    pub(crate) fn is_synced(&self) -> bool {
        self.durability == Durability::Synced
    }

    pub(crate) fn load(&self, id: &UploadId) -> Result<Option<Found>, StorageError> {
        let row = self.database.read(|connection| row::select(connection, id))?;
        row.map(|stored| self.look(stored, || self.files.is_alone())).transpose()
    }

    /// The same for many, in their order.
    pub(crate) fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Found>>, StorageError> {
        let rows = self.database.read(|connection| row::select_all(connection, ids))?;
        let is_alone = LazyCell::new(|| self.files.is_alone());
        rows.into_iter().map(|row| row.map(|stored| self.look(stored, || *is_alone)).transpose()).collect()
    }

    /// Looks at the file of a row: are its bytes there, and does another process add to them? Not where this storage is
    /// alone, which is found out after the row was read.
    pub(crate) fn look(&self, mut stored: Stored, is_alone: impl FnOnce() -> bool) -> Result<Found, StorageError> {
        let upload = &stored.upload;
        let (id, offset) = (&upload.id, upload.offset);
        let there = match upload.phase {
            Phase::Receiving if is_alone() => match offset {
                0 => 0,
                _ => self.files.length(id)?.unwrap_or(0),
            },
            Phase::Receiving if !self.writers.has(id) => {
                let (length, held) = self.files.look(id)?.unwrap_or_default();
                // It may have been opened here in the meantime.
                stored.held_elsewhere = held && !self.writers.has(id);
                length
            }
            // The file of a complete upload belongs to the application, which may have moved it away.
            Phase::Notified => offset,
            Phase::Complete if upload.kind != Kind::Partial && offset > 0 => self.files.length(id)?.unwrap_or(offset),
            // It cannot become more invalid.
            Phase::Invalid => offset,
            _ if offset == 0 => 0,
            _ => self.files.length(id)?.unwrap_or(0),
        };
        Ok((stored, there))
    }

    /// The current row.
    pub(crate) fn current(&self, id: &UploadId) -> Result<Stored, StorageError> {
        let row = self.database.read(|connection| row::select(connection, id))?;
        row.ok_or_else(|| Failure::NotFound.into())
    }

    /// The row that was seen. It must not have changed since.
    pub(crate) fn unchanged(&self, seen: &Stored) -> Result<(), StorageError> {
        let now = self.current(&seen.upload.id)?;
        let same = now.version == seen.version && now.is_same_upload(&seen.upload);
        if same { Ok(()) } else { Err(Failure::Conflict.into()) }
    }

    /// The row of the same incarnation.
    pub(crate) fn same(&self, seen: &Stored) -> Result<Stored, StorageError> {
        let now = self.current(&seen.upload.id)?;
        if now.is_same_upload(&seen.upload) { Ok(now) } else { Err(Failure::NotFound.into()) }
    }

    /// Makes the name of an existing file durable, together with those of all others that wait.
    pub(crate) async fn sync_name(self: &Arc<Self>) -> Result<(), StorageError> {
        let inner = self.clone();
        self.naming.run(async move || blocking(move || Ok(inner.files.sync()?)).await).await
    }

    /// Makes the names of files durable, in the synced mode.
    pub(crate) fn sync_names(&self) -> Result<(), StorageError> {
        if self.is_synced() { Ok(self.files.sync()?) } else { Ok(()) }
    }

    /// Deletes the files of removed uploads. It continues even if nobody waits for it.
    pub(crate) fn clean_all(self: &Arc<Self>) -> Result<(), StorageError> {
        for id in self.database.read(leftovers::removed)? {
            drop(self.clean(id));
        }
        Ok(())
    }

    /// Deletes a file if it belongs to no upload; otherwise it may have a writer by now. It continues even if nobody
    /// waits for it.
    pub(crate) fn give_up(self: &Arc<Self>, id: UploadId) {
        let inner = self.clone();
        // Within a change of the database, so that no upload with the same id is created at the same time.
        drop(self.database.remove_later(true, move |connection| match row::select(connection, &id)? {
            Some(_) => Ok(()),
            None => Ok(inner.files.remove(&id)?),
        }));
    }

    /// Deletes the file of a removed upload. It continues even if nobody waits for it.
    ///
    /// Returns the open file: closing it frees the space, which may take long.
    pub(crate) fn clean(self: &Arc<Self>, id: UploadId) -> oneshot::Receiver<Result<Option<File>, StorageError>> {
        let inner = self.clone();
        // Within a change of the database, so that no upload with the same id is created at the same time.
        self.database.remove_later(true, move |connection| {
            if !leftovers::is_removed(connection, &id)? {
                return Ok(None);
            }
            let file = inner.files.read(&id).ok();
            match inner.files.remove(&id) {
                Ok(()) => leftovers::forget_removed(connection, &id)?,
                Err(error) => {
                    tracing::warn!(upload = %id, %error, "the file of a removed upload could not be deleted");
                }
            }
            Ok(file)
        })
    }

    /// The file of an upload does not have the bytes that its record claims.
    pub(crate) fn missing(&self, id: &UploadId, error: io::Error) -> StorageError {
        let path = self.files.path(id);
        let reason = format!("{} does not have the bytes that its record claims: {error}", path.display());
        StorageError::new(Failure::Internal, reason)
    }
}
