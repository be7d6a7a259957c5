//! The database, its log and the directories are nobody else's business, whatever the umask is: the owner may write
//! them, and the group may read them.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Permissions of files, and of directories. The umask may take more of them away.
pub(crate) const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// Permissions of those that are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// Makes a directory.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(path)
}

/// Makes the file of a database that is missing. SQLite gives its log the same permissions. Those that an older version
/// of this crate made are taken from others.
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

/// Takes the permissions of others away. It is left to the owner of the file, where that is somebody else.
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
            tracing::warn!(path = %path.display(), %error, "others may read it, and that cannot be changed");
            Ok(())
        }
        changed => changed,
    }
}

/// Makes a file without opening it: to close a file of a database ends the locks that the process has on it.
#[cfg(target_os = "linux")]
fn make_file(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(FILE_MODE), 0)?)
}

/// Makes a file. Elsewhere there is no way without opening it; it is a new one, on which nobody has locks.
#[cfg(not(target_os = "linux"))]
fn make_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path).map(drop)
}
