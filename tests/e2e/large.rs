//! Memory does not grow with the body.

use crate::{
    content::{assert_same, bytes},
    harness::{Server, missing, wait_until},
};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 1024 * MIB;

/// How much the server's peak memory may exceed that when idle, in KiB.
const GROWTH: u64 = 24 * 1024;

pub(crate) fn a_gibibyte_needs_little_memory(server: Server) {
    let process = server.spawn().unwrap();
    let mut connection = process.connect();
    let path = connection.create(LENGTH);
    let idle = process.memory("VmHWM");

    // One block for everything, which starts with its position.
    let mut block = bytes(1, 0..MIB);
    connection.begin_patch(&path, 0, LENGTH);
    for at in (0..LENGTH).step_by(MIB as usize) {
        block[..8].copy_from_slice(&at.to_le_bytes());
        connection.send(&block);
    }
    let response = connection.response("PATCH");
    assert_eq!((response.status, response.offset()), (204, LENGTH));
    let peak = process.memory("VmHWM");

    let uploads = server.uploads();
    for at in (0..LENGTH).step_by(MIB as usize) {
        block[..8].copy_from_slice(&at.to_le_bytes());
        assert_same(&uploads.read(&path, at..at + MIB), &block);
    }
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    wait_until(|| server.files().is_empty());

    match idle.zip(peak) {
        Some((idle, peak)) => assert!(peak <= idle + GROWTH, "{idle} KiB when idle, {peak} KiB at its peak"),
        None => missing("/proc does not show how much memory a process uses"),
    }
}
