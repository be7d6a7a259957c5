//! A body for frameworks that pass a stream of data.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use futures_core::Stream;
use http_body::{Body, Frame};

/// A stream of data as a body. It has no trailers: an adapter that uses it declares that
/// ([`Mount::without_trailers`](crate::Mount::without_trailers)).
#[derive(Debug)]
pub struct StreamBody<S>(pub S);

impl<S, D, E> Body for StreamBody<S>
where
    S: Stream<Item = Result<D, E>> + Unpin,
    D: Buf,
{
    type Data = D;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<D>, E>>> {
        Pin::new(&mut self.0).poll_next(context).map_ok(Frame::data)
    }
}
