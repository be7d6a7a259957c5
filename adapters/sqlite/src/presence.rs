//! Whether another storage has the directory open, in this process or in another one.
//!
//! A storage that is alone need not check at each access whether another process is adding bytes to the upload.

use std::{io, os::fd::AsFd};

/// Announces that this storage has the directory open: a shared lock on it, which the system releases when the
/// directory is closed, even if the process is killed.
#[cfg(target_os = "linux")]
pub(crate) fn announce(directory: impl AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    Ok(fcntl(directory, FcntlArg::F_OFD_SETLK(&first_byte(nix::libc::F_RDLCK))).map(drop)?)
}

/// Whether another storage has done so; `None` if the system does not know.
#[cfg(target_os = "linux")]
pub(crate) fn is_shared(directory: impl AsFd) -> Option<bool> {
    use nix::{
        fcntl::{FcntlArg, fcntl},
        libc::{F_UNLCK, F_WRLCK},
    };
    // Could it be locked exclusively?
    let mut lock = first_byte(F_WRLCK);
    fcntl(directory, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    Some(i32::from(lock.l_type) != F_UNLCK)
}

#[cfg(target_os = "linux")]
fn first_byte(kind: i32) -> nix::libc::flock {
    nix::libc::flock { l_type: kind as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn announce(_: impl AsFd) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_shared(_: impl AsFd) -> Option<bool> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_storage_is_alone_until_another_one_opens() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let file = File::open(&directory).unwrap();
            announce(&file).unwrap();
            file
        };
        let one = open();
        assert_eq!(is_shared(&one), Some(false));
        let two = open();
        assert_eq!((is_shared(&one), is_shared(&two)), (Some(true), Some(true)));
        drop(one);
        assert_eq!(is_shared(&two), Some(false));
    }
}
