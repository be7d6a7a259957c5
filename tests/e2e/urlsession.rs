//! A client of the IETF's draft that behaves like Apple's URLSession: it sends an upload in one ordinary request,
//! receives the URL of the upload, and after a broken connection continues from there with everything that is left in
//! one request.

use std::net::SocketAddr;

use crate::client::{Connection, Response};

/// The versions that clients use.
pub(crate) const VERSIONS: [u8; 6] = [3, 5, 6, 8, 9, 10];

pub(crate) const PARTIAL: &str = "application/partial-upload";

/// A client that uses one version of the draft.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UrlSession {
    pub(crate) version: u8,
    address: SocketAddr,
}

impl UrlSession {
    pub(crate) fn new(version: u8, address: SocketAddr) -> Self {
        Self { version, address }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// The head of a request of this client.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: tus.example.org\r\n");
        head.push_str(&format!("Upload-Draft-Interop-Version: {}\r\n", self.version));
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Declares whether a request completes its upload.
    pub(crate) fn complete(&self, complete: bool) -> (&'static str, &'static str) {
        match (self.version, complete) {
            (3, true) => ("Upload-Incomplete", "?0"),
            (3, false) => ("Upload-Incomplete", "?1"),
            (_, true) => ("Upload-Complete", "?1"),
            (_, false) => ("Upload-Complete", "?0"),
        }
    }

    /// The completeness in a response.
    #[track_caller]
    pub(crate) fn is_complete(&self, response: &Response) -> bool {
        match self.version {
            3 => response.header("upload-incomplete") == "?0",
            _ => response.header("upload-complete") == "?1",
        }
    }

    /// Sends a request with a body, and reads the response.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut connection = self.connect();
        let length = body.len().to_string();
        let framed = headers.iter().any(|(name, _)| *name == "Content-Length" || *name == "Transfer-Encoding");
        let mut headers = headers.to_vec();
        if !framed {
            headers.push(("Content-Length", &length));
        }
        // If the server does not read everything, it may have responded.
        let sent = connection.try_send(&self.head(method, path, &headers));
        let _ = sent.and_then(|()| connection.try_send(body));
        connection.response(method)
    }

    /// Creates an upload without content, for a server that cannot send interim responses. Returns its path.
    #[track_caller]
    pub(crate) fn create(&self, headers: &[(&str, &str)]) -> String {
        let headers = [&[self.complete(false)], headers].concat();
        let response = self.request("POST", tests::MOUNT, &headers, b"");
        assert_eq!(response.status, 201, "{response:?}");
        assert!(!self.is_complete(&response));
        response.header("location").to_owned()
    }

    /// The state of an upload.
    #[track_caller]
    pub(crate) fn state(&self, path: &str) -> Response {
        let response = self.request("HEAD", path, &[], b"");
        assert_eq!(response.status, 204, "{response:?}");
        response
    }

    /// Starts to append the rest of an upload, without sending any of it.
    pub(crate) fn begin_append(&self, path: &str, offset: u64, length: u64) -> Connection {
        let (offset, length) = (offset.to_string(), length.to_string());
        let mut connection = self.connect();
        let headers =
            [self.complete(true), ("Upload-Offset", &offset), ("Content-Length", &length), ("Content-Type", PARTIAL)];
        connection.send(&self.head("PATCH", path, &headers));
        connection
    }

    /// Appends to an upload.
    #[track_caller]
    pub(crate) fn append(&self, path: &str, offset: u64, complete: bool, content: &[u8]) -> Response {
        let offset = offset.to_string();
        let headers = [self.complete(complete), ("Upload-Offset", &*offset), ("Content-Type", PARTIAL)];
        self.request("PATCH", path, &headers, content)
    }
}
