//! The result of an upload.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use url::Url;

use super::response::Answer;

/// An upload all of whose requested bytes have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its URL.
    pub url: Url,
    /// Bytes that the server has; `None` for a concatenation of parts whose state the server does not report.
    pub offset: Option<u64>,
    /// Bytes of the complete upload; `None` if unknown here.
    pub length: Option<u64>,
    /// Whether it is complete; if not, it stopped where it was to.
    pub complete: bool,
    /// The server's last response: an application may answer the request that completes an upload.
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
}

impl LastResponse {
    pub(super) fn of(answer: Answer<'_>) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Self { status, headers, body: answer.response.body().clone() }
    }
}
