//! Whether the files of the database are still the ones that were opened.

use std::{
    ffi::CString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, CWD, Dev, Mode, OFlags, statat},
};
use tus_service::{Failure, StorageError};

use crate::error::OpenError;

/// The files of a database, as they were opened. A commit to one that has lost its name would be lost with the
/// process.
pub(crate) struct Opened {
    path: PathBuf,
    /// The database is looked up by its full path, because the directory may have been replaced, too.
    database: (CString, Identity),
    /// The log is looked up where it was, which costs less: it moves with the directory, and the database with it.
    directory: OwnedFd,
    log: (CString, Identity),
}

/// Device and inode.
type Identity = (Dev, u64);

impl Opened {
    pub(crate) fn now(path: &Path) -> Result<Self, OpenError> {
        Self::look(path).map_err(|error| OpenError::Directory(path.to_owned(), error))
    }

    fn look(path: &Path) -> io::Result<Self> {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = rustix::fs::open(above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let database = CString::new(path.as_os_str().as_bytes())?;
        let log = CString::new([path.file_name().unwrap_or_default().as_bytes(), b"-wal"].concat())?;
        Ok(Self {
            path: path.to_owned(),
            database: (database.clone(), identity(CWD, &database)?),
            log: (log.clone(), identity(&directory, &log)?),
            directory,
        })
    }

    /// The length of the log in bytes; 0 if it is gone.
    pub(crate) fn log_length(&self) -> u64 {
        let stat = statat(&self.directory, self.log.0.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        stat.ok().and_then(|stat| stat.st_size.try_into().ok()).unwrap_or(0)
    }

    /// Checks that they are. If not, nothing is acknowledged.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        let (database, log) = (&self.database, &self.log);
        let suffix = if identity(CWD, &database.0).ok() != Some(database.1) {
            ""
        } else if identity(&self.directory, &log.0).ok() != Some(log.1) {
            "-wal"
        } else {
            return Ok(());
        };
        let file = self.path.display();
        let reason = format!(
            "{file}{suffix} was moved, deleted or replaced under the running server: put it back, or start again"
        );
        Err(StorageError::new(Failure::Internal, reason))
    }
}

fn identity(directory: impl AsFd, file: &CString) -> io::Result<Identity> {
    let stat = statat(directory, file.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}
