//! The result of an upload.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use url::Url;

use super::response::Answer;

/// An upload whose requested bytes have all been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its URL.
    pub url: Url,
    /// The server's offset in bytes; `None` for a concatenation whose state the server does not report.
    pub offset: Option<u64>,
    /// Length of the complete upload in bytes; `None` if unknown.
    pub length: Option<u64>,
    /// Whether it is complete; if not, it stopped at the requested offset.
    pub complete: bool,
    /// The server's last response. An application may answer the request that completes an upload.
    pub response: Option<LastResponse>,
}

/// A response of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether the body has more bytes than the driver has read ([`Truncated`]).
    pub truncated: bool,
}

/// A driver adds this to the [extensions](http::Response::extensions) of a response if it has not read all of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated;

impl LastResponse {
    pub(super) fn of(answer: Answer<'_>) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, body: answer.response.body().clone(), truncated: answer.is_truncated() }
    }
}
