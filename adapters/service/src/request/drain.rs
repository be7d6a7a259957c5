//! Drains the rest of a refused body.

use std::{future::poll_fn, pin::Pin, time::Duration};

use bytes::Buf;
use http::{HeaderValue, Response, Version, header, request::Parts};
use http_body::Body;
use tokio::time::timeout;

/// How many bytes of an unwanted body are read to keep its connection usable, and for how long at most.
const DRAIN_BYTES: u64 = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Leaves the connection usable or closed: the rest of a refused body must not be parsed as the next request.
pub(crate) async fn drain<B: Body, R>(head: &Parts, body: Pin<&mut B>, mut response: Response<R>) -> Response<R> {
    // Later versions end a stream, not the connection.
    if head.version > Version::HTTP_11 || body.is_end_stream() {
        return response;
    }
    // Reading would send `100 Continue` to a client that waits for it.
    let waits = head.headers.contains_key(header::EXPECT);
    if waits || !timeout(DRAIN_TIME, read_to_end(body)).await.unwrap_or(false) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body was read to its end.
async fn read_to_end<B: Body>(mut body: Pin<&mut B>) -> bool {
    let mut bytes = 0;
    loop {
        match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64),
        }
        if bytes > DRAIN_BYTES {
            return false;
        }
    }
}
