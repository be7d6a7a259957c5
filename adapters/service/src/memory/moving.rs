//! Moves the bytes of a complete upload to a file.

use std::{fs, io, path::Path};

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tus_core::{Failure, Kind, UploadId};

use super::Memory;
use crate::StorageError;

impl Memory {
    /// Moves the bytes of a complete upload to the file `target`. Missing directories are created, and an existing
    /// file is replaced. Afterwards [`read`](crate::Storage::read) reports the bytes as gone. The record stays.
    ///
    /// `tus_sqlite::Sqlite::move_to` does the same, so hooks that move files can be tested without a database.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] if there is no such upload, [`Failure::Conflict`] if it is not complete or is a part of
    /// another one, [`Failure::Gone`] if its bytes were moved and are not at `target`. If the file cannot be written,
    /// the system's reason with its path.
    pub async fn move_to(&self, id: &UploadId, target: impl AsRef<Path>) -> Result<(), StorageError> {
        let (memory, id, target) = (self.clone(), id.clone(), target.as_ref().to_owned());
        let moved = spawn_blocking(move || memory.move_blocking(&id, &target));
        moved.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    fn move_blocking(&self, id: &UploadId, target: &Path) -> Result<(), StorageError> {
        let failed = |failure, error: &str| {
            StorageError::new(failure, format!("the upload {id} cannot be moved to {}: {error}", target.display()))
        };
        let (incarnation, bytes) = {
            let state = self.state();
            let entry = state.entries.get(id).ok_or(Failure::NotFound)?;
            match &entry.upload {
                upload if !upload.is_complete() || upload.kind == Kind::Partial => return Err(Failure::Conflict.into()),
                _ if !entry.is_moved => {}
                _ if target.exists() => return Ok(()),
                _ => return Err(failed(Failure::Gone, "neither of them exists")),
            }
            (entry.upload.incarnation, entry.bytes.clone())
        };
        let temporary = target.with_file_name(format!(".{incarnation}.moving"));
        let written = write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, target));
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            let text = error.to_string();
            failed(StorageError::from(error).failure(), &text)
        })?;
        let mut state = self.state();
        if let Some(entry) = state.entries.get_mut(id).filter(|entry| entry.upload.incarnation == incarnation) {
            (entry.is_moved, entry.bytes) = (true, Default::default());
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[Bytes]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, bytes.concat())
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use tus_core::{Change, Incarnation, Phase, Stored, Upload};

    use super::*;
    use crate::Storage;

    async fn upload(memory: &Memory, name: &str, phase: Phase) -> Stored {
        let mut upload = Upload::new(name.parse().unwrap(), Incarnation::from_random(2), Kind::Single);
        upload.length = Some(5);
        let stored = Stored::new(upload.clone(), memory.create(&upload).await.unwrap());
        let mut writer = memory.open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
        let mut change = Change::of(&upload);
        (change.offset, change.phase) = (5, phase);
        writer.commit(&change).await.unwrap();
        drop(writer);
        memory.load(&upload.id).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_bytes_of_a_complete_upload_are_moved() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new();
        let target = directory.path().join("films/film");
        let half = upload(&memory, "half", Phase::Receiving).await;
        let stored = upload(&memory, "moved", Phase::Complete).await;
        let id = &stored.upload.id;
        let failure = |result: Result<(), StorageError>| result.unwrap_err().failure();
        assert_eq!(failure(memory.move_to(&"none".parse().unwrap(), &target).await), Failure::NotFound);
        assert_eq!(failure(memory.move_to(&half.upload.id, &target).await), Failure::Conflict);
        let error = memory.move_to(id, directory.path()).await.unwrap_err();
        assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
        assert_eq!(memory.read(&stored, 0..5).await.unwrap().try_collect::<Vec<_>>().await.unwrap(), ["hello"]);

        memory.move_to(id, &target).await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(memory.read(&stored, 0..5).await.err().unwrap().failure(), Failure::Gone);
        assert_eq!(memory.load(id).await.unwrap().as_ref(), Some(&stored));
        memory.move_to(id, &target).await.unwrap();
        assert_eq!(failure(memory.move_to(id, directory.path().join("other")).await), Failure::Gone);
    }
}
