//! The storage: rows and files of uploads.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tus_service::{
    Access, ByteStream, Change, Failure, Kind, Storage, StorageError, Stored, StoredStream, Upload, UploadFilter,
    UploadId, Version, Writer, async_trait,
};

use crate::{
    assemble,
    inner::{Found, Inner},
    lane::{blocking, quick},
    moving, orphans, queries, reading, row, takeover,
    writer::FileWriter,
};

/// Records that are changed in one transaction, at most.
const CHANGES: usize = 64;

/// Uploads in a directory. Clones share their uploads.
///
/// ```
/// use tus_service::Tus;
/// use tus_sqlite::Sqlite;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let sqlite = Sqlite::open(directory)?;
/// let tus = Tus::builder(sqlite.clone())
///     // Where the bytes of a finished upload are.
///     .finished(move |cx| {
///         let file = sqlite.path(&cx.upload.id);
///         async move { tokio::fs::metadata(file).await.map(drop) }
///     })
///     .build();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

impl Sqlite {
    pub(crate) fn over(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The file with the bytes of an upload; it contains all of them after the upload is finished.
    ///
    /// An application may read, link or copy it. To move it elsewhere, use [`Sqlite::move_to`].
    pub fn path(&self, id: &UploadId) -> PathBuf {
        self.0.files.path(id)
    }

    /// Moves the file of a complete upload to `target`, across file systems too. Missing directories are created, and
    /// an existing file is replaced.
    ///
    /// The upload's record stays, so that a client that missed the last response still learns that its upload is
    /// complete. Downloads of it are answered with `410 Gone`, or with the response of
    /// [`Hooks::authorize`](tus_service::Hooks::authorize), for example a redirect.
    ///
    /// `target` exists only when it is complete, even after a power cut. If the process died before this returned,
    /// call it again: if everything is done already, it does nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] if there is no such upload, [`Failure::Conflict`] if it is not complete or is a part of
    /// another one, [`Failure::Busy`] if it is already being moved, [`Failure::Gone`] if it was moved and is not at
    /// `target`. If the file cannot be moved, the system's reason with both paths.
    pub async fn move_to(&self, id: &UploadId, target: impl AsRef<Path>) -> Result<(), StorageError> {
        moving::move_to(&self.0, id, target.as_ref()).await
    }

    /// Whether another storage, in this or another process, has the directory open at this moment. `None` if the system
    /// does not know: only Linux does, and not on every file system.
    pub fn is_shared(&self) -> Option<bool> {
        self.0.files.is_shared()
    }

    /// Deletes files of removed uploads that were not deleted in time.
    pub(crate) fn clean_all(&self) -> Result<(), StorageError> {
        self.0.clean_all()
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

#[async_trait]
impl Storage for Sqlite {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        let empty = upload.is_complete();
        if empty {
            let (inner, id) = (self.0.clone(), upload.id.clone());
            blocking(move || {
                inner.reserve.keep()?;
                inner.files.create_new(&id).map_err(taken)?;
                inner.sync_names()
            })
            .await?;
        }
        let mut inserted = self.insert(upload, empty).await;
        if let Ok(None) = inserted {
            let inner = self.0.clone();
            inserted = match blocking(move || Ok(inner.reserve.keep()?)).await {
                Ok(()) => self.insert(upload, empty).await,
                Err(error) => Err(error),
            };
        }
        if empty && !matches!(inserted, Ok(Some(_))) {
            self.0.give_up(upload.id.clone());
        }
        // If it is gone again, somebody else needed it.
        inserted?.ok_or_else(|| Failure::Full.into())
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        let (inner, id_too) = (self.0.clone(), id.clone());
        let found = quick(move || inner.load(&id_too)).await?;
        self.repaired(id, found).await
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        let (inner, wanted) = (self.0.clone(), ids.to_vec());
        let found = quick(move || inner.load_all(&wanted)).await?;
        let mut loaded = Vec::with_capacity(ids.len());
        for (id, found) in ids.iter().zip(found) {
            loaded.push(self.repaired(id, found).await?);
        }
        Ok(loaded)
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let found = takeover::settle(&self.0, stored, access, patience).await?;
        self.repaired(&stored.upload.id, found).await
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        Ok(Box::new(FileWriter::open(self.0.clone(), stored.clone()).await?))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let mut new = stored.upload.clone();
        change.apply(&mut new);
        // A complete upload has a file, even if no bytes were ever added to it.
        let made = new.is_complete() && new.offset == 0 && !stored.upload.is_complete();
        if made {
            let (inner, id) = (self.0.clone(), new.id.clone());
            blocking(move || {
                inner.reserve.keep()?;
                inner.files.create(&id)?;
                inner.sync_names()
            })
            .await?;
        }
        let updated = self.0.change(stored, change).await;
        if made && updated.is_err() {
            self.0.give_up(new.id);
        }
        updated
    }

    async fn update_all(&self, changes: &[(Stored, Change)]) -> Result<(), StorageError> {
        // The others change one row and nothing else.
        let is_more =
            |(stored, change): &&(Stored, Change)| change.phase != stored.upload.phase || change.verbatim.is_some();
        let (more, together): (Vec<_>, Vec<_>) = changes.iter().partition(is_more);
        let mut all = Ok(());
        for (stored, change) in more {
            match self.update(stored, change).await {
                Err(error) if error.failure().is_overtaken() => {}
                made => all = all.and(made.map(drop)),
            }
        }
        for some in together.chunks(CHANGES) {
            let some: Vec<_> = some.iter().copied().cloned().collect();
            all = all.and(self.0.database.write(move |connection| row::change_all(connection, &some)).await);
        }
        all
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        match stored.upload.kind {
            Kind::Final(_) => assemble::assemble(&self.0, stored, parts, change).await,
            // The bytes of any other upload are in one file from the start.
            _ => self.update(stored, change).await,
        }
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        let seen = stored.clone();
        self.0.database.remove(move |connection| row::remove(connection, &seen)).await?;
        // The upload is gone from here on. A file that stays behind is deleted at the next start.
        if let Ok(Ok(Some(file))) = self.0.clean(stored.upload.id.clone()).await {
            blocking(move || {
                drop(file);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        reading::bytes(&self.0, stored, range).await
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        reading::list(self.0.clone(), filter, after.cloned())
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        reading::pending(self.0.clone(), now)
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        let (inner, part) = (self.0.clone(), part.clone());
        let waiting = move || inner.database.read(|connection| queries::waiting_for(connection, &part, at_most));
        quick(waiting).await
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        let inner = self.0.clone();
        let count = move || inner.database.read(|connection| queries::pending_finals(connection, at_most));
        quick(count).await
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        self.0.claim(upload, duration).await
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        orphans::tidy(&self.0).await
    }
}

impl Sqlite {
    /// Inserts a row, unless the space for its removal is not reserved. The file of an empty upload exists already.
    async fn insert(&self, upload: &Upload, empty: bool) -> Result<Option<Version>, StorageError> {
        let (inner, id) = (self.0.clone(), upload.id.clone());
        let check = move || {
            if !inner.reserve.is_complete()? {
                return Ok(false);
            }
            match inner.files.length(&id)? {
                // Bytes that belong to no row (for example because the database was lost) must not be overwritten.
                Some(_) if !empty => return Err(Failure::Exists.into()),
                None if empty => {
                    // Another process took it for the remains of an earlier attempt.
                    inner.files.create_new(&id)?;
                    inner.sync_names()?;
                }
                _ => {}
            }
            Ok(true)
        };
        self.0.insert(upload, check).await
    }

    /// The record after its repair: it may claim more bytes than its file has.
    async fn repaired(&self, id: &UploadId, mut found: Option<Found>) -> Result<Option<Stored>, StorageError> {
        loop {
            let (stored, there) = match found {
                Some((stored, there)) if there < stored.upload.offset => (stored, there),
                found => return Ok(found.map(|(stored, _)| stored)),
            };
            match self.step_back(stored, there).await {
                // It was changed or removed between reading its row and examining its file.
                Err(error) if error.failure().is_overtaken() => {}
                stepped_back => return stepped_back.map(Some),
            }
            let (inner, id) = (self.0.clone(), id.clone());
            found = quick(move || inner.load(&id)).await?;
        }
    }

    /// The row claims more than the file has: after a power cut in the buffered mode, or because somebody truncated
    /// or deleted the file. The existing bytes count, and the client continues from there.
    async fn step_back(&self, stored: Stored, there: u64) -> Result<Stored, StorageError> {
        let change = stored.upload.after_loss(there);
        let (seen, wanted) = (stored.clone(), change.clone());
        let version = self.0.database.write(move |connection| row::change(connection, &seen, &wanted)).await?;
        tracing::error!(
            upload = %stored.upload.id, offset = stored.upload.offset, there, phase = ?change.phase,
            "the file had fewer bytes than its record claims; the upload is reset to the existing bytes"
        );
        Ok(stored.changed(&change, version))
    }
}

fn taken(error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists.into(),
        _ => error.into(),
    }
}
