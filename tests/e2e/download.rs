//! Downloads of finished uploads, if the application allows them.

use tus_service::{Builder, Config, Download};

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{Server, Started},
};

/// More than a storage reads at once, and more than socket buffers hold.
const LENGTH: u64 = (32 << 20) + 3;

fn downloads(builder: Builder) -> Builder {
    builder.config(Config::default().download(Download::attachment()))
}

/// A finished upload.
fn uploaded(started: &Started) -> (String, Connection) {
    let mut connection = started.connect();
    let length = LENGTH.to_string();
    let path = connection.create_with(&[("Upload-Length", &*length), ("Upload-Metadata", "filename ZmlsbS5tcDQ=")]);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..LENGTH)).status, 204);
    (path, connection)
}

pub(crate) fn a_finished_upload_downloads_completely_and_in_ranges(server: Server) {
    let started = server.start_with(downloads);
    let (path, mut connection) = uploaded(&started);
    let complete = connection.request("GET", &path, &[], b"");
    assert_eq!((complete.status, complete.header("content-length")), (200, &*LENGTH.to_string()));
    assert_eq!(complete.header("content-disposition"), "attachment; filename=\"film.mp4\"");
    assert_eq!(complete.header("x-content-type-options"), "nosniff");
    assert_same(&complete.body, &bytes(1, 0..LENGTH));

    for (from, to) in [(0, 1), (5, 3 << 20), (LENGTH - 7, LENGTH)] {
        let range = format!("bytes={from}-{}", to - 1);
        let part = connection.request("GET", &path, &[("Range", &range)], b"");
        assert_eq!((part.status, part.header("content-range")), (206, &*format!("bytes {from}-{}/{LENGTH}", to - 1)));
        assert_same(&part.body, &bytes(1, from..to));
    }
    let tag = complete.header("etag");
    assert_eq!(connection.request("GET", &path, &[("If-None-Match", tag)], b"").status, 304);
    let beyond = connection.request("GET", &path, &[("Range", &format!("bytes={LENGTH}-"))], b"");
    assert_eq!(beyond.status, 416);

    let empty = connection.create(0);
    let empty = connection.request("GET", &empty, &[], b"");
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, "0", 0));
    let unfinished = connection.create(5);
    assert_eq!(connection.request("GET", &unfinished, &[], b"").status, 404);
}

pub(crate) fn a_client_that_leaves_does_no_harm(server: Server) {
    let started = server.start_with(downloads);
    let (path, mut connection) = uploaded(&started);
    for _ in 0..20 {
        let mut leaving = started.connect();
        leaving.head("GET", &path, &[]);
        leaving.reset();
    }
    let mut slow = started.connect();
    slow.head("GET", &path, &[]);
    slow.wait_until_received();
    assert_eq!(connection.offset(&path), LENGTH, "a download blocks nothing");
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    // A download whose upload is deleted may still be read to its end; it is not cut short silently.
    if let Some(response) = slow.try_response("GET")
        && response.status == 200
    {
        assert_same(&response.body, &bytes(1, 0..LENGTH));
    }
    assert_eq!(connection.request("GET", &path, &[], b"").status, 404);
}

pub(crate) fn download_is_off_by_default_and_requires_authorization(server: Server) {
    let started = server.start();
    let (path, mut connection) = uploaded(&started);
    let refused = connection.request("GET", &path, &[], b"");
    assert_eq!((refused.status, refused.header("allow")), (405, "OPTIONS, HEAD, PATCH, DELETE"));
}
