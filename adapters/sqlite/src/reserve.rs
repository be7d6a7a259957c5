//! Space that is reserved for the database, so that uploads can be removed when the disk is full.
//!
//! Removing an upload is a change of the database, which needs room in its log before the upload's bytes free any. A
//! file reserves that room. Bytes and uploads are accepted only while it is complete. If a removal finds no room, the
//! file is emptied. Processes share nothing about it but its length.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::private::FILE_MODE;

/// In bytes. More than the log may have, because all of it may have to be written back first.
pub(crate) const SIZE: u64 = 8 << 20;

#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    /// Held while the length changes. A lock on the file keeps other processes out.
    changing: Mutex<()>,
}

impl Reserve {
    /// Opens the file, creates it if it is missing, and fills it if there is room.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)?;
        let reserve = Self { file, changing: Mutex::default() };
        if let Err(error) = reserve.keep() {
            tracing::warn!(
                %error,
                "the disk has no room for {}: uploads can only be deleted until there is room",
                path.display()
            );
        }
        Ok(reserve)
    }

    /// Returns when the space is reserved: other writes may use the rest. It blocks while a removal uses it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] if there is not enough space.
    pub(crate) fn keep(&self) -> io::Result<()> {
        if self.is_complete()? {
            return Ok(());
        }
        let _locked = self.lock()?;
        if self.is_complete()? {
            return Ok(());
        }
        let filled = allocate(&self.file);
        if filled.is_err() {
            // Half of it is useless, and somebody else may need it.
            self.file.set_len(0)?;
        }
        filled
    }

    pub(crate) fn is_complete(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() >= SIZE)
    }

    /// Keeps everybody else from filling it. It blocks.
    pub(crate) fn lock(&self) -> io::Result<Locked<'_>> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        flock(&self.file, FlockOperation::LockExclusive)?;
        Ok(Locked { reserve: self, _changing: changing })
    }
}

/// The reserve while it may be used.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    reserve: &'a Reserve,
    _changing: MutexGuard<'a, ()>,
}

impl Locked<'_> {
    /// Frees the space.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.reserve.file.set_len(0)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.reserve.file, FlockOperation::Unlock) {
            tracing::error!(%error, "the reserve stays locked");
        }
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, SIZE) {
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file),
        allocated => Ok(allocated?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File) -> io::Result<()> {
    write_zeros(file)
}

fn write_zeros(mut file: &File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let zeros = [0; 64 * 1024];
    (0..SIZE / zeros.len() as u64).try_for_each(|_| file.write_all(&zeros))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, thread};

    use super::*;

    #[test]
    fn the_space_is_really_reserved_and_freed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let reserve = Reserve::open(&path).unwrap();
        let taken = || path.metadata().unwrap().blocks() * 512;
        assert!(reserve.is_complete().unwrap() && taken() >= SIZE);
        let locked = reserve.lock().unwrap();
        locked.release().unwrap();
        assert_eq!(taken(), 0);
        // Nobody fills it in the meantime, here or in another process.
        let others: Vec<_> = (0..2)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || Reserve::open(&path).unwrap())
            })
            .collect();
        assert_eq!(taken(), 0);
        drop(locked);
        for other in others {
            assert!(other.join().unwrap().is_complete().unwrap());
        }
        reserve.keep().unwrap();
        assert!(reserve.is_complete().unwrap() && taken() >= SIZE);
        write_zeros(&reserve.file).unwrap();
        assert_eq!(path.metadata().unwrap().len(), SIZE);
    }
}
