//! The disk is full: stored bytes are kept, and the upload resumes when there is room again.

use std::{path::PathBuf, process::Command};

use crate::{
    content::{assert_same, bytes},
    harness::{Server, skip},
};

const LENGTH: u64 = 8 << 20;

/// A small file system in memory, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one. `None` if that is not allowed or not supported.
    fn mount(at: PathBuf) -> Option<Self> {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&at)).then_some(Self(at))
    }

    fn grow(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,size=32m"]).arg(&self.0)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have a server using it.
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(crate) fn a_full_disk_keeps_stored_bytes(server: Server) {
    if !server.outlives_its_process() {
        return;
    }
    let Some(disk) = SmallDisk::mount(server.directory.path().to_owned()) else {
        return skip("a small file system cannot be mounted here");
    };
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(LENGTH);
    connection.begin_patch(&path, 0, LENGTH);
    let _ = connection.try_send(&bytes(6, 0..LENGTH));
    let response = connection.response("PATCH");
    assert_eq!(response.status, 507, "{response:?}");

    let mut connection = started.connect();
    let kept = connection.offset(&path);
    assert!(0 < kept && kept < LENGTH, "{kept}");
    assert_same(&started.content(&path), &bytes(6, 0..kept));

    disk.grow();
    assert_eq!(connection.patch(&path, kept, &bytes(6, kept..LENGTH)).status, 204);
    assert_same(&started.content(&path), &bytes(6, 0..LENGTH));
}
