//! The data files. Files are opened by name, relative to the directory that was opened at the start, and links are
//! not followed, so that nothing in the directory leads out of it.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{AtFlags, FlockOperation, Mode, OFlags, Stat, flock, openat, unlinkat},
    io::pread,
};
use tus_service::UploadId;

use crate::{presence, private};

#[derive(Debug)]
pub(crate) struct Files {
    directory: OwnedFd,
    path: PathBuf,
}

impl Files {
    /// Opens the directory, and creates it if it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        private::keep_others_out(path)?;
        let path = path.canonicalize()?;
        let directory = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if let Err(error) = presence::announce(&directory) {
            tracing::debug!(%error, "the directory cannot be locked; every access to an upload checks whether another process is adding bytes to it");
        }
        Ok(Self { directory, path })
    }

    pub(crate) fn path(&self, id: &UploadId) -> PathBuf {
        self.path.join(id.as_str())
    }

    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        Ok(std::fs::read_dir(&self.path)?.next().is_none())
    }

    /// The ids that name files, in no order. Names that are not ids are skipped.
    pub(crate) fn ids(&self) -> io::Result<impl Iterator<Item = UploadId>> {
        let entries = std::fs::read_dir(&self.path)?.filter_map(Result::ok);
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        Ok(files.filter_map(|file| file.file_name().to_str()?.parse().ok()))
    }

    /// Opens a file for writing, and creates it if it is missing.
    pub(crate) fn create(&self, id: &UploadId) -> io::Result<File> {
        self.at(id, OFlags::RDWR | OFlags::CREATE)
    }

    /// Creates a file, and fails if it exists.
    pub(crate) fn create_new(&self, id: &UploadId) -> io::Result<File> {
        self.at(id, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file for writing; `None` if it does not exist.
    pub(crate) fn write(&self, id: &UploadId) -> io::Result<Option<File>> {
        match self.at(id, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        }
    }

    pub(crate) fn read(&self, id: &UploadId) -> io::Result<File> {
        self.at(id, OFlags::RDONLY)
    }

    /// Whether another storage has the directory open; `None` if the system does not know.
    pub(crate) fn is_shared(&self) -> Option<bool> {
        presence::is_shared(&self.directory)
    }

    /// Whether no other storage has the directory open. If the system does not know, one may have.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_shared() == Some(false)
    }

    /// The length of a file in bytes, and whether another storage has [locked](lock) it; `None` if it does not exist.
    ///
    /// This locks it for a moment, in a way that does not keep others from checking, too.
    pub(crate) fn look(&self, id: &UploadId) -> io::Result<Option<(u64, bool)>> {
        match self.at(id, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => {
                let held = !try_lock(&file, FlockOperation::NonBlockingLockShared)?;
                Ok(Some((file.metadata()?.len(), held)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // What cannot be opened (for example a link) has no writer.
            Err(_) => Ok(self.length(id)?.map(|length| (length, false))),
        }
    }

    /// The length of a file in bytes; `None` if it does not exist.
    pub(crate) fn length(&self, id: &UploadId) -> io::Result<Option<u64>> {
        Ok(self.stat(id)?.map(|stat| length(&stat)))
    }

    /// The metadata of whatever has the name of this upload's file; `None` if there is nothing.
    pub(crate) fn stat(&self, id: &UploadId) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.directory, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory itself.
    pub(crate) fn stat_directory(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.directory)?)
    }

    /// Deletes a file. A missing one is not an error.
    pub(crate) fn remove(&self, id: &UploadId) -> io::Result<()> {
        match unlinkat(&self.directory, id.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a file to another directory, within its file system. What has that name is replaced.
    pub(crate) fn rename(&self, id: &UploadId, directory: &File, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, id.as_str(), directory, name)?)
    }

    /// The bytes that are available to the user of this process.
    pub(crate) fn room(&self) -> io::Result<u64> {
        let there = rustix::fs::fstatvfs(&self.directory)?;
        Ok(there.f_bavail.saturating_mul(there.f_frsize))
    }

    /// Makes the names of files durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn at(&self, id: &UploadId, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.directory, id.as_str(), flags, private::FILE_ACCESS)?.into())
    }
}

/// Creates a directory and its missing parents. Their names survive a power cut, even if another process created them
/// and was killed before syncing.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        // A directory that may not be read was not created here.
        let _ = File::open(above).and_then(|above| above.sync_all());
        return Ok(());
    }
    make_directory(above)?;
    match private::make_directory(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(above)?.sync_all(),
    }
}

/// Keeps others from writing to a file until it is closed. Returns whether nobody else does.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    try_lock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Whether nobody keeps others from writing to a file.
pub(crate) fn is_free(file: &File) -> io::Result<bool> {
    let is_free = try_lock(file, FlockOperation::NonBlockingLockShared)?;
    if is_free {
        flock(file, FlockOperation::Unlock)?;
    }
    Ok(is_free)
}

fn try_lock(file: &File, how: FlockOperation) -> io::Result<bool> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether both are the same file, whatever its name.
pub(crate) fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The length of a file in bytes.
pub(crate) fn length(stat: &Stat) -> u64 {
    stat.st_size.try_into().unwrap_or(0)
}

/// Whether a file still has a name. What is written to a file without a name is lost.
pub(crate) fn is_named(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}

/// Writes all chunks at the file's cursor with as few calls as possible. Returns the number of bytes written, even if
/// it failed.
pub(crate) fn write_all(mut file: &File, chunks: &[Bytes]) -> (u64, io::Result<()>) {
    let mut written = 0;
    let mut slices: Vec<_> = chunks.iter().map(|chunk| io::IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    io::IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => {
                written += more as u64;
                io::IoSlice::advance_slices(&mut rest, more);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Truncates a file to `length` bytes, and sets its cursor there.
pub(crate) fn cut(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    go_to(file, length)
}

/// Sets the cursor of a file.
pub(crate) fn go_to(mut file: &File, position: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(position)).map(drop)
}

/// Adds `length` bytes of another file. The kernel copies or clones them where the file system can.
pub(crate) fn append_from(mut file: &File, source: &File, length: u64) -> io::Result<()> {
    let copied = io::copy(&mut source.take(length), &mut file)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// At most `most` bytes from `start`.
pub(crate) fn read_at(file: &File, start: u64, most: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(most);
    while bytes.len() < most {
        let next = start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), next) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(most);
    Ok(bytes.into())
}
