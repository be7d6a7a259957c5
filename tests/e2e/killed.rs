//! The server's process is killed: acknowledged bytes survive, and so do those of a body that a checkpoint saved (R39).

use crate::{
    content::{assert_same, bytes},
    harness::{Process, Server, wait_until},
};

const LENGTH: u64 = 3 << 20;

pub(crate) fn acknowledged_bytes_survive_a_kill(server: Server) {
    let mut process = server.spawn().unwrap();
    let path = process.connect().create(LENGTH);
    for offset in [0, 1, 100_000, 1_500_001].windows(2) {
        let patched = process.connect().patch(&path, offset[0], &bytes(2, offset[0]..offset[1]));
        process.kill();
        assert_eq!((patched.status, patched.offset()), (204, offset[1]));
        process = server.spawn().unwrap();
        assert_eq!(process.connect().offset(&path), offset[1]);
    }
    resumes_to_its_end(&server, &process, &path);
}

pub(crate) fn a_body_resumes_after_each_of_many_kills(server: Server) {
    let mut process = server.spawn().unwrap();
    let path = process.connect().create(LENGTH);
    let uploads = server.uploads();
    for _ in 0..3 {
        let mut connection = process.connect();
        let offset = connection.offset(&path);
        connection.begin_patch(&path, offset, LENGTH - offset);
        let sent = offset + 900_000;
        connection.send(&bytes(2, offset..sent));
        wait_until(|| uploads.offset(&path) > offset);
        let saved = uploads.offset(&path);
        process.kill();
        process = server.spawn().unwrap();
        let kept = process.connect().offset(&path);
        assert!(saved <= kept && kept <= sent, "{saved} bytes were saved, {sent} were sent, {kept} are kept");
    }
    resumes_to_its_end(&server, &process, &path);
}

pub(crate) fn a_final_upload_is_concatenated_after_a_kill(server: Server) {
    let process = server.spawn().unwrap();
    let mut connection = process.connect();
    let length = LENGTH.to_string();
    let part = connection.create_with(&[("Upload-Concat", "partial"), ("Upload-Length", &length)]);
    let final_upload = connection.create_with(&[("Upload-Concat", &format!("final;{part} {part}"))]);
    assert_eq!(connection.patch(&part, 0, &bytes(2, 0..LENGTH)).status, 204);
    process.kill();
    let _process = server.spawn();
    let uploads = server.uploads();
    wait_until(|| uploads.upload(&final_upload).unwrap().is_complete());
    assert_same(&uploads.content(&final_upload), &[bytes(2, 0..LENGTH), bytes(2, 0..LENGTH)].concat());
}

#[track_caller]
fn resumes_to_its_end(server: &Server, process: &Process, path: &str) {
    let mut connection = process.connect();
    let offset = connection.offset(path);
    let patched = connection.patch(path, offset, &bytes(2, offset..LENGTH));
    assert_eq!((patched.status, patched.offset()), (204, LENGTH));
    assert_same(&server.uploads().content(path), &bytes(2, 0..LENGTH));
}
