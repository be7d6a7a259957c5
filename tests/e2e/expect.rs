//! `Expect: 100-continue` (RFC 9110, 10.1.1): a client that asks first sends no body that will be rejected.

use tests::Framework;

use crate::{
    client::{Connection, OCTETS},
    harness::Server,
};

const EXPECT: (&str, &str) = ("Expect", "100-continue");

pub(crate) fn an_accepted_request_gets_100_continue(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(5);
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "5"), EXPECT];
    connection.head("PATCH", &path, &patch);
    assert_eq!(connection.any_response("PATCH").unwrap().status, 100);
    connection.send(b"hello");
    assert_eq!(connection.response("PATCH").status, 204);

    let post = [("Upload-Length", "5"), ("Content-Type", OCTETS), ("Content-Length", "5"), EXPECT];
    connection.head("POST", "/files", &post);
    assert_eq!(connection.any_response("POST").unwrap().status, 100);
    connection.send(b"hello");
    assert_eq!(connection.response("POST").offset(), 5);
}

pub(crate) fn a_refused_request_gets_no_100_continue(server: Server) {
    let started = server.start();
    let path = started.connect().create(100);
    let refused = |path: &str, offset: &str, length: &str, version: &str, status: u16| {
        let mut connection: Connection = started.connect();
        let headers = [
            ("Upload-Offset", offset),
            ("Content-Length", length),
            ("Tus-Resumable", version),
            ("Content-Type", OCTETS),
            EXPECT,
        ];
        connection.head("PATCH", path, &headers);
        let mut response = connection.any_response("PATCH").unwrap();
        if server.framework == Framework::ActixWeb && response.status == 100 {
            // actix-web requests every body before the application is asked.
            response = connection.any_response("PATCH").unwrap();
        }
        assert_eq!(response.status, status);
    };
    refused(&path, "5", "10", "1.0.0", 409);
    refused(&path, "0", "101", "1.0.0", 413);
    refused(&path, "0", "10", "0.2.2", 412);
    refused(&path, "x", "10", "1.0.0", 400);
    refused("/files/missing", "0", "10", "1.0.0", 404);
    assert_eq!(started.connect().offset(&path), 0);
}
