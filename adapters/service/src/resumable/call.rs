//! The call of a handler: started by the exchange, made in a task of its own beside the request, and reported to
//! both.

use std::{
    collections::VecDeque,
    error::Error,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};
use tracing::{Instrument, Span};
use tus_core::Failure;

use super::RelayedBody;
use crate::handler::{Called, Responded, StoredBody};

/// The most bytes of a response's content that are read before they are forwarded, so that they can be stored; and
/// how long that may take.
const READ: usize = 64 * 1024;
const READ_TIME: Duration = Duration::from_secs(5);

/// Receives the response of a handler to an upload, for the upload and for the client that waits.
#[derive(Debug)]
#[must_use]
pub struct Responding<R> {
    responded: oneshot::Sender<Responded>,
    relay: oneshot::Sender<RelayedBody<R>>,
    /// Whether bytes of the upload could not be read.
    failed: Arc<AtomicBool>,
    limit: Duration,
    span: Span,
}

impl<R> Responding<R> {
    /// The request for the handler, what receives its response, and the body for the client.
    pub(super) fn begin(
        called: Called,
        limit: Duration,
    ) -> (Request<StoredBody>, Self, oneshot::Receiver<RelayedBody<R>>) {
        let Called { request, responded } = called;
        let (relay, relayed) = oneshot::channel();
        let responding = Self { responded, relay, failed: request.body().failed(), limit, span: Span::current() };
        (request, responding, relayed)
    }
}

impl<R> Responding<R>
where
    R: Body<Data = Bytes> + Unpin,
{
    /// Responds with the result of a call of the handler. If the call fails, panics or times out, there is no
    /// response: the handler is called again when the client asks again.
    pub async fn respond<E>(self, call: impl Future<Output = Result<Response<R>, E>>)
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { responded, relay, failed, limit, span } = self;
        let called = async {
            let (head, body) = call.await.map_err(|error| error.into().to_string())?.into_parts();
            let (body, kept) = read(body).await?;
            Ok::<_, String>((Response::from_parts(head, kept), body))
        };
        let why = match timeout(limit, AssertUnwindSafe(called).catch_unwind()).instrument(span).await {
            Ok(Ok(Ok(_))) if failed.load(Ordering::Relaxed) => "the bytes of the upload could not be read".to_owned(),
            Ok(Ok(Ok((response, body)))) => {
                // If the client is gone, the response is stored for it.
                let _ = relay.send(body);
                let _ = responded.send(Ok(response));
                return;
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => "it panicked".to_owned(),
            Err(_) => "it timed out".to_owned(),
        };
        tracing::error!(why, "the handler of a resumable resource did not respond; it will be called again");
        let _ = responded.send(Err(Failure::Internal));
    }
}

/// Reads a body as far as it can be stored. Returns it unchanged, and all of its content if that was read.
async fn read<R>(mut body: R) -> Result<(RelayedBody<R>, Option<Bytes>), String>
where
    R: Body<Data = Bytes> + Unpin,
{
    let (mut frames, mut content, until) = (VecDeque::new(), BytesMut::new(), Instant::now() + READ_TIME);
    loop {
        let next = timeout_at(until, poll_fn(|context| Pin::new(&mut body).poll_frame(context))).await;
        let frame: Frame<Bytes> = match next {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err("the body of its response failed".to_owned()),
            Ok(None) => return Ok((RelayedBody::handlers(frames, None), Some(content.freeze()))),
            Err(_) => break,
        };
        let data = frame.data_ref().map_or(&[][..], |data| data);
        let is_small = content.len() + data.len() <= READ;
        if is_small {
            content.extend_from_slice(data);
        }
        frames.push_back(frame);
        if !is_small {
            break;
        }
    }
    Ok((RelayedBody::handlers(frames, Some(body)), None))
}
