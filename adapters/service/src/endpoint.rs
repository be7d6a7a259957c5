//! The endpoint: an application builds it once, and the framework's crate calls it for each request.

use std::{
    fmt,
    fmt::Display,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::OptionFuture};
use http::{Request, Response, header, request::Parts};
use http_body::Body;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use tracing::Instrument;
use tus_core::{
    Config, Failure,
    server::{self, Mount},
};

use crate::{
    engine::Engine,
    exchange::Exchange,
    handler::Caller,
    interim::{InterimSender, Session},
    observe,
    request::{BodyReceiver, Persistent, ResponseBody, drain, pump},
};

/// An endpoint for resumable uploads. A clone is the same endpoint.
///
/// ```
/// use tus_service::{Memory, Mount, Tus, UploadId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tus_service::StorageError> {
/// let tus = Tus::builder(Memory::new()).build();
/// let id = UploadId::from_random(1);
/// assert_eq!(tus.find(&id).await?, None);
/// assert_eq!(tus.url(&Mount::at("/files"), &id), format!("/files/{id}"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tus {
    pub(crate) engine: Arc<Engine>,
    /// Fires when the last clone is dropped.
    pub(crate) _gone: Arc<DropGuard>,
}

impl Tus {
    /// Handles one request.
    ///
    /// The request's URI must have the full path that the client sent, and `mount` states where in this path the
    /// endpoint was reached. The rest of the path identifies the upload.
    ///
    /// The future may be dropped at any time; received bytes are kept. It is `Send` if `B` is. Requests on one upload
    /// are ordered: an older one commits what it has, and a newer one continues from there.
    pub fn handle<B>(&self, request: Request<B>, mount: &Mount<'_>) -> impl Future<Output = Response<ResponseBody>>
    where
        B: Body,
    {
        // Taken apart here to keep the future small: there may be thousands.
        let (head, body) = request.into_parts();
        let response = self.respond(Arc::new(head), body, mount.clone().into_owned(), None);
        response.map(|response| response.map(|body| body.unwrap_or_else(|| Bytes::new().into())))
    }

    /// The response to a request that a framework cannot deliver, because it cannot be expressed in the types of the
    /// crate `http`.
    pub fn unreadable(&self, reason: impl Display) -> Response<ResponseBody> {
        server::unreadable(&self.engine.config, reason).map(ResponseBody::from)
    }

    /// The response. Its body is that of the handler's response if it has none here.
    pub(crate) async fn respond<B: Body>(
        &self,
        head: Arc<Parts>,
        body: B,
        mount: Mount<'static>,
        caller: Option<Caller>,
    ) -> Response<Option<ResponseBody>> {
        let mut body = pin!(body);
        let mut at_end = body.is_end_stream();
        let (pump, receiver) = match at_end {
            true => (None, BodyReceiver::empty()),
            false => {
                let asked_for = head.headers.contains_key(header::EXPECT);
                let (pump, receiver) = pump(asked_for, &self.engine.budget);
                (Some(pump), receiver)
            }
        };
        // Dropped with this future: an exchange that outlives its request sends no interim responses.
        let session = Session::of(&head);
        let interim = session.as_ref().map(Session::sender);
        let exchange = exchange(self.engine.clone(), head.clone(), mount.clone(), receiver, interim, caller).boxed();
        let exchange = exchange.instrument(observe::exchange(&head));
        let mut exchange = Persistent::new(self.engine.exchanges.track_future(exchange));
        let (finished, at_end) = {
            let mut pumping = pin!(OptionFuture::from(pump.map(|pump| pump.run(body.as_mut()))).fuse());
            // Received bytes are forwarded before the exchange looks for them, so they get through in one turn.
            let finished = poll_fn(|context| {
                at_end |= pumping.as_mut().poll(context) == Poll::Ready(Some(true));
                exchange.poll_unpin(context)
            });
            (finished.await, at_end)
        };
        let response = finished.unwrap_or_else(|| {
            // The application's own function for origins may have panicked.
            let respond = |config: &Arc<Config>| server::fail(config, &head, &mount, Failure::Internal);
            let responded = catch_unwind(AssertUnwindSafe(|| respond(&self.engine.config)));
            responded.unwrap_or_else(|_| respond(&Arc::default())).map(|body| Some(body.into()))
        });
        drop(session);
        if at_end { response } else { drain(&head, body, response).await }
    }

    /// Ends every exchange: bodies that are still arriving are cut short, and what has arrived is committed. Their
    /// clients are asked to continue in a moment. Running calls of [`Hooks::finished`](crate::Hooks::finished) can
    /// finish. Waits for all of this for at most `grace`. A call that still runs then is dropped at its next await, and
    /// is repeated after the next start.
    ///
    /// Call it when the server is about to stop. Bodies that begin to arrive afterwards are cut short immediately.
    pub async fn shutdown(&self, grace: Duration) {
        let Engine { stopping, exchanges, .. } = &*self.engine;
        stopping.cancel();
        exchanges.close();
        if timeout(grace, exchanges.wait()).await.is_err() {
            tracing::warn!(
                exchanges = exchanges.len(),
                "the grace period ended before all uploads were committed and all hooks returned"
            );
        }
        self.engine.abandoning.cancel();
    }
}

async fn exchange(
    engine: Arc<Engine>,
    head: Arc<Parts>,
    mount: Mount<'static>,
    receiver: BodyReceiver,
    interim: Option<InterimSender>,
    caller: Option<Caller>,
) -> Response<Option<ResponseBody>> {
    let began = Instant::now();
    let first = server::begin(&engine.config, &head, &mount, SystemTime::now());
    let response = Exchange::new(&engine, &head, receiver, interim, caller).run(first).await;
    observe::responded(&head.method, response.status(), began.elapsed());
    response
}

impl fmt::Debug for Tus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tus").field("config", &self.engine.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http::StatusCode;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};
    use tokio::time::sleep;

    use super::*;
    use crate::{Cors, Memory};

    fn request(method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0")
    }

    /// A body whose bytes wait for memory does not count as silent.
    #[tokio::test(start_paused = true)]
    async fn a_body_waiting_for_memory_does_not_time_out() {
        let tus = Tus::builder(Memory::new()).build();
        let mount = Mount::at("/files");
        let create = request("POST", "/files").header("upload-length", 5).body(Full::new(Bytes::new())).unwrap();
        let created = tus.handle(create, &mount).await;
        let path = created.headers()["location"].to_str().unwrap();
        let all = tus.engine.budget.exhaust().await;
        let append = request("PATCH", path).header("upload-offset", 0).header("content-length", 5);
        let append = append.header("content-type", "application/offset+octet-stream");
        let append = tus.handle(append.body(Full::new(Bytes::from_static(b"hello"))).unwrap(), &mount);
        let freed = async {
            sleep(Duration::from_secs(3600)).await;
            drop(all);
        };
        let (appended, ()) = tokio::join!(append, freed);
        assert_eq!(
            (appended.status(), &appended.headers()["upload-offset"]),
            (StatusCode::NO_CONTENT, &"5".parse().unwrap())
        );
    }

    /// A byte now and then is too slow; 2 kB/s are not.
    #[tokio::test(start_paused = true)]
    async fn a_trickling_body_times_out_and_a_slow_one_does_not() {
        let tus = Tus::builder(Memory::new()).build();
        let mount = Mount::at("/files");
        for (piece, status, offset) in
            [(1, StatusCode::SERVICE_UNAVAILABLE, 7), (20_000, StatusCode::NO_CONTENT, 2_000_000)]
        {
            let create = request("POST", "/files").header("upload-length", 100 * piece).body(Full::new(Bytes::new()));
            let created = tus.handle(create.unwrap(), &mount).await;
            let path = created.headers()["location"].to_str().unwrap();
            let pieces = stream::iter(0..100).then(move |_| async move {
                sleep(Duration::from_secs(10)).await;
                Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0; piece])))
            });
            let append = request("PATCH", path).header("upload-offset", 0);
            let append = append.header("content-type", "application/offset+octet-stream");
            let answer = tus.handle(append.body(StreamBody::new(pieces)).unwrap(), &mount).await;
            assert_eq!(answer.status(), status);
            let stored = tus.find(&path.rsplit('/').next().unwrap().parse().unwrap()).await.unwrap().unwrap();
            assert!((offset - 2..=offset).contains(&stored.offset), "{stored:?}");
        }
    }

    #[tokio::test]
    async fn a_panicking_origin_function_fails_only_its_request() {
        let cors = Cors::Matching(Arc::new(|_| panic!("as the test wants it")));
        let tus = Tus::builder(Memory::new()).config(Config::default().cors(cors)).build();
        let options = async |origin: bool| {
            let request = request("OPTIONS", "/files");
            let request = if origin { request.header("origin", "https://a.example") } else { request };
            tus.handle(request.body(Full::new(Bytes::new())).unwrap(), &Mount::at("/files")).await
        };
        assert_eq!(options(true).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(options(false).await.status(), StatusCode::NO_CONTENT);
    }
}
