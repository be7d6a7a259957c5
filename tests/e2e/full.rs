//! The disk is full: what is there is kept, and the upload goes on when there is room again.

use std::{path::PathBuf, process::Command};

use crate::{
    content::{assert_same, bytes},
    harness::{Server, skip},
};

const LENGTH: u64 = 8 << 20;

/// A small file system in memory, there until this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one. `None` where that is not allowed, or not known.
    fn mount(at: PathBuf) -> Option<Self> {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&at)).then_some(Self(at))
    }

    fn grow(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,size=32m"]).arg(&self.0)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may still have a server on it.
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(crate) fn what_there_is_room_for_is_kept(server: Server) {
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
