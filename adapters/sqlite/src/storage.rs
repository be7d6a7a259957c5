//! The storage: which rows and which files make an upload.

use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tus_service::{Failure, Kind, State, Storage, StorageError, Upload, UploadId, Writer, async_trait};

use crate::{
    Durability, OpenError, Options,
    database::Database,
    files::{self, Files, blocking},
    pace::Pace,
    row,
    shared_sync::SharedSync,
    strays,
    writer::FileWriter,
};

/// Uploads in a directory. A clone is the same storage.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) database: Arc<Database>,
    pub(crate) files: Files,
    pub(crate) durability: Durability,
    /// How records and bytes are read, and how bytes are written.
    pub(crate) reading: Pace,
    pub(crate) writing: Pace,
    /// How the names of new files are made durable.
    pub(crate) naming: SharedSync,
    /// Turns for checkpoints: commits, for which clients wait, must not queue behind thousands of them.
    pub(crate) checkpoints: Arc<Semaphore>,
    /// When files that belong to no upload were looked for.
    pub(crate) tidied: Mutex<Option<Instant>>,
}

/// Checkpoints that are under way at once, at most.
pub(crate) const CHECKPOINTS: usize = 8;

/// The most bytes that are read at once.
const READ: u64 = 1024 * 1024;

impl Sqlite {
    /// Opens a directory, which is made if it is missing, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(directory)
    }

    /// How to open a directory otherwise.
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn over(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The file that holds the bytes of an upload: all of them once it is finished.
    ///
    /// An application may read it, link it or copy it. Where it moves the file away, the upload's record
    /// stays until it is removed.
    pub fn path(&self, id: &UploadId) -> PathBuf {
        self.0.files.path(id)
    }

    /// Takes the file of a complete upload away: moves it to `target`, on the same file system. A file that
    /// is there already is replaced.
    ///
    /// The upload's record stays, so that a client which did not get the last response still learns that its
    /// upload is whole. Where the process died in between, taking it again does nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] where there is no such upload, [`Failure::Conflict`] where it is not complete, and
    /// the system's reason where the file cannot be moved.
    pub async fn take(&self, id: &UploadId, target: impl AsRef<Path>) -> Result<(), StorageError> {
        let (inner, id, target) = (self.0.clone(), id.clone(), target.as_ref().to_owned());
        blocking(move || {
            if !inner.current(&id)?.is_complete() {
                return Err(Failure::Conflict.into());
            }
            match std::fs::rename(inner.files.path(&id), &target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && target.exists() => {}
                renamed => renamed?,
            }
            if inner.durability == Durability::Synced {
                let directory = target.parent().filter(|path| !path.as_os_str().is_empty());
                File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
                inner.files.sync()?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes files of uploads that are removed, where that was not done in time.
    pub(crate) fn clean_all(&self) -> Result<(), StorageError> {
        self.0.clean_all()
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }
}

#[async_trait]
impl Storage for Sqlite {
    async fn create(&self, upload: &Upload) -> Result<(), StorageError> {
        // Bytes that belong to no row (the database was lost, say) are not ours to overwrite.
        let empty = upload.is_complete();
        if empty {
            let (inner, id) = (self.0.clone(), upload.id.clone());
            blocking(move || {
                inner.files.create_new(&id).map_err(taken)?;
                inner.sync_names()
            })
            .await?;
        }
        let (inner, record) = (self.0.clone(), upload.clone());
        let insert = move |connection: &_| match inner.files.length(&record.id)? {
            Some(_) if !empty => Err(Failure::Exists.into()),
            _ => row::insert(connection, &record),
        };
        let inserted = self.0.database.write(insert).await;
        if inserted.is_err() && empty {
            let (inner, id) = (self.0.clone(), upload.id.clone());
            blocking(move || Ok(inner.files.remove(&id)?)).await?;
        }
        inserted
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        loop {
            let (inner, id) = (self.0.clone(), id.clone());
            let (upload, there) = match self.0.reading.run(move || inner.load(&id)).await? {
                Some((upload, there)) if there < upload.offset => (upload, there),
                loaded => return Ok(loaded.map(|(upload, _)| upload)),
            };
            match self.step_back(upload, there).await {
                // It was changed or removed between the look at its row and the look at its file.
                Err(error) if matches!(error.failure(), Failure::Conflict | Failure::NotFound) => {}
                stepped_back => return stepped_back.map(Some),
            }
        }
    }

    async fn append(&self, upload: &Upload) -> Result<Box<dyn Writer>, StorageError> {
        Ok(Box::new(FileWriter::open(self.0.clone(), upload.clone()).await?))
    }

    async fn join(&self, upload: &Upload, partials: &[Upload]) -> Result<(), StorageError> {
        let (inner, new, partials) = (self.0.clone(), upload.clone(), partials.to_vec());
        let (_locked, old, new) = blocking(move || {
            let (file, old) = inner.join(&new, &partials)?;
            Ok((file, old, new))
        })
        .await?;
        self.0.database.write(move |connection| row::replace(connection, &old, &new)).await
    }

    async fn finish(&self, id: &UploadId) -> Result<(), StorageError> {
        let id = id.clone();
        self.0.database.write(move |connection| row::set_finished(connection, &id)).await
    }

    async fn remove(&self, id: &UploadId, expired_at: Option<SystemTime>) -> Result<(), StorageError> {
        let removed = id.clone();
        self.0.database.write(move |connection| row::remove(connection, &removed, expired_at)).await?;
        // From here on the upload is gone; a file that stays behind is deleted at the next start.
        if let Ok(Some(file)) = self.0.clean(id.clone()).await {
            blocking(move || {
                drop(file);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn read(&self, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError> {
        let (inner, id) = (self.0.clone(), upload.id.clone());
        blocking(move || {
            let end = range.end.min(inner.current(&id)?.offset);
            let most = end.saturating_sub(range.start).min(READ);
            if most == 0 {
                return Ok(Bytes::new());
            }
            let file = inner.files.read(&id).map_err(|error| missing(&inner, &id, error))?;
            files::read_at(&file, range.start, most as usize).map_err(|error| missing(&inner, &id, error))
        })
        .await
    }

    async fn list(&self, state: State, after: Option<&UploadId>, limit: usize) -> Result<Vec<Upload>, StorageError> {
        let (inner, after) = (self.0.clone(), after.cloned());
        blocking(move || inner.database.read(|connection| row::list(connection, state, after.as_ref(), limit))).await
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        strays::tidy(&self.0).await
    }

    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<UploadId>, StorageError> {
        let inner = self.0.clone();
        blocking(move || inner.database.read(|connection| row::expired(connection, now, limit))).await
    }
}

impl Sqlite {
    /// The row claims more than the file has: after a power cut in the buffered mode, or because somebody
    /// cut or deleted the file. What is there is the truth, and the client goes on from it.
    async fn step_back(&self, upload: Upload, there: u64) -> Result<Upload, StorageError> {
        let mut back = upload.clone();
        // A final upload is joined again from the start.
        let is_final = matches!(upload.kind, Kind::Final(_));
        back.offset = if is_final { 0 } else { there };
        back.length = upload.length.filter(|_| !is_final);
        let (old, new) = (upload.clone(), back.clone());
        self.0.database.write(move |connection| row::replace(connection, &old, &new)).await?;
        tracing::error!(
            upload = %upload.id, offset = upload.offset, there,
            "the file had fewer bytes than its row claimed; the upload goes back to what is there"
        );
        Ok(back)
    }
}

impl Inner {
    /// The record, and up to where its bytes are there.
    fn load(&self, id: &UploadId) -> Result<Option<(Upload, u64)>, StorageError> {
        let Some(upload) = self.database.read(|connection| row::select(connection, id))? else {
            return Ok(None);
        };
        let there = match upload.offset {
            0 => 0,
            // The file of an upload that is whole is the application's: it may have taken it away.
            offset if upload.finished => offset,
            offset => match self.files.length(id)? {
                None if upload.is_complete() && upload.kind != Kind::Partial => offset,
                length => length.unwrap_or(0),
            },
        };
        Ok(Some((upload, there)))
    }

    /// Makes the name of a file durable that is there already, and with it those of all others that wait.
    pub(crate) async fn sync_name(self: &Arc<Self>) -> Result<(), StorageError> {
        let inner = self.clone();
        self.naming.run(async move || blocking(move || Ok(inner.files.sync()?)).await).await
    }

    /// Makes the names of files durable, where that is wanted.
    fn sync_names(&self) -> Result<(), StorageError> {
        if self.durability == Durability::Synced { Ok(self.files.sync()?) } else { Ok(()) }
    }

    /// Deletes the files of uploads that are removed. It goes on although nobody waits for it.
    pub(crate) fn clean_all(self: &Arc<Self>) -> Result<(), StorageError> {
        for id in self.database.read(row::removed)? {
            self.clean(id);
        }
        Ok(())
    }

    /// Deletes a file that belongs to no upload, if that is still so. It goes on although nobody waits for it.
    pub(crate) fn give_up(self: &Arc<Self>, id: UploadId) {
        let inner = self.clone();
        // Within a change of the database, so that no upload of the same id is created meanwhile.
        self.database.write_later(move |connection| match row::select(connection, &id)? {
            Some(_) => Ok(()),
            None => Ok(inner.files.remove(&id)?),
        });
    }

    /// Deletes the file of an upload that is removed. It goes on although nobody waits for it.
    ///
    /// The open file is handed back: closing it is what gives the space back, and may take long.
    pub(crate) fn clean(self: &Arc<Self>, id: UploadId) -> oneshot::Receiver<Option<File>> {
        let (done, cleaned) = oneshot::channel();
        let inner = self.clone();
        // Within a change of the database, so that no upload of the same id is created meanwhile.
        self.database.write_later(move |connection| {
            if !row::is_removed(connection, &id)? {
                return Ok(());
            }
            let file = inner.files.read(&id).ok();
            match inner.files.remove(&id) {
                Ok(()) => row::forget_removed(connection, &id)?,
                Err(error) => {
                    tracing::warn!(upload = %id, %error, "the file of a removed upload could not be deleted");
                }
            }
            let _ = done.send(file);
            Ok(())
        });
        cleaned
    }

    /// The row as it is now.
    pub(crate) fn current(&self, id: &UploadId) -> Result<Upload, StorageError> {
        let row = self.database.read(|connection| row::select(connection, id))?;
        row.ok_or_else(|| Failure::NotFound.into())
    }

    /// Makes the file of a final upload, locked until it is dropped. With it the row as it was before.
    fn join(&self, upload: &Upload, partials: &[Upload]) -> Result<(File, Upload), StorageError> {
        let id = &upload.id;
        self.current(id)?;
        let file = self.files.create(id)?;
        if !files::lock(&file)? {
            return Err(Failure::Busy.into());
        }
        // Only now nobody else joins it: the file of an upload that is whole must not be touched.
        let old = self.current(id)?;
        if !matches!(old.kind, Kind::Final(_)) || old.is_complete() {
            return Err(Failure::Conflict.into());
        }
        match self.copy(&file, partials) {
            Ok(()) => Ok((file, old)),
            Err(error) => {
                self.files.remove(id)?;
                Err(error)
            }
        }
    }

    fn copy(&self, file: &File, partials: &[Upload]) -> Result<(), StorageError> {
        files::cut(file, 0)?;
        for partial in partials.iter().filter(|partial| partial.offset > 0) {
            let source = self.files.read(&partial.id).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    StorageError::new(Failure::NotFound, format!("the part {} is gone", partial.id))
                }
                _ => error.into(),
            })?;
            files::append_from(file, &source, partial.offset)?;
        }
        if self.durability == Durability::Synced {
            file.sync_data()?;
        }
        self.sync_names()
    }
}

fn taken(error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists.into(),
        _ => error.into(),
    }
}

fn missing(inner: &Inner, id: &UploadId, error: io::Error) -> StorageError {
    let path = inner.files.path(id);
    StorageError::new(
        Failure::Internal,
        format!("{} does not have the bytes that its row claims: {error}", path.display()),
    )
}
