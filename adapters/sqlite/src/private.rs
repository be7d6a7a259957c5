//! The database, its log and the directories are private, whatever the umask is: the owner may write them, and the
//! group may read them.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::Mode;

/// The modes of files and directories. The umask may remove more permissions.
pub(crate) const FILE_MODE: u32 = 0o640;
/// [`FILE_MODE`] as `rustix` has it: the number's type depends on the system.
pub(crate) const FILE_ACCESS: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
const DIRECTORY_MODE: u32 = 0o750;

/// The permissions of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// Creates a directory.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(path)
}

/// Creates the file of a missing database. SQLite gives its log the same permissions. Files of older versions of this
/// crate lose the permissions of others.
pub(crate) fn database(path: &Path) -> io::Result<()> {
    match make_file(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        keep_others_out(&PathBuf::from(file))?;
    }
    Ok(())
}

/// Removes the permissions of others. If somebody else owns the file, that is left to them.
pub(crate) fn keep_others_out(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.mode() & 0o7777,
    };
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            tracing::warn!(
                path = %path.display(), %error,
                "other users may read this file, and its mode cannot be changed"
            );
            Ok(())
        }
        changed => changed,
    }
}

/// Creates a file without opening it: closing a file of a database releases the process's locks on it.
#[cfg(target_os = "linux")]
fn make_file(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(FILE_MODE), 0)?)
}

/// Creates a file. Other systems can only do this by opening it; it is a new file, on which nobody has locks.
#[cfg(not(target_os = "linux"))]
fn make_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path).map(drop)
}
