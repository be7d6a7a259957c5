//! One request and its response.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONTENT_LENGTH, EXPECT},
};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout};
use tus_core::client::{Error, Moment, Step, Task, Transmit, Truncated};

use crate::{
    ending::{Ended, Ending},
    pieces::Pieces,
    pool::Pool,
    silence::Activity,
    waiting::OnWait,
};

/// The bounds for the body of a response.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: usize,
    time: Duration,
    /// How long each piece may take.
    piece: Duration,
}

/// Enough for the text of an error: the head matters.
const SOME: Bounds = Bounds { bytes: 64 * 1024, time: Duration::from_secs(2), piece: Duration::from_secs(2) };

/// An application's response to a complete upload, in bytes.
const ALL: usize = 1024 * 1024;

/// How long the server may take to concatenate the parts of an upload before it responds; also, how long the body of an
/// application's response may take in all.
const LONG: Duration = Duration::from_secs(600);

/// How requests are sent.
pub(crate) struct Exchanges {
    pub(crate) pool: Pool,
    pub(crate) headers: HeaderMap,
    pub(crate) credentials: Option<Box<Credentials>>,
    pub(crate) before: Option<Box<Before>>,
    pub(crate) after: Option<Box<After>>,
    pub(crate) request_ids: bool,
    pub(crate) timeout: Duration,
}

pub(crate) type Credentials = dyn Fn() -> BoxFuture<'static, Result<HeaderMap, Error>> + Send + Sync;
pub(crate) type Before = dyn Fn(Request<()>) -> BoxFuture<'static, Result<Request<()>, Error>> + Send + Sync;
pub(crate) type After = dyn Fn(&Request<()>, &Response<Bytes>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

/// The bytes of a request, and the channel that reports how many have been sent.
pub(crate) struct Outgoing {
    pub(crate) pieces: Pieces,
    /// Receives the number of bytes sent.
    pub(crate) sent: tokio::sync::watch::Sender<u64>,
}

impl Exchanges {
    /// Runs a task whose requests carry no bytes of the source.
    pub(crate) async fn run<T: Task>(&self, mut step: Step<T>, waits: &OnWait) -> Result<T::Output, Error> {
        loop {
            step = match step {
                Step::Read(read) => read.done(0, None),
                Step::Transmit(transmit) => {
                    let sent = self.exchange(&transmit, None).await;
                    let moment = moment(&sent);
                    transmit.done(sent, moment)
                }
                Step::Wait(wait) => {
                    waits.report(&wait);
                    tokio::time::sleep(wait.duration()).await;
                    wait.done()
                }
                Step::Finished(result) => return result,
            }
        }
    }

    /// Sends a request, with the caller's headers if it goes to an origin that the caller named.
    pub(crate) async fn exchange<T: Task>(
        &self,
        transmit: &Transmit<T>,
        outgoing: Option<Outgoing>,
    ) -> Result<Response<Bytes>, Error> {
        let mut request = self.prepare(transmit.request(), transmit.is_home()).await?;
        // Over HTTP/1.1, hyper omits the length of an empty body, and some servers demand it (411).
        let is_empty = outgoing.as_ref().is_none_or(|outgoing| outgoing.pieces.left() == 0);
        if is_empty && [Method::POST, Method::PATCH].contains(request.method()) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let head = self.after.is_some().then(|| request.clone());
        let patience = if transmit.takes_long() { self.timeout.max(LONG) } else { self.timeout };
        let activity = Activity::default();
        let failed = Arc::new(Mutex::new(None));
        let ending = Ending::default();
        let body = outgoing.map(|outgoing| Counted {
            pieces: outgoing.pieces,
            sent: outgoing.sent,
            activity: activity.clone(),
            failed: failed.clone(),
            ended: ending.watch(),
        });
        let request = request.map(|()| body.map_or_else(reqwest::Body::default, reqwest::Body::wrap));
        let request = reqwest::Request::try_from(request).map_err(failure)?;
        let all = Bounds { bytes: ALL, time: self.timeout.max(LONG), piece: self.timeout };
        let bounds = |headers: &HeaderMap| if transmit.is_result(headers) { all } else { SOME };
        let began = Instant::now();
        let answered = self.send(request, &activity, patience, bounds).await.map(|mut response| {
            response.extensions_mut().insert(Took(began.elapsed()));
            response
        });
        drop(ending);
        // The request may have failed because of the source.
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let response = answered?;
        if let (Some(after), Some(head)) = (&self.after, head) {
            after(&head, &response).await?;
        }
        Ok(response)
    }

    async fn send(
        &self,
        request: reqwest::Request,
        activity: &Activity,
        patience: Duration,
        bounds: impl Fn(&HeaderMap) -> Bounds,
    ) -> Result<Response<Bytes>, Error> {
        let client = self.pool.client().map_err(Error::local)?;
        let answered = tokio::select! {
            received = client.http.execute(request) => match received {
                Ok(received) => Ok(receive(received, bounds).await),
                Err(error) if error.is_timeout() => {
                    self.pool.forget_idle();
                    return Err(failure(error));
                }
                Err(error) => Err(failure(error)),
            },
            () = activity.silence(patience, &client) => {
                self.pool.forget_idle();
                return Err(Error::Silent(patience));
            }
        };
        self.pool.give_back(client);
        answered
    }

    async fn prepare(&self, mut request: Request<()>, home: bool) -> Result<Request<()>, Error> {
        // reqwest does not wait for `100 Continue`, but sends the body at once.
        request.headers_mut().remove(EXPECT);
        if home {
            request.headers_mut().extend(self.headers.clone());
            if let Some(credentials) = &self.credentials {
                request.headers_mut().extend(credentials().await?);
            }
        }
        if self.request_ids {
            let entry = request.headers_mut().entry(HeaderName::from_static("x-request-id"));
            entry.or_insert_with(random_id);
        }
        match &self.before {
            Some(before) => before(request).await,
            None => Ok(request),
        }
    }
}

/// The response. One whose body does not arrive in time, or is too long, is [`Truncated`].
async fn receive(mut received: reqwest::Response, bounds: impl Fn(&HeaderMap) -> Bounds) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = received.status();
    *response.headers_mut() = std::mem::take(received.headers_mut());
    let Bounds { bytes, time, piece } = bounds(response.headers());
    let mut body = BytesMut::new();
    let all = async {
        loop {
            match timeout(piece, received.chunk()).await {
                Ok(Ok(Some(more))) if body.len() + more.len() > bytes => {
                    body.extend_from_slice(&more[..bytes - body.len()]);
                    break false;
                }
                Ok(Ok(Some(more))) => body.extend_from_slice(&more),
                Ok(Ok(None)) => break true,
                Ok(Err(_)) | Err(_) => break false,
            }
        }
    };
    let complete = timeout(time, all).await.unwrap_or(false);
    *response.body_mut() = body.freeze();
    if !complete {
        response.extensions_mut().insert(Truncated);
    }
    response
}

/// Whether a failed request may succeed later. reqwest's error is the cause; it does not contain the URL, which may
/// be a secret.
fn failure(error: reqwest::Error) -> Error {
    let error = error.without_url();
    match error.is_builder() || is_hopeless(&error) {
        true => Error::Unreachable(Box::new(error)),
        false => Error::connection(error),
    }
}

/// Whether the same connection cannot succeed later: the name does not exist, or the certificate is not trusted. The
/// libraries below expose no types for this, but their texts have not changed for years.
fn is_hopeless(error: &reqwest::Error) -> bool {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&cause.to_string().to_lowercase());
        next = cause.source();
    }
    let unknown_name =
        error.is_dns() && !["temporary", "try again", "timed out"].iter().any(|word| text.contains(word));
    unknown_name || ["certificate", "unknownca", "unknown ca"].iter().any(|word| text.contains(word))
}

/// The bytes of a request, counted as the connection reads them.
struct Counted {
    pieces: Pieces,
    sent: tokio::sync::watch::Sender<u64>,
    activity: Activity,
    /// Why the source failed.
    failed: Arc<Mutex<Option<Error>>>,
    ended: Ended,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        // The rest of an answered request would only take up the line of the next one. Its connection, or
        // its stream, is closed.
        if self.ended.poll(context) {
            return Poll::Ready(Some(Err("the request is over")));
        }
        Poll::Ready(match std::task::ready!(self.pieces.poll_next(context)) {
            Some(Ok(piece)) => {
                self.activity.note();
                self.sent.send_modify(|sent| *sent += piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err("the source failed"))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.left())
    }
}

/// How long a request took, without what the application does before and after it.
#[derive(Debug, Clone, Copy)]
struct Took(Duration);

/// The moment after a request, and a random number.
pub(crate) fn moment(sent: &Result<Response<Bytes>, Error>) -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let random = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    let took = sent.as_ref().ok().and_then(|response| response.extensions().get());
    Moment { now: START.elapsed(), jitter: random, took: took.map_or(Duration::ZERO, |Took(time)| *time) }
}

fn random_id() -> HeaderValue {
    let random = getrandom::u64().unwrap_or_default();
    let more = getrandom::u64().unwrap_or_default();
    HeaderValue::try_from(format!("{random:016x}{more:016x}")).unwrap_or(HeaderValue::from_static("0"))
}
