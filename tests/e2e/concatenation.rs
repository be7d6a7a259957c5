//! Uploads that are concatenated from parts (tus 1.0.0, "Concatenation").

use tus_service::Config;

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{Server, wait_until},
};

const LENGTH: u64 = 3 << 20;

fn create_part(connection: &mut Connection, length: u64) -> String {
    connection.create_with(&[("Upload-Concat", "partial"), ("Upload-Length", &length.to_string())])
}

fn finished_part(connection: &mut Connection, content: &[u8]) -> String {
    let path = create_part(connection, content.len() as u64);
    assert_eq!(connection.patch(&path, 0, content).status, 204);
    path
}

pub(crate) fn finished_parts_are_concatenated(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let contents = [bytes(1, 0..LENGTH), bytes(2, 0..LENGTH)];
    let [a, b] = contents.each_ref().map(|content| finished_part(&mut connection, content));
    // A part may be repeated, and named by a full URL.
    let concat = format!("final;{b} http://tus.example.org{a} {b}");
    let final_upload = connection.create_with(&[("Upload-Concat", &concat)]);
    let head = connection.request("HEAD", &final_upload, &[], b"");
    assert_eq!((head.offset(), head.header("upload-concat")), (3 * LENGTH, &*concat));
    assert_eq!(head.header("upload-length"), (3 * LENGTH).to_string());
    let [a, b] = &contents;
    assert_same(&started.content(&final_upload), &[&b[..], a, b].concat());
    assert_eq!(connection.patch(&final_upload, 3 * LENGTH, b"").status, 403);
}

pub(crate) fn a_final_upload_waits_for_its_parts(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let (a, b) = (create_part(&mut connection, LENGTH), create_part(&mut connection, LENGTH));
    let final_upload = connection.create_with(&[("Upload-Concat", &format!("final;{a} {b}"))]);
    // The later part arrives first, the other one in two pieces.
    for (path, seed, range) in [(&b, 2, 0..LENGTH), (&a, 1, 0..5), (&a, 1, 5..LENGTH)] {
        let head = connection.request("HEAD", &final_upload, &[], b"");
        assert_eq!((head.status, head.headers.get("upload-offset")), (200, None));
        assert_eq!(head.header("upload-length"), (2 * LENGTH).to_string());
        assert_eq!(connection.patch(path, range.start, &bytes(seed, range)).status, 204);
    }
    wait_until(|| started.upload(&final_upload).unwrap().is_complete());
    assert_eq!(connection.offset(&final_upload), 2 * LENGTH);
    assert_same(&started.content(&final_upload), &[bytes(1, 0..LENGTH), bytes(2, 0..LENGTH)].concat());
}

pub(crate) fn the_number_of_waiting_final_uploads_is_limited(server: Server) {
    let started = server.start_with(|builder| builder.config(Config::default().max_pending_finals(2)));
    let mut connection = started.connect();
    let part = create_part(&mut connection, 5);
    let concat = [("Upload-Concat", &*format!("final;{part}"))];
    let waiting = [connection.create_with(&concat), connection.create_with(&concat)];
    let refused = connection.request("POST", tests::MOUNT, &concat, b"");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    assert_eq!(connection.request("DELETE", &waiting[0], &[], b"").status, 204);
    connection.create_with(&concat);
    assert_eq!(connection.patch(&part, 0, b"hello").status, 204);
    wait_until(|| started.upload(&waiting[1]).unwrap().is_complete());
    assert_eq!(connection.offset(&waiting[1]), 5);
}

pub(crate) fn parts_may_be_empty(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let empty = create_part(&mut connection, 0);
    let five = finished_part(&mut connection, b"hello");
    for (parts, content) in [(vec![&empty, &five, &empty], "hello"), (vec![&empty, &empty], "")] {
        let concat: Vec<_> = parts.iter().map(|part| part.as_str()).collect();
        let final_upload = connection.create_with(&[("Upload-Concat", &format!("final;{}", concat.join(" ")))]);
        assert_eq!(connection.offset(&final_upload), content.len() as u64);
        assert_eq!(started.content(&final_upload), content.as_bytes());
    }
}
