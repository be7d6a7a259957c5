//! Servers to test against: each framework on each storage.

use std::{
    convert::Infallible,
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bucket::Bucket;
use hyper::{Request, Response, body::Incoming, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::sync::oneshot;
use tower_service::Service;
use tus_object_store::ObjectStore;
use tus_service::{Builder, InterimIo, Memory, Storage, Tus};
use tus_sqlite::{Durability, Sqlite};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

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
    /// All of them.
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
    /// The bucket `uploads` of an S3 server on this machine, whose address is in the file `endpoint` of the directory.
    Remote,
}

/// How long a server waits for a client that a busy machine delays.
const PATIENCE: Duration = Duration::from_secs(60);

/// The path of the endpoint.
pub const MOUNT: &str = "/files";

/// What the application's middleware knows of a request, by the header `X-User`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub String);

const USER: &str = "x-user";

impl Store {
    /// Opens a storage of this kind in a directory.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
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

fn remote(directory: &Path) -> Result<tus_object_store::Builder, Box<dyn Error>> {
    use tus_object_store::object_store::aws::AmazonS3Builder;
    let endpoint = std::fs::read_to_string(directory.join("endpoint"))?;
    let store = AmazonS3Builder::new()
        .with_endpoint(endpoint.trim())
        .with_allow_http(true)
        .with_bucket_name("uploads")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .with_region("us-east-1");
    let prefix = directory.file_name().unwrap_or_default().to_string_lossy().replace('.', "");
    Ok(ObjectStore::builder(Arc::new(store.build()?)).prefix(&prefix))
}

/// Opens a storage of an object store, also where a runtime runs already.
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

/// Whether clients may be informed by interim responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interim {
    /// As a framework serves by itself.
    Off,
    /// Where the framework can.
    On,
}

impl Framework {
    /// Whether it can send interim responses.
    #[must_use]
    pub fn informs(self) -> bool {
        self != Self::ActixWeb
    }
}

/// Serves until `stop`, and then shuts down cleanly.
///
/// # Errors
///
/// When the socket cannot be used.
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
            // A dropped sender means stop, too.
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
    let app = Router::new()
        .merge(axum_tus::router(MOUNT, tus.clone()))
        .nest("/api/{user}", Router::new().merge(axum_tus::router("/up", tus)))
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

async fn serve_actix_web(
    listener: TcpListener,
    tus: Tus,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    use actix_web::{App, HttpMessage, HttpServer, dev::Service, web};
    let app = move || {
        let files = actix_web_tus::scope_with(MOUNT, tus.clone(), |request, extensions| {
            if let Some(user) = request.extensions().get::<User>() {
                extensions.insert(user.clone());
            }
        });
        let user = web::scope("/api/{user}").service(actix_web_tus::scope("/up", tus.clone()));
        App::new().service(files).service(user).wrap_fn(|request, next| {
            let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
            if let Some(user) = user.map(|user| User(user.to_owned())) {
                request.extensions_mut().insert(user);
            }
            next.call(request)
        })
    };
    let server = HttpServer::new(app)
        .workers(2)
        .disable_signals()
        .keep_alive(PATIENCE)
        .client_request_timeout(PATIENCE)
        // It waits for idle connections, too; received bytes have been committed before.
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
    let files = warp_tus::filter_with(tus, known.boxed());
    let app = path(MOUNT.trim_start_matches('/')).and(files).or(user);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    match interim {
        Interim::Off => warp::serve(app).incoming(listener).graceful(stopped).run().await,
        Interim::On => serve_hyper(&listener, &warp::service(app), stopped).await,
    }
    Ok(())
}

/// Plain hyper, over connections that carry interim responses.
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

/// A server in this process, on a runtime and a port of its own. It stops on drop.
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
    /// When no port or no thread is available.
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
    /// When no port or no thread is available.
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

    /// Stops the server cleanly, and waits until it has stopped.
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
