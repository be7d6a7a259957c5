//! The body of a request for a handler that is a service.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::BoxError;
use crate::handler::StoredBody;

/// The body of a request for a handler: as the client sent it, or from an upload.
#[derive(Debug)]
pub struct RequestBody<B>(Request<B>);

#[derive(Debug)]
enum Request<B> {
    /// The body of a request that was forwarded untouched.
    Sent(B),
    /// The content of a complete upload.
    Stored(StoredBody),
}

impl<B> RequestBody<B> {
    pub(super) fn sent(body: B) -> Self {
        Self(Request::Sent(body))
    }

    pub(super) fn stored(body: StoredBody) -> Self {
        Self(Request::Stored(body))
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Request::Sent(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Request::Stored(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Request::Sent(body) => body.is_end_stream(),
            Request::Stored(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Request::Sent(body) => Body::size_hint(body),
            Request::Stored(body) => Body::size_hint(body),
        }
    }
}
