//! Adding bytes to one file: data first, and then the row that claims it.

use std::{fs::File, os::unix::fs::MetadataExt, sync::Arc, time::Duration};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::{task::JoinHandle, time::sleep};
use tus_service::{Failure, StorageError, Upload, Writer, async_trait};

use crate::{
    Durability,
    files::{self, blocking},
    row,
    storage::Inner,
};

pub(crate) struct FileWriter {
    storage: Arc<Inner>,
    file: Arc<File>,
    opened_at: u64,
    stored: u64,
    /// The record as this writer saw or set it last.
    seen: Upload,
    /// A checkpoint that is under way beside the stream, and the record that it sets.
    saving: Option<JoinHandle<Result<Upload, NotSaved>>>,
    /// Whether a sync failed.
    lost: bool,
}

/// What of a save failed.
enum NotSaved {
    Sync(StorageError),
    Row(StorageError),
}

/// Whether another try would fail as well: somebody else changed or removed the upload.
fn is_final(failure: Failure) -> bool {
    matches!(failure, Failure::Conflict | Failure::NotFound)
}

fn lost() -> StorageError {
    StorageError::new(Failure::Internal, "bytes could not be made durable; go on from what was committed before")
}

/// Bytes that a commit to the database may need.
const HEADROOM: u64 = 256 * 1024;

/// How often, and with which pause, an open waits for a writer in another process, or for a checkpoint of
/// a writer that was dropped.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl FileWriter {
    pub(crate) async fn open(storage: Arc<Inner>, upload: Upload) -> Result<Self, StorageError> {
        let file = Arc::new(open(&storage, &upload).await?);
        Ok(Self { storage, file, opened_at: upload.offset, stored: 0, seen: upload, saving: None, lost: false })
    }

    /// The disk is full to the last block. The row that claims what is there needs a little of it, too,
    /// so the last bytes that nothing claims yet are given back.
    async fn make_headroom(&mut self) -> Result<(), StorageError> {
        self.saved().await?;
        let claimed = self.seen.offset - self.opened_at;
        self.stored = self.stored.saturating_sub(HEADROOM).max(claimed);
        let (file, length) = (self.file.clone(), self.opened_at + self.stored);
        blocking(move || Ok(files::cut(&file, length)?)).await
    }

    /// Waits for the checkpoint that is under way.
    ///
    /// Where only its row failed, things are as they were before it. Where its sync failed, the system may
    /// say of the next one that all is well although bytes are lost: nothing more of this writer counts.
    async fn saved(&mut self) -> Result<(), StorageError> {
        let Some(saving) = self.saving.take() else {
            return if self.lost { Err(lost()) } else { Ok(()) };
        };
        match saving.await.map_err(std::io::Error::other)? {
            Ok(saved) => self.seen = saved,
            Err(NotSaved::Row(error)) if is_final(error.failure()) => return Err(error),
            Err(NotSaved::Row(error)) => tracing::warn!(upload = %self.seen.id, %error, "a checkpoint failed"),
            Err(NotSaved::Sync(error)) => {
                self.lost = true;
                self.stored = self.seen.offset - self.opened_at;
                return Err(error);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Writer for FileWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        let file = self.file.clone();
        let (written, result) = self.storage.writing.run(move || Ok(files::write_all(&file, &chunks))).await?;
        self.stored += written;
        match result.map_err(StorageError::from) {
            Err(error) if error.failure() == Failure::Full => {
                self.make_headroom().await?;
                Err(error)
            }
            result => result,
        }
    }

    fn stored(&self) -> u64 {
        self.stored
    }

    async fn checkpoint(&mut self, upload: &Upload) -> Result<bool, StorageError> {
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return Ok(false);
        }
        self.saved().await?;
        let Ok(turn) = self.storage.checkpoints.clone().try_acquire_owned() else {
            return Ok(false);
        };
        let save = save(self.storage.clone(), self.file.clone(), self.seen.clone(), upload.clone());
        self.saving = Some(tokio::spawn(async move {
            let _turn = turn;
            save.await
        }));
        Ok(true)
    }

    async fn commit(&mut self, upload: &Upload) -> Result<(), StorageError> {
        // Up to what an earlier commit made durable it is as good as ever.
        match self.saved().await {
            Err(_) if self.lost && upload.offset == self.seen.offset && upload.length == self.seen.length => {
                return Ok(());
            }
            result => result?,
        }
        if upload.offset < self.opened_at + self.stored {
            let (file, length) = (self.file.clone(), upload.offset);
            blocking(move || Ok(files::cut(&file, length)?)).await?;
            self.stored = upload.offset - self.opened_at;
        }
        let saved = save(self.storage.clone(), self.file.clone(), self.seen.clone(), upload.clone()).await;
        match saved {
            Ok(saved) => self.seen = saved,
            Err(NotSaved::Row(error)) => return Err(error),
            Err(NotSaved::Sync(error)) => {
                self.lost = true;
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Makes the bytes durable, and then `new` the record.
async fn save(storage: Arc<Inner>, file: Arc<File>, old: Upload, new: Upload) -> Result<Upload, NotSaved> {
    if storage.durability == Durability::Synced {
        let data = file.clone();
        let data = blocking(move || Ok(data.sync_data()?));
        // The name of a new file, too, must outlive a power cut.
        let is_new = old.offset == 0;
        let name = async { if is_new { storage.sync_name().await } else { Ok(()) } };
        let synced = async { tokio::try_join!(data, name) };
        synced.await.map_err(NotSaved::Sync)?;
    }
    let (id, is_first, record) = (old.id.clone(), old.offset == 0, new.clone());
    let replace = move |connection: &Connection| {
        // One of the same name may have come after this one was removed, and its file with it.
        if is_first && file.metadata()?.nlink() == 0 {
            return Err(Failure::NotFound.into());
        }
        row::replace(connection, &old, &new)
    };
    let replaced = storage.database.write(replace).await;
    if is_first && replaced.as_ref().is_err_and(|error| error.failure() == Failure::NotFound) {
        // The upload may have been removed before the file was made.
        storage.give_up(id);
    }
    replaced.map(|()| record).map_err(NotSaved::Row)
}

/// Opens the upload's file at the offset, with nothing beyond it, and keeps other processes out.
async fn open(storage: &Arc<Inner>, upload: &Upload) -> Result<File, StorageError> {
    for _ in 0..LOCK_TRIES {
        let (inner, upload) = (storage.clone(), upload.clone());
        if let Some(file) = storage.writing.run(move || try_open(&inner, &upload)).await? {
            return Ok(file);
        }
        sleep(LOCK_PAUSE).await;
    }
    Err(StorageError::new(Failure::Busy, "another process adds bytes to the upload"))
}

fn try_open(storage: &Inner, upload: &Upload) -> Result<Option<File>, StorageError> {
    let file = match upload.offset {
        0 => Some(storage.files.create(&upload.id)?),
        _ => storage.files.write(&upload.id)?,
    };
    let Some(file) = file else {
        return storage.current(&upload.id).and(Err(Failure::Conflict.into()));
    };
    if !files::lock(&file)? {
        return Ok(None);
    }
    // From here on nobody else writes. Where the file ends at the offset and its length was set before, its row can
    // only be what it was, or gone, as the first commit finds out.
    let length = file.metadata()?.len();
    if length < upload.offset {
        return Err(Failure::Conflict.into());
    }
    if length > upload.offset || upload.length.is_none() {
        let row = storage.current(&upload.id)?;
        if (row.offset, row.length) != (upload.offset, upload.length) {
            return Err(Failure::Conflict.into());
        }
    }
    files::cut(&file, upload.offset)?;
    Ok(Some(file))
}
