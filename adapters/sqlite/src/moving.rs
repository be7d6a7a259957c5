//! The file of a complete upload is moved to where the application wants it, on another file system, too.
//!
//! The target is complete whenever it exists, and the file in the storage goes last: where the process dies in between,
//! the next call does all of it again.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};
use tus_service::{Failure, Kind, StorageError, Stored, UploadId};

use crate::{
    files::{self, blocking},
    inner::Inner,
    private, row,
};

pub(crate) async fn move_to(inner: &Arc<Inner>, id: &UploadId, target: &Path) -> Result<(), StorageError> {
    let moving = Arc::new(Moving { inner: inner.clone(), id: id.clone(), target: target.to_owned() });
    let beginning = moving.clone();
    let Some(mut found) = blocking(move || beginning.begin()).await? else { return Ok(()) };
    let is_renamed = moving.rename(found.stored.clone()).await?;
    if !is_renamed {
        let copying = moving.clone();
        found = blocking(move || copying.copy(found)).await?;
        moving.remove(found.stored.clone()).await?;
    }
    blocking(move || {
        // Locked until here.
        drop(found);
        moving.sync()
    })
    .await
}

struct Moving {
    inner: Arc<Inner>,
    id: UploadId,
    target: PathBuf,
}

/// A complete upload, and its file. The file is locked: one at a time moves it, in another process, too.
struct Found {
    stored: Stored,
    file: File,
}

impl Moving {
    /// `None` where it was moved before.
    fn begin(&self) -> Result<Option<Found>, StorageError> {
        let file = match self.inner.files.read(&self.id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(|error| self.failed(error))?),
        };
        // After the file was opened: so it is not that of a later upload.
        let stored = self.inner.current(&self.id)?;
        if !stored.upload.is_complete() || stored.upload.kind == Kind::Partial {
            return Err(Failure::Conflict.into());
        }
        if let Some(file) = file {
            if !files::lock(&file).map_err(|error| self.failed(error))? {
                return Err(self.error(Failure::Busy, "somebody is moving it"));
            }
            if files::is_named(&file).map_err(|error| self.failed(error))? {
                files::make_directory(self.directory()).map_err(|error| self.failed(error))?;
                return Ok(Some(Found { stored, file }));
            }
        }
        match self.target.try_exists() {
            Ok(true) => Ok(None),
            _ => Err(self.error(Failure::Gone, "neither of them is there")),
        }
    }

    /// Whether that was possible: it is not from one file system to another.
    async fn rename(self: &Arc<Self>, stored: Stored) -> Result<bool, StorageError> {
        let moving = self.clone();
        let rename = move || match moving.inner.files.rename(&moving.id, &moving.target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            // The change of the database that this belongs to was made again.
            Err(error) if error.kind() == io::ErrorKind::NotFound && moving.target.exists() => Ok(true),
            Err(error) => Err(moving.failed(error)),
        };
        self.exclusively(stored, rename).await
    }

    /// Copies the file to a name beside the target, and then gives it the target's name. What a killed process left of a
    /// copy is overwritten by the next one.
    fn copy(&self, found: Found) -> Result<Found, StorageError> {
        let temporary = self.directory().join(format!(".{}.moving", found.stored.upload.incarnation));
        let copied = copy(&found, &temporary).and_then(|()| fs::rename(&temporary, &self.target));
        match copied.and_then(|()| File::open(self.directory())?.sync_all()) {
            Ok(()) => Ok(found),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(self.failed(error))
            }
        }
    }

    async fn remove(self: &Arc<Self>, stored: Stored) -> Result<(), StorageError> {
        let moving = self.clone();
        self.exclusively(stored, move || moving.inner.files.remove(&moving.id).map_err(|error| moving.failed(error)))
            .await
    }

    /// Within a change of the database, so that no upload of the same id is created meanwhile.
    async fn exclusively<T: Send + 'static>(
        &self,
        stored: Stored,
        mut operation: impl FnMut() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let change = move |connection: &_| match row::select(connection, &stored.upload.id)? {
            Some(now) if now.is_same_upload(&stored.upload) => operation(),
            _ => Err(Failure::NotFound.into()),
        };
        self.inner.database.remove(change).await
    }

    fn sync(&self) -> Result<(), StorageError> {
        if self.inner.is_synced() {
            File::open(self.directory())
                .and_then(|directory| directory.sync_all())
                .map_err(|error| self.failed(error))?;
        }
        self.inner.sync_names()
    }

    /// The target's directory.
    fn directory(&self) -> &Path {
        self.target.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn failed(&self, error: io::Error) -> StorageError {
        let text = error.to_string();
        self.error(StorageError::from(error).failure(), &text)
    }

    fn error(&self, failure: Failure, reason: &str) -> StorageError {
        let (source, target) = (self.inner.files.path(&self.id), &self.target);
        StorageError::new(failure, format!("{} cannot be moved to {}: {reason}", source.display(), target.display()))
    }
}

fn copy(found: &Found, temporary: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = File::from(rustix::fs::open(temporary, flags, Mode::from_raw_mode(private::FILE_MODE))?);
    files::go_to(&found.file, 0)?;
    files::append_from(&copy, &found.file, found.stored.upload.offset)?;
    copy.sync_all()
}
