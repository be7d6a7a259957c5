//! Servers to test against: each framework on each storage.

pub mod photos;

use std::{
    convert::Infallible,
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bucket::Bucket;
use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::sync::oneshot;
use tower_service::Service;
use tus_object_store::{
    ObjectStore,
    object_store::{
        ClientOptions, RetryConfig,
        aws::AmazonS3Builder,
        azure::MicrosoftAzureBuilder,
        client::{HttpClient, HttpConnector, ReqwestConnector},
    },
};
use tus_service::{Builder, InterimIo, Memory, Storage, Tus};
use tus_sqlite::{Durability, Sqlite};

/// The listings of the README and of the guide.
#[cfg(doctest)]
mod listings {
    macro_rules! listings {
        ($($name:ident: $file:literal,)*) => {$(
            #[doc = include_str!(concat!("../../", $file))]
            mod $name {}
        )*};
    }
    listings! {
        readme: "README.md",
        actix_web_tus: "adapters/actix-web/README.md",
        axum_tus: "adapters/axum/README.md",
        tus_object_store: "adapters/object-store/README.md",
        tus_reqwest: "adapters/reqwest/README.md",
        tus_service: "adapters/service/README.md",
        tus_sqlite: "adapters/sqlite/README.md",
        warp_tus: "adapters/warp/README.md",
        client: "examples/guide/src/client.md",
        cors: "examples/guide/src/cors.md",
        draft: "examples/guide/src/draft.md",
        finished: "examples/guide/src/finished.md",
        hooks: "examples/guide/src/hooks.md",
        object_stores: "examples/guide/src/object-stores.md",
        operations: "examples/guide/src/operations.md",
        quick_start: "examples/guide/src/quick-start.md",
        settings: "examples/guide/src/settings.md",
        testing: "examples/guide/src/testing.md",
    }
}

/// A web framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    /// axum.
    Axum,
    /// actix-web.
    ActixWeb,
    /// warp.
    Warp,
}

impl Framework {
    /// All frameworks.
    pub const ALL: [Self; 3] = [Self::Axum, Self::ActixWeb, Self::Warp];
}

/// A kind of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// SQLite and files, synced.
    Synced,
    /// SQLite and files, buffered.
    Buffered,
    /// A bucket in memory.
    Bucket,
    /// The bucket `uploads` of another project's server on this machine. Its address is in the file `endpoint` of the
    /// directory; the second line contains the prefix if it is not the directory's name.
    Remote,
}

/// How long a server waits for a client that a busy machine delays.
const PATIENCE: Duration = Duration::from_secs(60);

/// The path of the endpoint.
pub const MOUNT: &str = "/files";

/// The user that the application's middleware takes from the header `X-User`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub String);

const USER: &str = "x-user";

impl Store {
    /// Opens a storage of this kind in a directory.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(self, directory: &Path) -> Result<Arc<dyn Storage>, Box<dyn Error>> {
        let sqlite = |durability| Sqlite::options().durability(durability).open(directory);
        Ok(match self {
            Self::Memory => Arc::new(Memory::new()),
            Self::Synced => Arc::new(sqlite(Durability::Synced)?),
            Self::Buffered => Arc::new(sqlite(Durability::Buffered)?),
            Self::Bucket => apart(ObjectStore::builder(Arc::new(Bucket::default())).open())?,
            Self::Remote => apart(remote(directory)?.open())?,
        })
    }
}

/// The name of the bucket in servers of other projects.
pub const CONTAINER: &str = "uploads";

/// The account that every Azurite has.
pub const AZURITE_ACCOUNT: &str = "devstoreaccount1";

/// Its key, which is public.
pub const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn remote(directory: &Path) -> Result<tus_object_store::Builder, Box<dyn Error>> {
    let endpoint = std::fs::read_to_string(directory.join("endpoint"))?;
    let (endpoint, prefix) = endpoint.trim().split_once('\n').unwrap_or((endpoint.trim(), ""));
    let own = directory.file_name().unwrap_or_default().to_string_lossy();
    let prefix = if prefix.is_empty() { &*own } else { prefix };
    Ok(foreign(endpoint, HttpClient::clone)?.prefix(&prefix.replace('.', "")))
}

/// The bucket of another project's S3 server, or of Azurite if the address begins with `az+`. `client` may inspect
/// the requests that copy.
///
/// # Errors
///
/// If the address is invalid.
pub fn foreign(
    endpoint: &str,
    client: impl FnOnce(&HttpClient) -> HttpClient,
) -> Result<tus_object_store::Builder, Box<dyn Error>> {
    // A test that makes a store fail waits for all attempts.
    let retry = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(5), ..RetryConfig::default() };
    let options = ClientOptions::new().with_allow_http(true);
    if let Some(endpoint) = endpoint.strip_prefix("az+") {
        let store = MicrosoftAzureBuilder::new()
            .with_endpoint(endpoint.to_owned())
            .with_account(AZURITE_ACCOUNT)
            .with_access_key(AZURITE_KEY)
            .with_container_name(CONTAINER)
            .with_client_options(options)
            .with_retry(retry);
        return Ok(ObjectStore::builder(Arc::new(store.build()?)));
    }
    let connected = ReqwestConnector::default().connect(&options)?;
    let store = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(CONTAINER)
        // What s3rver requires; the others accept any.
        .with_access_key_id("S3RVER")
        .with_secret_access_key("S3RVER")
        .with_region("us-east-1")
        .with_client_options(options)
        .with_retry(retry);
    let store = Arc::new(store.build()?);
    Ok(ObjectStore::builder(store.clone()).copies(store, client(&connected), CONTAINER))
}

/// Opens a storage of an object store, even if a runtime is already running.
fn apart<E>(opening: impl Future<Output = Result<ObjectStore, E>> + Send + 'static) -> Result<Arc<dyn Storage>, String>
where
    E: fmt::Display + Send + 'static,
{
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(opening).map_err(|error| error.to_string())
    };
    let opened = std::thread::spawn(open).join().map_err(|_| "opening the storage panicked".to_owned())??;
    Ok(Arc::new(opened))
}

impl FromStr for Framework {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|framework| framework.to_string() == text);
        named.ok_or_else(|| format!("{text:?} is not a framework: axum, actix-web or warp"))
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "synced" => Ok(Self::Synced),
            "buffered" => Ok(Self::Buffered),
            "bucket" => Ok(Self::Bucket),
            "remote" => Ok(Self::Remote),
            _ => Err(format!("{text:?} is not a storage: memory, synced, buffered, bucket or remote")),
        }
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Axum => "axum",
            Self::ActixWeb => "actix-web",
            Self::Warp => "warp",
        })
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Synced => "synced",
            Self::Buffered => "buffered",
            Self::Bucket => "bucket",
            Self::Remote => "remote",
        })
    }
}

/// Whether clients may get interim responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interim {
    /// No, as the framework serves by default.
    Off,
    /// If the framework supports them.
    On,
}

impl Framework {
    /// Whether it can send interim responses.
    #[must_use]
    pub fn informs(self) -> bool {
        self != Self::ActixWeb
    }
}

/// Serves until `stop`, and then shuts down gracefully.
///
/// # Errors
///
/// If the socket cannot be used.
pub async fn serve(
    framework: Framework,
    listener: TcpListener,
    tus: Tus,
    interim: Interim,
    stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let stopped = {
        let tus = tus.clone();
        async move {
            // A dropped sender also means stop.
            let _ = stop.await;
            tus.shutdown(Duration::from_secs(10)).await;
        }
    };
    match framework {
        Framework::Axum => serve_axum(listener, tus, interim, stopped).await,
        Framework::ActixWeb => serve_actix_web(listener, tus, stopped).await,
        Framework::Warp => serve_warp(listener, tus, interim, stopped).await,
    }
}

async fn serve_axum(
    listener: TcpListener,
    tus: Tus,
    interim: Interim,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Also nested two levels deep, and with the path in a parameter.
    use axum::{Router, extract::Request, middleware};
    let know_user = middleware::from_fn(async |mut request: Request, next: middleware::Next| {
        let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
        if let Some(user) = user.map(|user| User(user.to_owned())) {
            request.extensions_mut().insert(user);
        }
        next.run(request).await
    });
    let photos = || {
        use axum::{body::Body, extract::Extension, http::HeaderMap, routing::post};
        type Extensions = (Option<Extension<tus_service::Resumed>>, HeaderMap);
        let handler = async |(resumed, headers): Extensions, request: Request<Body>| {
            let (head, body) = request.into_parts();
            let action = headers.get(ACTION).and_then(|action| action.to_str().ok());
            let (method, uri) = (head.method.as_str(), head.uri.to_string());
            let resumed = resumed.map(|Extension(resumed)| resumed);
            let handled = photos::handle(resumed, method, &uri, action, body.into_data_stream()).await;
            response::<String>(handled.unwrap_or_else(|error| (400, error.to_string())))
        };
        axum_tus::resumable(photos::resumable(tus.clone()), post(handler).put(handler))
    };
    let app = Router::new()
        .merge(axum_tus::router(MOUNT, tus.clone()))
        .route(photos::PHOTOS, photos())
        .nest("/api/{user}", Router::new().route(photos::PHOTOS, photos()).merge(axum_tus::router("/up", tus.clone())))
        .layer(know_user);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    match interim {
        Interim::Off => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
        Interim::On => {
            let app = app.into_make_service_with_connect_info::<axum_tus::Informed>();
            axum::serve(axum_tus::Informing(listener), app).with_graceful_shutdown(stopped).await
        }
    }
}

/// The name of the header `X-Do` in this file.
const ACTION: &str = "x-do";

fn response<B: From<String>>((status, text): (u16, String)) -> Response<B> {
    let mut response = Response::new(B::from(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

async fn serve_actix_web(
    listener: TcpListener,
    tus: Tus,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    use actix_web::{App, HttpMessage, HttpRequest, HttpResponse, HttpServer, dev::Service, http::StatusCode, web};
    let photos = |tus: &Tus| {
        let handler = async |request: HttpRequest, payload: web::Payload| {
            let resumed = request.extensions().get::<tus_service::Resumed>().cloned();
            let action = request.headers().get(ACTION).and_then(|action| action.to_str().ok());
            let (method, uri) = (request.method().as_str(), request.uri().to_string());
            let (status, text) = photos::handle(resumed, method, &uri, action, payload).await?;
            let status = StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, actix_web::Error>(HttpResponse::build(status).body(text))
        };
        let resumable = actix_web_tus::resumable_with(photos::resumable(tus.clone()), |request, extensions| {
            if let Some(user) = request.extensions().get::<User>() {
                extensions.insert(user.clone());
            }
        });
        let resource = web::resource(photos::PHOTOS).route(web::post().to(handler)).route(web::put().to(handler));
        resource.wrap(resumable)
    };
    let app = move || {
        let files = actix_web_tus::scope_with(MOUNT, tus.clone(), |request, extensions| {
            if let Some(user) = request.extensions().get::<User>() {
                extensions.insert(user.clone());
            }
        });
        let user = web::scope("/api/{user}").service(actix_web_tus::scope("/up", tus.clone())).service(photos(&tus));
        App::new().service(files).service(user).service(photos(&tus)).wrap_fn(|request, next| {
            let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
            if let Some(user) = user.map(|user| User(user.to_owned())) {
                request.extensions_mut().insert(user);
            }
            next.call(request)
        })
    };
    let server = HttpServer::new(app)
        .on_connect(actix_web_tus::on_connect)
        .workers(2)
        .disable_signals()
        .keep_alive(PATIENCE)
        .client_request_timeout(PATIENCE)
        // It waits for idle connections, too. Received bytes have been committed before.
        .shutdown_timeout(1)
        .listen_auto_h2c(listener)?
        .run();
    let handle = server.handle();
    tokio::spawn(async move {
        stopped.await;
        handle.stop(true).await;
    });
    server.await
}

async fn serve_warp(
    listener: TcpListener,
    tus: Tus,
    interim: Interim,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    use warp::{Filter, path};
    let user = path("api").and(path::param()).and(path("up")).and(warp_tus::filter(tus.clone()));
    let user = user.map(|_: String, response| response);
    let known = warp::header::optional(USER).map(|user: Option<String>| {
        let mut extensions = warp::http::Extensions::new();
        user.and_then(|user| extensions.insert(User(user)));
        extensions
    });
    let photos = photos_of_warp(tus.clone());
    let files = warp_tus::filter_with(tus, known.boxed());
    let app = path(MOUNT.trim_start_matches('/')).and(files).or(user);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    match interim {
        Interim::Off => warp::serve(app).incoming(listener).graceful(stopped).run().await,
        Interim::On => serve_hyper(&listener, &Either { photos, others: warp::service(app) }, stopped).await,
    }
    Ok(())
}

/// The handler of photos.
fn photos_of_warp(
    tus: Tus,
) -> impl Service<
    Request<Incoming>,
    Response = Response<impl hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    use warp::{Filter, reject::not_found};
    let handler = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::optional::<String>(ACTION))
        .and(warp::ext::optional::<tus_service::Resumed>())
        .and(warp::body::stream())
        .and_then(
            async |method: warp::http::Method, path: warp::path::FullPath, query: String, action, resumed, body| {
                let action: Option<String> = action;
                let uri =
                    if query.is_empty() { path.as_str().to_owned() } else { format!("{}?{query}", path.as_str()) };
                let handled = photos::handle(resumed, method.as_str(), &uri, action.as_deref(), body).await;
                handled.map(response::<String>).map_err(|_| not_found())
            },
        );
    let app = warp::path("photos").and(warp::post().or(warp::put()).unify()).and(handler);
    warp_tus::resumable(photos::resumable(tus), app)
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Two services: one for photos, which knows the user, and one for everything else.
#[derive(Clone)]
struct Either<P, O> {
    photos: P,
    others: O,
}

impl<P, O, B, C> Service<Request<Incoming>> for Either<P, O>
where
    P: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    O: Service<Request<Incoming>, Response = Response<C>, Error = Infallible, Future: Send + 'static>,
    B: hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    C: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != photos::PHOTOS {
            let call = self.others.call(request);
            return call.map_ok(|response| response.map(|body| body.map_err(Into::into).boxed_unsync())).boxed();
        }
        let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
        if let Some(user) = user.map(|user| User(user.to_owned())) {
            request.extensions_mut().insert(user);
        }
        let call = self.photos.call(request);
        call.map_ok(|response| response.map(BodyExt::boxed_unsync)).boxed()
    }
}

/// Plain hyper over connections that support interim responses.
async fn serve_hyper<S, B>(listener: &tokio::net::TcpListener, service: &S, stopped: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (server, connections) = (auto::Builder::new(TokioExecutor::new()), GracefulShutdown::new());
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, _) = tokio::select! {
            Ok(accepted) = listener.accept() => accepted,
            () = &mut stopped => break,
            else => continue,
        };
        let io = InterimIo::new(stream);
        let (interim, service) = (io.interim(), TowerToHyperService::new(service.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            interim.attach(&mut request);
            service.call(request)
        });
        let connection = server.serve_connection(TokioIo::new(io), service).into_owned();
        tokio::spawn(connections.watch(connection));
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), connections.shutdown()).await;
}

/// A server in this process, with its own runtime and port. It stops on drop.
#[derive(Debug)]
pub struct Running {
    /// The address that it listens on.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts a server on a storage; `configure` changes the defaults.
    ///
    /// # Errors
    ///
    /// If no port or no thread is available.
    pub fn start(
        framework: Framework,
        storage: Arc<dyn Storage>,
        configure: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(framework, storage, Interim::Off, configure)
    }

    /// The same, with interim responses or without.
    ///
    /// # Errors
    ///
    /// If no port or no thread is available.
    pub fn start_with(
        framework: Framework,
        storage: Arc<dyn Storage>,
        interim: Interim,
        configure: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let served = runtime.and_then(|runtime| {
                runtime.block_on(async {
                    let tus = configure(Tus::builder_shared(storage)).build();
                    serve(framework, listener, tus, interim, stopped).await
                })
            });
            if let Err(error) = served {
                eprintln!("the server failed: {error}");
            }
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Stops the server gracefully, and waits until it has stopped.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
