//! The disk is full: stored bytes are kept, uploads can be removed, and they resume when there is room again.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Write},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tests::{Framework, Store};
use tus_service::{Builder, Config};

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{Server, Started, missing, wait_until},
};

const LENGTH: u64 = 8 << 20;

/// A small file system, unmounted on drop.
struct SmallDisk {
    at: PathBuf,
    /// The file that contains it, unless it is in memory.
    _image: Option<TempDir>,
}

#[derive(Debug, Clone, Copy)]
enum FileSystem {
    Tmpfs,
    Ext4,
}

impl SmallDisk {
    /// Mounts one of 24 MiB. `None` if that is not allowed or not supported.
    fn mount(kind: FileSystem, at: PathBuf) -> Option<Self> {
        let (mounted, image) = match kind {
            FileSystem::Tmpfs => {
                (run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&at)), None)
            }
            FileSystem::Ext4 => {
                let directory = tempfile::tempdir().unwrap();
                let image = directory.path().join("image");
                File::create(&image).unwrap().set_len(32 << 20).unwrap();
                // Blocks of the size of a disk's. SQLite maps its index into memory and allocates one byte of each 4
                // KiB: with smaller blocks, the system kills a process that writes into the rest when the disk is
                // full.
                let made = run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-b", "4096"]).arg(&image));
                (made && run(Command::new("mount").args(["-o", "loop"]).args([&image, &at])), Some(directory))
            }
        };
        mounted.then_some(Self { at, _image: image })
    }

    fn grow(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,size=48m"]).arg(&self.at)));
    }

    /// Another program uses all of it except this many bytes.
    fn fill(&self, except: u64) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        // Freed blocks may become available only after a sync.
        loop {
            let before = filler.metadata().unwrap().len();
            for size in [64 << 10, 1 << 10] {
                let block = vec![1; size];
                loop {
                    match filler.write(&block) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::StorageFull => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            filler.sync_all().unwrap();
            if filler.metadata().unwrap().len() == before {
                break;
            }
        }
        filler.set_len(filler.metadata().unwrap().len().saturating_sub(except)).unwrap();
        filler.sync_all().unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have a server using it.
        run(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

pub(crate) fn a_full_disk_keeps_stored_bytes(server: Server) {
    let Some(disk) = SmallDisk::mount(FileSystem::Tmpfs, server.directory.path().to_owned()) else {
        missing("a small file system cannot be mounted here");
    };
    let started = server.start();
    let mut connection = started.connect();
    disk.fill(LENGTH / 2);
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

/// No disk is filled and emptied again with every attempt.
pub(crate) fn a_final_upload_without_room_is_not_assembled(server: Server) {
    let Some(disk) = SmallDisk::mount(FileSystem::Tmpfs, server.directory.path().to_owned()) else {
        missing("a small file system cannot be mounted here");
    };
    let started = server.start_with(|builder| builder.sweep_interval(Duration::from_millis(50)));
    let mut connection = started.connect();
    let length = LENGTH.to_string();
    let part = connection.create_with(&[("Upload-Concat", "partial"), ("Upload-Length", &length)]);
    let path = connection.create_with(&[("Upload-Concat", &format!("final;{part} {part}"))]);
    assert_eq!(connection.patch(&part, 0, &bytes(6, 0..LENGTH)).status, 204);
    // HEAD responds after the attempt.
    let head = connection.request("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.headers.get("upload-offset")), (200, None));
    assert_eq!(server.files().len(), 1, "the part's");
    // It is kept, and exists when there is room.
    disk.grow();
    wait_until(|| started.upload(&path).unwrap().is_complete());
    assert_eq!(connection.offset(&path), 2 * LENGTH);
}

/// How much of a full disk is left, in blocks: from none to more than a removal writes.
const BLOCKS: u64 = 40;
const BLOCK: u64 = 4096;

/// Uploads that have bytes.
fn begun(connection: &mut Connection) -> Vec<String> {
    let create = |connection: &mut Connection| {
        let path = connection.create(LENGTH);
        assert_eq!(connection.patch(&path, 0, &bytes(6, 0..5000)).status, 204);
        path
    };
    (0..3).map(|_| create(connection)).collect()
}

/// Small requests until there is no room for another one.
fn patch_until_full(connection: &mut Connection, path: &str) {
    loop {
        let offset = connection.offset(path);
        let response = connection.patch(path, offset, &bytes(6, offset..offset + 700));
        if response.status != 204 {
            assert_eq!(response.status, 507, "{response:?}");
            return;
        }
    }
}

/// Whether the reserve was used.
fn is_used(server: &Server) -> bool {
    server.directory.path().join("uploads.reserve").metadata().unwrap().len() == 0
}

fn is_emptied_by_deletion(kind: FileSystem, store: Store) {
    let server = Server::new(Framework::Axum, store);
    let Some(disk) = SmallDisk::mount(kind, server.directory.path().to_owned()) else {
        missing("a small file system cannot be mounted here");
    };
    let mut used = 0;
    // With the log from before, or with a new one.
    let mut started: Option<Started> = None;
    for blocks in 0..BLOCKS {
        let server_is_new = blocks % 2 == 0;
        let mut running = started.take().filter(|_| !server_is_new).unwrap_or_else(|| server.start());
        let mut connection = running.connect();
        let paths = begun(&mut connection);
        disk.fill(blocks * BLOCK);
        patch_until_full(&mut connection, &paths[0]);
        if blocks % 4 < 2 {
            // The log is deleted with the server, and somebody else uses its space.
            drop((connection, running));
            disk.fill(0);
            running = server.start();
            connection = running.connect();
        }
        for path in &paths {
            let response = connection.request("DELETE", path, &[], b"");
            assert_eq!(response.status, 204, "{blocks} blocks are left: {response:?}");
            assert_eq!(connection.request("HEAD", path, &[], b"").status, 404);
        }
        wait_until(|| server.files().is_empty());
        used += usize::from(is_used(&server));
        disk.empty();
        let path = connection.create(5);
        assert_eq!(connection.patch(&path, 0, b"hello").status, 204);
        assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
        assert!(!is_used(&server), "it is filled when there is room again");
        started = Some(running);
    }
    assert!(used > 0, "there was room without the reserve");
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_tmpfs_is_emptied_by_deletion_synced() {
    is_emptied_by_deletion(FileSystem::Tmpfs, Store::Synced);
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_tmpfs_is_emptied_by_deletion_buffered() {
    is_emptied_by_deletion(FileSystem::Tmpfs, Store::Buffered);
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_ext4_is_emptied_by_deletion_synced() {
    is_emptied_by_deletion(FileSystem::Ext4, Store::Synced);
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_ext4_is_emptied_by_deletion_buffered() {
    is_emptied_by_deletion(FileSystem::Ext4, Store::Buffered);
}

fn expiring(sweep: Duration) -> impl FnOnce(Builder) -> Builder + Send + 'static {
    move |builder| builder.config(Config::default().expire_after(Duration::from_secs(24 * 3600))).sweep_interval(sweep)
}

fn is_emptied_by_expiry(kind: FileSystem, store: Store) {
    let server = Server::new(Framework::Axum, store);
    let Some(disk) = SmallDisk::mount(kind, server.directory.path().to_owned()) else {
        missing("a small file system cannot be mounted here");
    };
    for blocks in (0..BLOCKS).step_by(4) {
        // It looks for expired uploads only at its start.
        let first = server.start_with(expiring(Duration::from_secs(3600)));
        let mut connection = first.connect();
        let mut paths = begun(&mut connection);
        for headers in [&[("Upload-Length", "5000")][..], &[("Upload-Length", "5000"), ("Upload-Concat", "partial")]] {
            let complete = connection.create_with(headers);
            assert_eq!(connection.patch(&complete, 0, &bytes(6, 0..5000)).status, 204);
            paths.push(complete);
        }
        // A day passes.
        let database = rusqlite::Connection::open(server.directory.path().join("uploads.db")).unwrap();
        database.execute("UPDATE uploads SET expires = 1", []).unwrap();
        drop(database);
        let alive = connection.create(LENGTH);
        disk.fill(blocks * BLOCK);
        patch_until_full(&mut connection, &alive);
        drop(connection);
        let beside = (blocks % 8 == 0).then_some(first);
        if beside.is_none() {
            // The log is deleted with the server, and somebody else uses its space.
            disk.fill(0);
        }
        let started = server.start_with(expiring(Duration::from_millis(50)));
        wait_until(|| paths.iter().all(|path| started.upload(path).is_none()) && server.files().len() <= 1);
        disk.empty();
        let mut connection = started.connect();
        assert_eq!(connection.request("DELETE", &alive, &[], b"").status, 204);
        let path = connection.create(5);
        assert_eq!(connection.patch(&path, 0, b"hello").status, 204);
        assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    }
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_tmpfs_is_emptied_by_expiry() {
    is_emptied_by_expiry(FileSystem::Tmpfs, Store::Synced);
    is_emptied_by_expiry(FileSystem::Tmpfs, Store::Buffered);
}

#[test]
#[cfg_attr(not(has_small_disks), ignore = "small file systems cannot be mounted")]
fn a_full_ext4_is_emptied_by_expiry() {
    is_emptied_by_expiry(FileSystem::Ext4, Store::Synced);
    is_emptied_by_expiry(FileSystem::Ext4, Store::Buffered);
}
