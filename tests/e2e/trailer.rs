//! A checksum that follows the body, if the framework forwards trailers.

use tests::Framework;

use crate::{client::Response, harness::Server};

const ANNOUNCED: &[(&str, &str)] = &[("Trailer", "Upload-Checksum")];
const RIGHT: &str = "Upload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=\r\n";
const WRONG: &str = "Upload-Checksum: sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n";

pub(crate) fn a_checksum_may_follow_the_body(server: Server) {
    let started = server.start();
    let patch = |announced: &[(&str, &str)], trailer: &str| -> (Response, u64) {
        let mut connection = started.connect();
        let path = connection.create(11);
        connection.begin_chunked_patch(&path, 0, announced);
        connection.chunk(b"hello ");
        connection.chunk(b"world");
        connection.send(format!("0\r\n{trailer}\r\n").as_bytes());
        let response = connection.response("PATCH");
        (response, started.connect().offset(&path))
    };
    let options = started.connect().request("OPTIONS", "/files", &[], b"");
    let offered = options.header("tus-extension").contains("checksum-trailer");
    assert_eq!(offered, server.framework == Framework::Axum);
    let status = |(response, offset): (Response, u64)| (response.status, offset);
    assert_eq!(status(patch(&[], "")), (204, 11));
    if !offered {
        assert_eq!(status(patch(ANNOUNCED, RIGHT)), (400, 0), "what is not offered is refused");
        return;
    }
    assert_eq!(status(patch(ANNOUNCED, RIGHT)), (204, 11));
    assert_eq!(status(patch(ANNOUNCED, WRONG)), (460, 0));
    assert_eq!(status(patch(ANNOUNCED, "")), (400, 0));
    let (unannounced, offset) = patch(&[], RIGHT);
    assert_eq!((unannounced.status, offset), (400, 0));
    assert!(unannounced.text().contains("must be announced"), "{}", unannounced.text());
}
