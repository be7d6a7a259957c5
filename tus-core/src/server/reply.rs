//! The application's part of a response.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

/// What the application adds to the response of the request that completed an upload.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FinishReply {
    /// The status of the response to a client of the IETF's draft, whose final response is the application's; `None`
    /// for `201 Created`. tus defines its own statuses.
    pub status: Option<StatusCode>,
    /// Headers to add.
    pub headers: HeaderMap,
    /// A body. With a body, `204 No Content` becomes `200 OK`.
    pub body: Bytes,
}

impl FinishReply {
    /// `has_status` states whether the dialect leaves the status to the application.
    pub(super) fn add_to(self, response: &mut Response<Bytes>, has_status: bool) {
        response.headers_mut().extend(self.headers);
        if let Some(status) = self.status.filter(|_| has_status) {
            *response.status_mut() = status;
        }
        if self.body.is_empty() {
            return;
        }
        if response.status() == StatusCode::NO_CONTENT {
            *response.status_mut() = StatusCode::OK;
        }
        *response.body_mut() = self.body;
    }
}
