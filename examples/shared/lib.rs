//! What the example servers share and nobody needs to copy: settings from the environment, a log on standard error,
//! the signal to stop, and a page to upload from.

use std::{
    env, error::Error, fmt, io::IsTerminal, net::ToSocketAddrs, path::PathBuf, pin::Pin, sync::Arc, time::Duration,
};

use tokio::sync::oneshot;
use tus_object_store::ObjectStore;
use tus_service::{Config, Cors, Download, Location, Storage, Tus};
use tus_sqlite::{Durability, Sqlite};

/// The page at `/`: one document without external resources.
pub const PAGE: &str = concat!(
    "<!doctype html><html lang=en><head><meta charset=utf-8>",
    "<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>Upload files</title><link rel=icon href=\"data:,\"><style>",
    include_str!("page/page.css"),
    "</style></head><body>",
    include_str!("page/page.html"),
    // One module, whose parts use what is above them.
    "<script type=module>",
    include_str!("page/words.js"),
    include_str!("page/progress.js"),
    include_str!("page/files.js"),
    include_str!("page/protocol.js"),
    include_str!("page/memory.js"),
    include_str!("page/tabs.js"),
    include_str!("page/rows.js"),
    include_str!("page/page.js"),
    "</script></body></html>"
);

/// Settings from the environment.
#[derive(Debug)]
pub struct Settings {
    /// `TUS_ADDR`: where to listen; `127.0.0.1:8080` by default.
    pub address: String,
    /// `TUS_DIR`: where uploads are stored; `./uploads-data` by default, created if missing.
    pub directory: PathBuf,
    /// `TUS_DURABILITY`: `synced` (the default) or `buffered`.
    pub durability: Durability,
    /// `TUS_STORE`: a bucket instead of the directory, `s3://bucket/prefix`, `gs://…` or `az://…`. Credentials and
    /// endpoint come from the environment, as the crate `object_store` reads them (`AWS_ACCESS_KEY_ID`,
    /// `AWS_ENDPOINT`, …).
    pub store: Option<String>,
    /// `TUS_MAX_SIZE` (bytes, no limit by default), `TUS_EXPIRES` (seconds, 86400 by default, 0 for never),
    /// `TUS_LOCATION` (`path`, the default; `host`; or a public base URL), `TUS_DOWNLOAD` (`off`, the default, or
    /// `on`). Any origin may upload.
    pub config: Config,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// If a variable has an invalid value. The text states what is expected.
    pub fn from_env() -> Result<Self, Failed> {
        let mut config = Config::default().cors(Cors::Any);
        if let Some(bytes) = number("TUS_MAX_SIZE", "bytes")? {
            config = config.max_size(bytes);
        }
        match number("TUS_EXPIRES", "seconds")?.unwrap_or(86400) {
            0 => {}
            seconds => config = config.expire_after(Duration::from_secs(seconds)),
        }
        let location = match variable("TUS_LOCATION")?.as_deref() {
            None | Some("path") => Location::Path,
            Some("host") => Location::Host,
            Some(url) => Location::base(url).map_err(|_| {
                Failed(format!("TUS_LOCATION is {url:?}, but it must be path, host or a URL without a query"))
            })?,
        };
        match variable("TUS_DOWNLOAD")?.as_deref() {
            None | Some("off") => {}
            Some("on") => config = config.download(Download::attachment()),
            Some(other) => return Err(Failed(format!("TUS_DOWNLOAD is {other:?}, but it must be on or off"))),
        }
        let durability = match variable("TUS_DURABILITY")?.as_deref() {
            None | Some("synced") => Durability::Synced,
            Some("buffered") => Durability::Buffered,
            Some(other) => {
                return Err(Failed(format!("TUS_DURABILITY is {other:?}, but it must be synced or buffered")));
            }
        };
        let address = variable("TUS_ADDR")?.unwrap_or("127.0.0.1:8080".into());
        if let Err(error) = address.to_socket_addrs() {
            return Err(Failed(format!("TUS_ADDR is {address:?}, but it must be an address and a port: {error}")));
        }
        Ok(Self {
            address,
            directory: path("TUS_DIR").unwrap_or("./uploads-data".into()),
            durability,
            store: variable("TUS_STORE")?,
            config: config.location(location),
        })
    }
}

impl Settings {
    /// Opens the bucket if there is one, otherwise the directory.
    ///
    /// # Errors
    ///
    /// If it cannot be used; the text states the reason.
    pub async fn open(&self) -> Result<Arc<dyn Storage>, Failed> {
        Ok(match &self.store {
            Some(url) => Arc::new(ObjectStore::from_url(url)?.open().await?),
            None => Arc::new(self.open_directory()?),
        })
    }

    /// Opens the directory, for an example that works with files.
    ///
    /// # Errors
    ///
    /// If it cannot be used, or the settings ask for a bucket; the text states the reason.
    pub fn open_directory(&self) -> Result<Sqlite, Failed> {
        match self.store {
            Some(_) => Err(Failed("TUS_STORE is set, but this example needs files: set TUS_DIR instead".into())),
            None => Ok(Sqlite::options().durability(self.durability).open(&self.directory)?),
        }
    }
}

/// Writes the log to standard error: a line for each upload that was created, finished, terminated or expired.
pub fn log() {
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    // A log that cannot be written would cause a panic when that is reported.
    log.log_internal_errors(false).init();
}

/// How long uploads may take to be committed when a server stops, and then how long its connections may take to end.
pub const GRACE: Duration = Duration::from_secs(10);

/// Runs a server until SIGTERM or Ctrl-C. Then it commits what has arrived and gives `server`, which gets the signal
/// to close its connections, the same time again: clients can keep connections open indefinitely, with half a request
/// or a download that they do not read. `None` if that took too long.
pub async fn serve<S: IntoFuture>(
    tus: Tus,
    server: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> S,
) -> Option<S::Output> {
    let (close, closing) = oneshot::channel::<()>();
    let server = server(Box::pin(async { drop(closing.await) }));
    let stopped = async {
        stopped(tus).await;
        drop(close);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server.into_future() => Some(served),
        () = stopped => None,
    }
}

/// Waits for SIGTERM or Ctrl-C, and commits what has arrived until then.
pub async fn stopped(tus: Tus) {
    stop_signal().await;
    tus.shutdown(GRACE).await;
}

/// Waits for SIGTERM or Ctrl-C.
async fn stop_signal() {
    let interrupted = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! { _ = interrupted => {}, _ = terminated.recv() => {} }
        }
        Err(_) => drop(interrupted.await),
    }
}

/// Why a program failed, as a sentence.
pub struct Failed(String);

impl<E: Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// A `main` that fails prints this.
impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An environment variable that is set and not empty.
///
/// # Errors
///
/// If its value is not UTF-8. The text has no part of the value, which may be a secret.
pub fn variable(name: &str) -> Result<Option<String>, Failed> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    value.into_string().map(Some).map_err(|_| Failed(format!("{name} is not UTF-8")))
}

/// An environment variable that is a path.
pub fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// An environment variable without which an example cannot work.
///
/// # Errors
///
/// If it is not set. The text has the example of a value.
pub fn required(name: &str, example: &str) -> Result<String, Failed> {
    variable(name)?.ok_or_else(|| Failed(format!("{name} is not set: set it to {example}, for example")))
}

/// An environment variable that has pairs: `secret=anna,hidden=bert`.
///
/// # Errors
///
/// If it is not set, or something in it is no pair. The text has the example of a value, and no part of the value itself,
/// which may be a secret.
pub fn pairs<T: FromIterator<(String, String)>>(name: &str, example: &str) -> Result<T, Failed> {
    let value = required(name, example)?;
    let pair = |(number, pair): (usize, &str)| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failed(format!("pair {number} of {name} is not of the form key=value, as in {example}"))),
    };
    (1..).zip(value.split(',')).map(pair).collect()
}

/// An environment variable that is a number of some unit.
///
/// # Errors
///
/// If it is something else.
pub fn number(name: &str, unit: &str) -> Result<Option<u64>, Failed> {
    let Some(value) = variable(name)? else {
        return Ok(None);
    };
    let number =
        value.parse().map_err(|_| Failed(format!("{name} is {value:?}, but it must be a number of {unit}")))?;
    Ok(Some(number))
}
