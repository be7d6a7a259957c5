//! The body of a response to a client.

use std::{
    collections::VecDeque,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::request::ResponseBody;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a response: a handler's or the service's.
#[derive(Debug)]
pub struct RelayedBody<R>(Relayed<R>);

#[derive(Debug)]
enum Relayed<R> {
    /// The body of a response to a request that was forwarded untouched.
    #[cfg_attr(not(feature = "tower"), expect(dead_code))]
    Passed(R),
    /// The body of a handler's response to an upload: the frames that were read, and the rest if there is more.
    Handlers(VecDeque<Frame<Bytes>>, Option<R>),
    /// The body of a response about an upload, or of a stored handler's response.
    Ours(ResponseBody),
}

impl<R> RelayedBody<R> {
    #[cfg(feature = "tower")]
    pub(super) fn passed(body: R) -> Self {
        Self(Relayed::Passed(body))
    }

    pub(super) fn handlers(read: VecDeque<Frame<Bytes>>, rest: Option<R>) -> Self {
        Self(Relayed::Handlers(read, rest))
    }

    pub(super) fn ours(body: ResponseBody) -> Self {
        Self(Relayed::Ours(body))
    }

    pub(super) fn empty() -> Self {
        Self::ours(Bytes::new().into())
    }
}

impl<R> Body for RelayedBody<R>
where
    R: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Relayed::Passed(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Relayed::Handlers(read, rest) => match (read.pop_front(), rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Some(rest)) => Pin::new(rest).poll_frame(context).map_err(Into::into),
                (None, None) => Poll::Ready(None),
            },
            Relayed::Ours(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Relayed::Passed(body) => body.is_end_stream(),
            Relayed::Handlers(read, rest) => read.is_empty() && rest.as_ref().is_none_or(Body::is_end_stream),
            Relayed::Ours(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Relayed::Passed(body) => Body::size_hint(body),
            Relayed::Handlers(read, rest) => {
                let read: u64 = read.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
                let rest = rest.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
                let mut hint = SizeHint::new();
                hint.set_lower(read + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(read + upper);
                }
                hint
            }
            Relayed::Ours(body) => Body::size_hint(body),
        }
    }
}
