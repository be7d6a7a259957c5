//! The endpoint: what an application builds once, and a framework's crate calls for each request.

use std::{
    fmt,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, OptionFuture},
};
use http::{HeaderValue, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body;
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;
use tus_core::{
    Config, Extension, Failure, Refusal, Rejection, Upload, UploadId,
    server::{self, Operation},
};

use crate::{
    Cause, Hooks, ResponseBody, Storage, StorageError,
    driver::{Driver, unasked},
    hooks::AllHooks,
    housekeeping,
    locks::{Held, Locks},
    observe,
    persistent::Persistent,
    pump::{Intake, Total, pump},
};

/// An endpoint for resumable uploads. A clone is the same endpoint.
#[derive(Clone)]
pub struct Tus {
    pub(crate) inner: Arc<Inner>,
    config: Arc<Config>,
}

pub(crate) struct Inner {
    /// What holds where no request is: extensions that a framework cannot carry are still on.
    pub(crate) config: Arc<Config>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) hooks: AllHooks,
    pub(crate) hook_timeout: Duration,
    pub(crate) locks: Locks,
    pub(crate) body_timeout: Duration,
    pub(crate) checkpoint_interval: Duration,
    /// Bounds the memory that bodies take.
    in_flight: Total,
    /// Fires when bodies are to be cut short.
    pub(crate) stopping: CancellationToken,
    /// Fires when this is dropped.
    pub(crate) gone: CancellationToken,
    /// The exchanges that are under way.
    pub(crate) exchanges: TaskTracker,
}

/// Bytes that are read of a body that nobody wants, so that its connection can be used again.
const DRAIN_BYTES: u64 = 1024 * 1024;

/// The shortest time between two checkpoints or sweeps.
const SHORTEST: Duration = Duration::from_millis(10);

/// How long is waited for them.
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl Tus {
    /// An endpoint whose uploads are kept in `storage`.
    pub fn builder(storage: impl Storage) -> Builder {
        Self::builder_shared(Arc::new(storage))
    }

    /// An endpoint whose uploads are kept in a storage that was chosen at run time, or has other users.
    pub fn builder_shared(storage: Arc<dyn Storage>) -> Builder {
        Builder {
            config: Config::default(),
            storage,
            hooks: AllHooks::none(),
            hook_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            checkpoint_interval: Duration::from_millis(500),
            sweep_interval: Duration::from_secs(60),
        }
    }

    /// The same endpoint without an extension: for a framework that cannot carry it. What is not
    /// offered is not advertised.
    pub fn without(mut self, extension: Extension) -> Self {
        self.config = Arc::new(Config::clone(&self.config).without(extension));
        self
    }

    /// Handles one request.
    ///
    /// The request's URI has the full path that the client sent, and `mount` is the path at which the
    /// endpoint was reached: `/files`, or empty for the root. What comes after it names the upload.
    ///
    /// The future may be dropped at any time: what came of the body is kept. It is `Send` if `B` is.
    /// Requests on one upload are in order: a newer one lets an older one commit what it has, and goes on
    /// from there.
    pub fn handle<B>(&self, request: Request<B>, mount: &str) -> impl Future<Output = Response<ResponseBody>>
    where
        B: Body,
    {
        // Taken apart here, so that the future is small: there may be thousands.
        let (head, body) = request.into_parts();
        self.answer(Arc::new(head), body, mount)
    }

    async fn answer<B: Body>(&self, head: Arc<Parts>, body: B, mount: &str) -> Response<ResponseBody> {
        let mut body = pin!(body);
        let mut at_end = body.is_end_stream();
        let (pump, intake) = match at_end {
            true => (None, Intake::empty()),
            false => {
                let (pump, intake) = pump(head.headers.contains_key(header::EXPECT), &self.inner.in_flight);
                (Some(pump), intake)
            }
        };
        let exchange = self.clone().exchange(head.clone(), mount.to_owned(), intake).boxed();
        let exchange = exchange.instrument(observe::exchange(&head));
        let mut exchange = Persistent::new(self.inner.exchanges.track_future(exchange));
        let (finished, at_end) = {
            let mut pumping = pin!(OptionFuture::from(pump.map(|pump| pump.run(body.as_mut()))).fuse());
            // What came is handed on before the exchange looks for it: one turn takes it all the way.
            let finished = poll_fn(|context| {
                at_end |= pumping.as_mut().poll(context) == Poll::Ready(Some(true));
                exchange.poll_unpin(context)
            });
            (finished.await, at_end)
        };
        let response = finished.unwrap_or_else(|| {
            server::fail(&self.config, &head, mount, Refusal::Storage(Failure::Internal)).map(ResponseBody::from)
        });
        if at_end { response } else { settle(&head, body, response).await }
    }

    /// Ends every exchange: bodies that are still coming are cut short, and what came of them is committed.
    /// Their clients are told to go on in a moment. Waits for that, `grace` at the most.
    ///
    /// Call it when the server is to stop. Bodies that begin to come afterwards are cut short at once.
    pub async fn shutdown(&self, grace: Duration) {
        let Inner { stopping, exchanges, .. } = &*self.inner;
        stopping.cancel();
        exchanges.close();
        if timeout(grace, exchanges.wait()).await.is_err() {
            tracing::warn!(exchanges = exchanges.len(), "not all uploads were committed in time");
        }
    }

    async fn exchange(self, head: Arc<Parts>, mount: String, intake: Intake) -> Response<ResponseBody> {
        let began = Instant::now();
        let first = server::begin(&self.config, &head, &mount, SystemTime::now());
        let response = Driver::new(&self.inner, &head, intake).run(first).await;
        observe::responded(&head.method, response.status(), began.elapsed());
        response
    }
}

impl Inner {
    /// What a hook says, or a `500` where it panics or hangs: the application must not take the server
    /// or an upload down.
    pub(crate) async fn guarded<T>(&self, hook: &'static str, call: impl Future<Output = T>) -> Result<T, Rejection> {
        match timeout(self.hook_timeout, AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => tracing::error!(hook, "a hook panicked"),
            Err(_) => tracing::error!(hook, "a hook took too long"),
        }
        Err(Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the application could not answer\n"))
    }

    /// Deletes an upload that is held, and tells the application.
    pub(crate) async fn remove(
        &self,
        upload: &Upload,
        expired_at: Option<SystemTime>,
        cause: Cause,
    ) -> Result<(), StorageError> {
        self.storage.remove(&upload.id, expired_at).await?;
        observe::removed(upload, cause);
        let _ = self.guarded("terminated", self.hooks.hooks.terminated(upload, cause)).await;
        Ok(())
    }

    /// Takes up what was left undone on an upload, if nobody is at it.
    pub(crate) async fn resume(self: &Arc<Self>, id: &UploadId) {
        if let Some(held) = self.locks.try_hold(id) {
            self.resume_held(id, held).await;
        }
    }

    /// Takes up what was left undone on an upload, when nobody is at it any more.
    pub(crate) fn resume_when_free<'a>(self: &'a Arc<Self>, id: &'a UploadId) -> BoxFuture<'a, ()> {
        Box::pin(async { self.resume_held(id, self.locks.hold_when_free(id).await).await })
    }

    async fn resume_held(self: &Arc<Self>, id: &UploadId, held: Held<'_>) {
        let upload = match self.storage.load(id).await {
            Ok(upload) => upload,
            Err(error) => return tracing::error!(upload = %id, %error, "an upload could not be taken up again"),
        };
        let step = upload.and_then(|upload| server::resume(&self.config, upload, SystemTime::now()));
        if let Some(step) = step {
            let (head, intake) = unasked();
            Driver::new(self, &head, intake).holding(held).run(step).await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// Leaves the connection usable or closed: what is left of a body that was refused must not be read
/// as the next request.
async fn settle<B: Body>(
    head: &Parts,
    body: Pin<&mut B>,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    // Later versions end a stream, and not the connection.
    if head.version > Version::HTTP_11 || body.is_end_stream() {
        return response;
    }
    // A client that waits for a word before it sends is not to be told `100 Continue` now.
    let waits = head.headers.contains_key(header::EXPECT);
    if waits || !timeout(DRAIN_TIME, drain(body)).await.unwrap_or(false) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body was read to its end.
async fn drain<B: Body>(mut body: Pin<&mut B>) -> bool {
    let mut bytes = 0;
    loop {
        match std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| bytes::Buf::remaining(data) as u64),
        }
        if bytes > DRAIN_BYTES {
            return false;
        }
    }
}

/// The path at which a router found the endpoint: the full path of a request without the `rest` that the
/// router left of it. The router may have undone percent-encoding in `rest`.
///
/// ```
/// assert_eq!(tus_service::mount("/api/files/%61", "/a"), "/api/files");
/// assert_eq!(tus_service::mount("/api/files", "/"), "/api/files");
/// ```
pub fn mount<'a>(full: &'a str, rest: &str) -> &'a str {
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest.is_empty() {
        return full.strip_suffix('/').unwrap_or(full);
    }
    let mut slashes = full.rmatch_indices('/');
    slashes.nth(rest.matches('/').count()).map_or(full, |(at, _)| &full[..at])
}

/// Builds a [`Tus`].
pub struct Builder {
    config: Config,
    storage: Arc<dyn Storage>,
    hooks: AllHooks,
    hook_timeout: Duration,
    body_timeout: Duration,
    checkpoint_interval: Duration,
    sweep_interval: Duration,
}

impl Builder {
    /// The limits, the extensions, and how responses are addressed.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The application's say.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.hooks = Arc::new(hooks);
        self.hooks.are_given = true;
        self
    }

    /// Asks a closure first whether something may be done: [`Hooks::authorize`] where nothing has to be awaited.
    pub fn authorize<F>(mut self, authorize: F) -> Self
    where
        F: Fn(Operation, Option<&Upload>, &Parts) -> Result<(), Rejection> + Send + Sync + 'static,
    {
        self.hooks.authorize = Some(Box::new(authorize));
        self
    }

    /// Tells a closure first that an upload is whole: see [`Hooks::finished`].
    pub fn finished<F, R, E>(mut self, finished: F) -> Self
    where
        F: Fn(Upload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        self.hooks.finished = Some(Box::new(move |upload| Box::pin(finished(upload).map_err(Into::into))));
        self
    }

    /// How long a hook may take; 30 s by default.
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.hook_timeout = timeout;
        self
    }

    /// How long a body may be silent; 30 s by default. What came until then is kept.
    pub fn body_timeout(mut self, silence: Duration) -> Self {
        self.body_timeout = silence;
        self
    }

    /// How long bytes may wait for their commit while a body is coming; 500 ms by default. A process that
    /// is killed loses at most what came since. A storage may take longer.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval.max(SHORTEST);
        self
    }

    /// How often expired uploads are cleared away, and hooks that failed are called again; 60 s by default.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval.max(SHORTEST);
        self
    }

    /// The endpoint. What a killed process left undone is taken up at once, in the background.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn build(self) -> Tus {
        let config = Arc::new(self.config);
        let inner = Arc::new(Inner {
            config: config.clone(),
            storage: self.storage,
            hooks: self.hooks,
            hook_timeout: self.hook_timeout,
            locks: Locks::default(),
            body_timeout: self.body_timeout,
            checkpoint_interval: self.checkpoint_interval,
            in_flight: Total::default(),
            stopping: CancellationToken::new(),
            gone: CancellationToken::new(),
            exchanges: TaskTracker::new(),
        });
        tokio::spawn(housekeeping::run(Arc::downgrade(&inner), inner.gone.clone(), self.sweep_interval));
        Tus { inner, config }
    }
}

impl fmt::Debug for Tus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tus").field("config", &self.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
