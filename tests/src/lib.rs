//! Servers to test against: each framework on each storage.

mod frameworks;
pub mod photos;

use std::{
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bucket::Bucket;
use tokio::sync::oneshot;
use tus_object_store::{
    ObjectStore,
    object_store::{
        ClientOptions, RetryConfig,
        aws::AmazonS3Builder,
        azure::MicrosoftAzureBuilder,
        client::{HttpClient, HttpConnector, ReqwestConnector},
    },
};
use tus_service::{Builder, Memory, Storage, Tus};
use tus_sqlite::{Durability, Sqlite};

use self::frameworks::{serve_actix_web, serve_axum, serve_warp};

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
            Self::Bucket => on_bucket(Bucket::default())?,
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

/// Opens a storage on a bucket in memory, even if a runtime is already running.
///
/// # Errors
///
/// If it cannot be opened.
pub fn on_bucket(bucket: Bucket) -> Result<Arc<dyn Storage>, String> {
    apart(ObjectStore::builder(Arc::new(bucket)).open())
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
