//! One request and its response.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};
use tus_core::client::{Error, Moment};

use crate::{client::Inner, source::Pieces};

/// Bytes of a response's body that are read: only the text of an error is of use.
const CONTENT: usize = 64 * 1024;

/// The bytes of a request, and the channel that reports how many have been sent.
pub(crate) struct Outgoing {
    pub(crate) pieces: Pieces,
    /// Receives the number of bytes sent.
    pub(crate) sent: tokio::sync::watch::Sender<u64>,
}

impl Inner {
    /// Sends a request, with the caller's headers if it goes to the endpoint's own origin (`home`).
    pub(crate) async fn exchange(
        &self,
        mut request: Request<()>,
        home: bool,
        outgoing: Option<Outgoing>,
    ) -> Result<Response<Bytes>, Error> {
        // reqwest does not wait for `100 Continue`, but sends the body at once.
        request.headers_mut().remove(EXPECT);
        if home {
            self.add_headers(&mut request).await?;
        }
        if self.request_ids {
            let entry = request.headers_mut().entry(HeaderName::from_static("x-request-id"));
            entry.or_insert_with(random_id);
        }
        if let Some(before) = &self.before {
            before(&mut request);
        }
        let activity = Activity::default();
        let source_failed = Arc::new(OnceLock::new());
        let body = outgoing.map(|outgoing| Counted {
            pieces: outgoing.pieces,
            sent: outgoing.sent,
            activity: activity.clone(),
            failed: source_failed.clone(),
        });
        let request = request.map(|()| body.map_or_else(reqwest::Body::default, reqwest::Body::wrap));
        let request = reqwest::Request::try_from(request).map_err(Error::connection)?;
        let response = tokio::select! {
            response = self.receive(request, &activity) => response,
            () = activity.silence(self.timeout) => {
                Err(Error::connection(format!("no bytes were sent or received for {} s", self.timeout.as_secs_f64())))
            }
        };
        match source_failed.get() {
            // The request failed because of the source.
            Some(why) => Err(Error::Source(String::clone(why))),
            None => response.inspect(|response| self.after.iter().for_each(|after| after(response))),
        }
    }

    async fn receive(&self, request: reqwest::Request, activity: &Activity) -> Result<Response<Bytes>, Error> {
        let mut received = self.http.execute(request).await.map_err(|error| Error::connection(chain(&error)))?;
        activity.note();
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = received.status();
        *response.headers_mut() = std::mem::take(received.headers_mut());
        let mut content = BytesMut::new();
        // A truncated error text does not matter.
        while let Ok(Some(piece)) = received.chunk().await {
            activity.note();
            content.extend_from_slice(&piece[..piece.len().min(CONTENT - content.len())]);
            if content.len() == CONTENT {
                break;
            }
        }
        *response.body_mut() = content.freeze();
        Ok(response)
    }

    async fn add_headers(&self, request: &mut Request<()>) -> Result<(), Error> {
        request.headers_mut().extend(self.headers.clone());
        if let Some(credentials) = &self.credentials {
            request.headers_mut().extend(credentials().await?);
        }
        Ok(())
    }
}

/// reqwest's errors say little; their sources give the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// When the last byte was sent or received.
#[derive(Clone)]
struct Activity(Arc<Mutex<Instant>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Activity {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until there has been no activity for this long.
    async fn silence(&self, longest: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + longest;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// The bytes of a request, counted as the connection reads them.
struct Counted {
    pieces: Pieces,
    sent: tokio::sync::watch::Sender<u64>,
    activity: Activity,
    failed: Arc<OnceLock<String>>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let next = std::task::ready!(self.pieces.poll_next(context));
        match &next {
            Some(Ok(piece)) => {
                self.activity.note();
                self.sent.send_modify(|sent| *sent += piece.len() as u64);
            }
            Some(Err(why)) => drop(self.failed.set(why.clone())),
            None => {}
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.left())
    }
}

/// The time and a random number.
pub(crate) fn moment() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let random = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    Moment { now: START.elapsed(), jitter: random }
}

fn random_id() -> HeaderValue {
    let random = getrandom::u64().unwrap_or_default();
    let more = getrandom::u64().unwrap_or_default();
    HeaderValue::try_from(format!("{random:016x}{more:016x}")).unwrap_or(HeaderValue::from_static("0"))
}
