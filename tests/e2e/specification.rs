//! The examples of requests and responses in the specification.

use crate::{
    client::{Connection, OCTETS, Response},
    harness::Server,
};

pub(crate) fn the_examples_of_the_specification(server: Server) {
    let started = server.start_with(|builder| {
        let config = tus_service::Config::default().max_size(1 << 30);
        builder.config(config.expire_after(std::time::Duration::from_secs(60)))
    });
    let mut connection = started.connect();

    // "OPTIONS", "Example"
    let options = connection.request("OPTIONS", "/files", &[], b"");
    assert_eq!(options.status, 204);
    assert_eq!(options.header("tus-version"), "1.0.0");
    assert_eq!(options.header("tus-max-size"), "1073741824");
    assert!(options.header("tus-extension").split(',').any(|name| name == "expiration"));
    assert!(options.header("tus-checksum-algorithm").contains("sha1"));

    // "Creation", "Example"
    let metadata = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential";
    let created = connection.request("POST", "/files", &[("Upload-Length", "100"), ("Upload-Metadata", metadata)], b"");
    assert_eq!(created.status, 201);
    let path = created.header("location").to_owned();

    // "Core Protocol", "Example": 70 bytes are stored.
    let bytes = [b'x'; 100];
    assert_eq!(connection.patch(&path, 0, &bytes[..70]).status, 204);
    let head = connection.request("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.offset()), (200, 70));
    assert_eq!(head.header("upload-metadata"), metadata);
    assert_eq!(head.header("cache-control"), "no-store");
    let patched = connection.patch(&path, 70, &bytes[70..]);
    assert_eq!((patched.status, patched.offset()), (204, 100));

    // "Creation With Upload", "Example"
    let created = connection.request("POST", "/files", &[("Upload-Length", "100"), ("Content-Type", OCTETS)], b"hello");
    assert_eq!((created.status, created.offset()), (201, 5));

    // "Expiration", "Example"
    assert!(created.header("upload-expires").ends_with(" GMT"));

    // "Checksum", "Example"
    let checksum = ("Upload-Checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
    let path = connection.create(11);
    let patch = |connection: &mut Connection, body: &[u8]| -> Response {
        connection.request("PATCH", &path, &[("Upload-Offset", "0"), ("Content-Type", OCTETS), checksum], body)
    };
    assert_eq!(patch(&mut connection, b"hello w0rld").status, 460);
    let patched = patch(&mut connection, b"hello world");
    assert_eq!((patched.status, patched.offset()), (204, 11));

    // "Termination", "Example"
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    assert_eq!(connection.request("HEAD", &path, &[], b"").status, 404);

    // "Concatenation", "Example"
    let mut part = |bytes: &[u8]| {
        let length = bytes.len().to_string();
        let headers = [("Upload-Concat", "partial"), ("Upload-Length", &length)];
        let path = connection.request("POST", "/files", &headers, b"").header("location").to_owned();
        assert_eq!(connection.patch(&path, 0, bytes).status, 204);
        path
    };
    let concat = format!("final;{} {}", part(b"hello"), part(b" world"));
    let created = connection.request("POST", "/files", &[("Upload-Concat", &concat)], b"");
    assert_eq!(created.status, 201);
    let path = created.header("location");
    let head = connection.request("HEAD", path, &[], b"");
    assert_eq!((head.header("upload-length"), head.header("upload-concat")), ("11", &*concat));
    assert_eq!(head.offset(), 11);
    assert_eq!(started.content(path), b"hello world");
}
