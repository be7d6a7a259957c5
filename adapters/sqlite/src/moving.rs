//! Moves the file of a complete upload to where the application wants it, across file systems too.
//!
//! The target is complete whenever it exists, and the file in the storage is removed last. If the process dies in
//! between, the next call repeats everything.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, OFlags, Stat},
    io::Errno,
};
use tus_service::{Failure, Kind, StorageError, Stored, UploadId};

use crate::{files, inner::Inner, lane::blocking_elsewhere, private, row};

pub(crate) async fn move_to(inner: &Arc<Inner>, id: &UploadId, target: &Path) -> Result<(), StorageError> {
    let moving = Arc::new(Moving { inner: inner.clone(), id: id.clone(), target: target.to_owned() });
    let beginning = moving.clone();
    let Some(mut found) = blocking_elsewhere(move || beginning.begin()).await? else {
        // The process that moved it may have died before the names were durable.
        return blocking_elsewhere(move || moving.sync()).await;
    };
    let is_renamed = found.is_near && moving.rename(&found).await?;
    if !is_renamed {
        let copying = moving.clone();
        found = blocking_elsewhere(move || copying.copy(found)).await?;
        moving.remove(found.stored.clone()).await?;
    }
    blocking_elsewhere(move || {
        // Locked until here.
        drop(found);
        moving.sync()
    })
    .await
}

pub(crate) struct Moving {
    pub(crate) inner: Arc<Inner>,
    pub(crate) id: UploadId,
    pub(crate) target: PathBuf,
}

/// A complete upload and its file. The file is locked, so that one call at a time moves it, across processes too.
pub(crate) struct Found {
    stored: Stored,
    file: File,
    stat: Stat,
    /// The target's directory. The thread that changes the database does not follow its path, which may lead anywhere.
    directory: Arc<File>,
    /// Whether the target's directory is on the storage's file system. If not, the thread that changes the database
    /// never touches it, because another file system may hang.
    is_near: bool,
}

impl Moving {
    /// `None` if it was moved before.
    fn begin(&self) -> Result<Option<Found>, StorageError> {
        let file = match self.inner.files.read(&self.id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(|error| self.failed(error))?),
        };
        // Checked after the file was opened, so that it is not the file of a later upload.
        let stored = self.inner.current(&self.id)?;
        if !stored.upload.is_complete() || stored.upload.kind == Kind::Partial {
            return Err(Failure::Conflict.into());
        }
        self.check_target()?;
        self.take(file, stored)
    }

    /// Rejects targets that could only fail after a long copy, or that would damage the storage.
    fn check_target(&self) -> Result<(), StorageError> {
        if self.target.file_name().is_none()
            || self.stat_target()?.is_some_and(|there| kind(&there) == FileType::Directory)
        {
            return Err(self.error(Failure::Internal, "the target is a directory"));
        }
        self.check_not_own()
    }

    fn check_not_own(&self) -> Result<(), StorageError> {
        match self.is_own()? {
            true => Err(self.error(Failure::Internal, "the target is among the storage's own files")),
            false => Ok(()),
        }
    }

    /// Whether the target is below the directory of the files, or is the database, its log, or the reserve.
    fn is_own(&self) -> Result<bool, StorageError> {
        let own = self.inner.files.stat_directory().map_err(|error| self.failed(error))?;
        let above =
            self.directory().ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
        // Links are followed, and what is missing is going to be made.
        let Some(there) = above.into_iter().find_map(|path| path.canonicalize().ok()) else { return Ok(false) };
        for directory in there.ancestors() {
            if self.there(rustix::fs::stat(directory))?.is_some_and(|directory| files::is_same(&directory, &own)) {
                return Ok(true);
            }
        }
        let database = self.there(rustix::fs::stat(self.inner.database.directory()))?;
        let directory = self.there(rustix::fs::stat(self.directory()))?;
        let is_beside = database.zip(directory).is_some_and(|(one, other)| files::is_same(&one, &other));
        Ok(is_beside && self.name().as_encoded_bytes().starts_with(b"uploads."))
    }

    /// Takes the opened file, if it is still there to be moved.
    pub(crate) fn take(&self, file: Option<File>, stored: Stored) -> Result<Option<Found>, StorageError> {
        if let Some(file) = file {
            if !files::lock(&file).map_err(|error| self.failed(error))? {
                return Err(self.error(Failure::Busy, "it is already being moved"));
            }
            let stat = rustix::fs::fstat(&file).map_err(|error| self.failed(error.into()))?;
            // The file may have other names, because the application may link it. The name here is what counts.
            match self.inner.files.stat(&self.id).map_err(|error| self.failed(error))? {
                Some(now) if files::is_same(&now, &stat) => {
                    let directory = files::make_directory(self.directory()).and_then(|()| File::open(self.directory()));
                    let directory = Arc::new(directory.map_err(|error| self.failed(error))?);
                    // Checked again: what was missing may have hidden where the path leads.
                    self.check_not_own()?;
                    let is_near = self.is_near(&directory).map_err(|error| self.failed(error))?;
                    return Ok(Some(Found { stored, file, stat, directory, is_near }));
                }
                Some(_) => return Err(self.error(Failure::Busy, "another file has just taken its place")),
                None => {}
            }
        }
        let is_moved = |there: Stat| {
            // It may be a copy, which can be recognized only by its length.
            kind(&there) == FileType::RegularFile && files::length(&there) == stored.upload.offset
        };
        if self.stat_target()?.is_some_and(is_moved) {
            return Ok(None);
        }
        Err(self.error(Failure::Gone, "the file is gone, and what is at the target, if anything, is not this upload"))
    }

    fn is_near(&self, directory: &File) -> io::Result<bool> {
        Ok(rustix::fs::fstat(directory)?.st_dev == self.inner.files.stat_directory()?.st_dev)
    }

    /// Returns whether that was possible. It is not possible across mounts, even of one file system.
    pub(crate) async fn rename(self: &Arc<Self>, found: &Found) -> Result<bool, StorageError> {
        let (moving, file, directory) = (self.clone(), found.stat, found.directory.clone());
        let is_moved = move |moving: &Self, directory: &File| {
            let there = rustix::fs::statat(directory, moving.name(), AtFlags::SYMLINK_NOFOLLOW);
            there.is_ok_and(|there| files::is_same(&there, &file))
        };
        let rename = move || {
            // Renaming a file to another of its names does nothing.
            let moved = match is_moved(&moving, &directory) {
                true => moving.inner.files.remove(&moving.id),
                false => moving.inner.files.rename(&moving.id, &directory, moving.name()),
            };
            match moved {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
                Err(error) => Err(moving.failed(error)),
            }
        };
        self.exclusively(found.stored.clone(), rename).await
    }

    /// Copies the file to a temporary name beside the target and then renames it. A copy that a killed process left
    /// is overwritten by the next one.
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

    /// Within a change of the database, so that no upload with the same id is created at the same time.
    async fn exclusively<T: Copy + Send + 'static>(
        &self,
        stored: Stored,
        mut operation: impl FnMut() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let mut done = None;
        let change = move |connection: &_| {
            // A rollback for another change does not move the file back.
            if let Some(done) = done {
                return Ok(done);
            }
            match row::select(connection, &stored.upload.id)? {
                Some(now) if now.is_same_upload(&stored.upload) => Ok(*done.insert(operation()?)),
                _ => Err(Failure::NotFound.into()),
            }
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

    /// What is at the target. Links are not followed, because a move replaces them.
    fn stat_target(&self) -> Result<Option<Stat>, StorageError> {
        self.there(rustix::fs::lstat(&self.target))
    }

    fn there(&self, stat: rustix::io::Result<Stat>) -> Result<Option<Stat>, StorageError> {
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// The name of the target in its directory; empty if it has none, which `check_target` rejects.
    fn name(&self) -> &OsStr {
        self.target.file_name().unwrap_or_default()
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

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn copy(found: &Found, temporary: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = File::from(rustix::fs::open(temporary, flags, private::FILE_ACCESS)?);
    files::go_to(&found.file, 0)?;
    files::append_from(&copy, &found.file, found.stored.upload.offset)?;
    copy.sync_all()
}
