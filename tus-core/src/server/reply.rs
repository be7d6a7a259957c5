//! The application's part of a response.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

/// What the application adds to the response of the request that completed an upload.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FinishReply {
    /// Headers to add.
    pub headers: HeaderMap,
    /// A body; with one, `204 No Content` becomes `200 OK`.
    pub body: Bytes,
}

impl FinishReply {
    pub(super) fn add_to(self, response: &mut Response<Bytes>) {
        response.headers_mut().extend(self.headers);
        if self.body.is_empty() {
            return;
        }
        if response.status() == StatusCode::NO_CONTENT {
            *response.status_mut() = StatusCode::OK;
        }
        *response.body_mut() = self.body;
    }
}
