//! What the settings mean to the crates.

use std::{
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use http::{HeaderName, HeaderValue, Uri};
use tracing::level_filters::LevelFilter;
use tus_object_store::ObjectStore;
use tus_service::{Algorithm, Builder, Config, Cors, Download, Location, Memory, Storage, Tus, TusExtension, Upload};
use tus_sqlite::{Durability, Sqlite};

use super::{Seconds, Settings};
use crate::{
    app::PAGE_ENDPOINT,
    tls::Tls,
    webhooks::{Hook, Notices, Secrets, Timeouts, Webhooks},
};

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host and a port.
    Tcp(String),
    /// A socket in the file system, and its permissions.
    Unix(PathBuf, u32),
}

/// The levels of the log.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The URL of [`Memory`].
const MEMORY: &str = "memory:";

/// The shortest time that may pass where a time of 0 would break the server.
const SHORTEST: Duration = Duration::from_millis(100);

/// The shortest time that requests to a bucket can have.
const SHORTEST_REQUEST: Duration = Duration::from_secs(1);

/// The longest time that SQLite can wait, rounded down to days: its milliseconds have 31 bits.
const LONGEST_BUSY: Duration = Duration::from_secs(24 * 24 * 60 * 60);

/// The largest number of connections or downloads.
const MOST: usize = 1_000_000;

/// The least for the storage in a bucket, which would raise smaller values silently: bytes of a part, parts of a window, and
/// bytes of memory.
const SMALLEST_PART: u64 = 5 << 20;
const SMALLEST_WINDOW: usize = 2;
const SMALLEST_MEMORY: usize = 8 << 20;

impl Settings {
    /// Tries every value, without opening anything but files that are read.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_addresses()?;
        self.config()?;
        self.durability()?;
        self.log_level()?;
        self.is_log_json()?;
        self.bucket_builder()?;
        self.check_limits()?;
        ensure!(
            is_path(&self.path),
            "`path` is {:?}, but it must begin with a slash, and be the path of a URL as browsers send it",
            self.path
        );
        ensure!(
            !self.page || self.path.trim_end_matches('/').ends_with(&format!("/{PAGE_ENDPOINT}")),
            "`path` is {:?}, but with `page` it must end with /{PAGE_ENDPOINT}",
            self.path
        );
        Ok(())
    }

    /// Tries what only a server uses.
    pub(crate) fn check_serving(&self) -> anyhow::Result<()> {
        let creates = !self.disabled_extensions.iter().any(|name| name == TusExtension::Creation.name());
        ensure!(
            !self.page || self.protocols.iter().any(|name| name == "tus") && creates,
            "`page` is on, but the page needs tus in `protocols`, and its extension creation"
        );
        self.webhooks(Notices::default())?;
        self.tls()?;
        Ok(())
    }

    fn check_limits(&self) -> anyhow::Result<()> {
        for (key, Seconds(time), shortest) in [
            ("body_timeout", self.body_timeout, SHORTEST),
            ("download_timeout", self.download_timeout, SHORTEST),
            ("checkpoint_interval", self.checkpoint_interval, SHORTEST),
            ("sweep_interval", self.sweep_interval, SHORTEST),
            ("webhooks.timeout", self.webhooks.timeout, SHORTEST),
            ("bucket.request_timeout", self.bucket.request_timeout, SHORTEST_REQUEST),
        ] {
            let (is, least) = (time.as_secs_f64(), shortest.as_secs_f64());
            ensure!(time >= shortest, "`{key}` is {is}, but it must be at least {least} seconds");
        }
        let (is, most) = (self.busy_timeout.0.as_secs_f64(), LONGEST_BUSY.as_secs());
        ensure!(self.busy_timeout.0 <= LONGEST_BUSY, "`busy_timeout` is {is}, but it must be at most {most} seconds");
        for (key, number) in [("max_connections", self.max_connections), ("max_downloads", self.max_downloads)] {
            ensure!((1..=MOST).contains(&number), "`{key}` is {number}, but it must be 1 to {MOST}");
        }
        ensure!(!self.is_directory() || !self.dir.is_empty(), "`dir` is empty, but uploads need a directory");
        ensure!(self.max_metadata > 0, "`max_metadata` is 0, but it must be at least 1");
        ensure!(
            self.max_parts > 0,
            "`max_parts` is 0, but it must be at least 1; to turn concatenation off, add it to `disabled_extensions`"
        );
        ensure!(self.max_append_size != Some(0), "`max_append_size` is 0, but it must be at least 1");
        if let (Some(min), Some(max)) = (self.min_append_size, self.max_append_size) {
            ensure!(min <= max, "`min_append_size` is {min}, but it must be at most `max_append_size`, which is {max}");
        }
        for kind in &self.download_inline {
            ensure!(
                is_media_type(kind),
                "`download_inline` has {kind:?}, but a media type is a type and a subtype, as in image/png"
            );
        }
        self.check_bucket()
    }

    fn check_bucket(&self) -> anyhow::Result<()> {
        let bucket = &self.bucket;
        for (key, is, least) in [
            ("part_size", bucket.part_size, SMALLEST_PART),
            ("window", bucket.window as u64, SMALLEST_WINDOW as u64),
            ("memory", bucket.memory as u64, SMALLEST_MEMORY as u64),
        ] {
            ensure!(is >= least, "`bucket.{key}` is {is}, but it must be at least {least}");
        }
        Ok(())
    }

    /// Both listeners need a port of their own.
    fn check_addresses(&self) -> anyhow::Result<()> {
        let (Address::Tcp(uploads), Some(Address::Tcp(monitor))) = (self.address()?, self.monitor_address()?) else {
            return Ok(());
        };
        let mut uploads_at = uploads.to_socket_addrs()?;
        let monitor_at: Vec<_> = monitor.to_socket_addrs()?.collect();
        ensure!(
            !uploads_at.all(|one| monitor_at.iter().any(|other| collide(one, *other))),
            "`addr` is {uploads:?} and `monitor_addr` is {monitor:?}, but each needs a port of its own"
        );
        Ok(())
    }

    /// Where uploads are served.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        let mode = u32::from_str_radix(&self.socket_mode, 8).ok().filter(|mode| *mode <= 0o777);
        let mode = mode.with_context(|| {
            format!("`socket_mode` is {:?}, but it must be an octal number up to 777", self.socket_mode)
        })?;
        match self.addr.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Address::Unix(path.into(), mode)),
            _ => tcp("addr", &self.addr),
        }
    }

    /// Where health and metrics are served, if anywhere.
    pub(crate) fn monitor_address(&self) -> anyhow::Result<Option<Address>> {
        if self.monitor_addr.is_empty() { Ok(None) } else { tcp("monitor_addr", &self.monitor_addr).map(Some) }
    }

    /// The most detailed lines of the log.
    pub(crate) fn log_level(&self) -> anyhow::Result<LevelFilter> {
        match self.log.parse() {
            Ok(level) if LEVELS.contains(&&*self.log.to_lowercase()) => Ok(level),
            _ => bail!("`log` is {:?}, but it must be error, warn, info, debug or trace", self.log),
        }
    }

    /// Whether the log is JSON.
    pub(crate) fn is_log_json(&self) -> anyhow::Result<bool> {
        one_of("log_format", &self.log_format, [("text", false), ("json", true)])
    }

    /// What clients can see.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::default()
            .checksums(self.algorithms()?)
            .max_metadata(self.max_metadata)
            .max_parts(self.max_parts)
            .max_pending_finals(self.max_pending_finals)
            .keep_parts(self.keep_parts.unless_zero())
            .location(self.location()?)
            .trust_forwarded(self.trust_forwarded)
            .cors(self.cors()?)
            .expose_headers(headers("expose_headers", &self.expose_headers)?);
        if let Some(bytes) = self.max_size {
            config = config.max_size(bytes);
        }
        if let Some(bytes) = self.max_append_size {
            config = config.max_append_size(bytes);
        }
        if let Some(bytes) = self.min_append_size {
            config = config.min_append_size(bytes);
        }
        if let Some(idle) = self.expires.unless_zero() {
            config = config.expire_after(idle);
        }
        if let Some(age) = self.remove_finished.unless_zero() {
            config = config.remove_finished_after(age);
        }
        if self.interim_through_proxies {
            config = config.interim_through_proxies();
        }
        if self.download {
            let inline = self.download_inline.iter();
            config = config.download(inline.fold(Download::attachment(), |download, kind| download.inline(kind)));
        }
        for extension in named("disabled_extensions", &self.disabled_extensions, TusExtension::ALL, TusExtension::name)?
        {
            config = config.without(extension);
        }
        self.with_protocols(config)
    }

    /// An endpoint over a storage, which serves as the settings say.
    pub(crate) fn builder(&self, storage: Arc<dyn Storage>) -> anyhow::Result<Builder> {
        Ok(Tus::builder_shared(storage)
            .config(self.config()?)
            .body_timeout(self.body_timeout.0)
            .body_rate(self.body_rate)
            .download_timeout(self.download_timeout.0)
            .max_downloads(self.max_downloads)
            .checkpoint_interval(self.checkpoint_interval.0)
            .sweep_interval(self.sweep_interval.0)
            .background(self.background))
    }

    /// Adds the webhooks that pass to an endpoint.
    pub(crate) fn attach_webhooks(
        &self,
        builder: Builder,
        notices: &Notices,
        passes: impl Fn(Hook) -> bool,
    ) -> anyhow::Result<Builder> {
        let Some((webhooks, hooks)) = self.webhooks(notices.clone())? else { return Ok(builder) };
        let hooks: Vec<_> = hooks.into_iter().filter(|hook| passes(*hook)).collect();
        Ok(webhooks.attach(builder, &hooks))
    }

    /// TLS, if it is wanted.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<Tls>> {
        match (&*self.tls.cert, &*self.tls.key) {
            ("", "") => Ok(None),
            ("", _) | (_, "") => bail!("`tls.cert` and `tls.key` belong together, but only one of them is set"),
            (cert, key) => Tls::read(cert.as_ref(), key.as_ref()).map(Some),
        }
    }

    /// Opens the storage.
    pub(crate) async fn open(&self) -> anyhow::Result<Arc<dyn Storage>> {
        if self.is_memory() {
            return Ok(Arc::new(Memory::new()));
        }
        if let Some(bucket) = self.bucket_builder()? {
            return Ok(Arc::new(bucket.open().await?));
        }
        Ok(Arc::new(self.open_directory(self.durability()?).await?))
    }

    /// Opens the storage in the directory, with this durability instead of that of the settings.
    pub(crate) async fn open_directory(&self, durability: Durability) -> anyhow::Result<Sqlite> {
        let options = Sqlite::options().durability(durability).busy_timeout(self.busy_timeout.0);
        let directory = PathBuf::from(&self.dir);
        Ok(tokio::task::spawn_blocking(move || options.open(directory)).await??)
    }

    /// Whether uploads end with the process.
    pub(crate) fn is_memory(&self) -> bool {
        self.store == MEMORY
    }

    /// Whether uploads are in the directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.store.is_empty()
    }

    fn webhooks(&self, notices: Notices) -> anyhow::Result<Option<(Webhooks, Vec<Hook>)>> {
        let settings = &self.webhooks;
        let hooks = named("webhooks.hooks", &settings.hooks, Hook::ALL, Hook::name)?;
        let headers = headers("webhooks.headers", &settings.headers)?;
        if settings.url.is_empty() {
            // Otherwise a server whose URL was forgotten would admit everybody.
            for (key, is_set) in [
                ("hooks", hooks != [Hook::Finished]),
                ("headers", !headers.is_empty()),
                ("secrets", !settings.secrets.is_empty()),
                ("secrets_file", !settings.secrets_file.is_empty()),
            ] {
                ensure!(
                    !is_set,
                    "`webhooks.url` is not set, but `webhooks.{key}` is: without a URL, no webhook is sent"
                );
            }
            return Ok(None);
        }
        ensure!(!hooks.is_empty(), "`webhooks.hooks` is empty, but `webhooks.url` is set: name at least one webhook");
        let text = match &*settings.secrets_file {
            "" => String::new(),
            // The name is not shown: it may be a secret that was set by mistake.
            path => fs::read_to_string(path).context("the file of `webhooks.secrets_file` cannot be read")?,
        };
        let in_file = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets = Secrets::read(settings.secrets.iter().map(String::as_str).chain(in_file))?;
        let timeouts = Timeouts { finished: settings.finished_timeout.unless_zero(), others: settings.timeout.0 };
        Ok(Some((Webhooks::new(&settings.url, secrets, timeouts, headers, notices)?, hooks)))
    }

    fn bucket_builder(&self) -> anyhow::Result<Option<tus_object_store::Builder>> {
        let template = self.bucket.key.clone();
        ensure!(template.contains("{id}"), "`bucket.key` is {template:?}, but it must contain {{id}}");
        if self.store.is_empty() || self.is_memory() {
            return Ok(None);
        }
        check_store(&self.store)?;
        let mut bucket = ObjectStore::from_url(&self.store)
            .map_err(|error| anyhow!("`store`: {error}"))?
            .key(move |upload| object_name(&template, upload))
            .part_size(self.bucket.part_size)
            .window(self.bucket.window)
            .memory_budget(self.bucket.memory)
            .request_timeout(self.bucket.request_timeout.0);
        if let Some(equal) = self.bucket.equal_parts {
            bucket = bucket.equal_parts(equal);
        }
        if let Some(interval) = self.bucket.write_interval {
            bucket = bucket.write_interval(interval.0);
        }
        Ok(Some(bucket))
    }

    fn durability(&self) -> anyhow::Result<Durability> {
        let known = [("synced", Durability::Synced), ("buffered", Durability::Buffered)];
        one_of("durability", &self.durability, known)
    }

    fn algorithms(&self) -> anyhow::Result<Vec<Algorithm>> {
        named("checksums", &self.checksums, Algorithm::ALL.iter().copied(), Algorithm::name)
    }

    fn with_protocols(&self, mut config: Config) -> anyhow::Result<Config> {
        let known = ["tus", "draft"];
        let on = named("protocols", &self.protocols, known, |name| name)?;
        ensure!(!on.is_empty(), "`protocols` is empty, but at least one of {} is needed", known.join(", "));
        if !on.contains(&"tus") {
            config = config.without_tus();
        }
        if !on.contains(&"draft") {
            config = config.without_draft();
        }
        Ok(config)
    }

    fn location(&self) -> anyhow::Result<Location> {
        match &*self.location {
            "path" => Ok(Location::Path),
            "host" => Ok(Location::Host),
            url => Location::base(url)
                .map_err(|_| anyhow!("`location` is {url:?}, but it must be path, host or a URL without a query")),
        }
    }

    fn cors(&self) -> anyhow::Result<Cors> {
        if self.cors.is_empty() {
            return Ok(Cors::Off);
        }
        if self.cors == ["*"] {
            return Ok(Cors::Any);
        }
        let origin = |text: &String| {
            HeaderValue::from_str(text).ok().filter(|_| is_origin(text)).with_context(|| {
                format!(
                    "`cors` has {text:?}, but an origin is a scheme and a host in lower case, and a port if it is not the \
                     default one, as in https://app.example; or it is * alone"
                )
            })
        };
        Ok(Cors::Origins(self.cors.iter().map(origin).collect::<Result<_, _>>()?))
    }
}

/// Refuses what may contain a secret, without showing it. Errors may show what passes.
fn check_store(store: &str) -> anyhow::Result<()> {
    let Some(rest) = ["s3://", "gs://", "az://"].iter().find_map(|scheme| store.strip_prefix(scheme)) else {
        bail!("`store` must begin with s3://, gs:// or az://, or be {MEMORY}");
    };
    let bucket = rest.split('/').next().unwrap_or(rest);
    ensure!(
        !rest.contains(['@', '?', '#']) && !bucket.contains(':'),
        "`store` must not contain credentials; set them in the environment"
    );
    Ok(())
}

/// The name of a finished object.
fn object_name(template: &str, upload: &Upload) -> String {
    let owner = upload.owner.as_deref().filter(|owner| !owner.is_empty()).unwrap_or("nobody");
    // What the owner is called is never read as a part of the template, nor as a directory.
    let owner = owner.replace(['/', '\\'], "_");
    let named: Vec<_> = template.split("{id}").map(|text| text.replace("{owner}", &owner)).collect();
    named.join(upload.id.as_str())
}

/// Whether a program cannot listen at both addresses. The system chooses another port for each port 0.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // The unspecified address of IPv6 is also that of IPv4.
    let includes = |any: SocketAddr, one: SocketAddr| any.ip().is_unspecified() && (any.is_ipv6() || one.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || includes(a, b) || includes(b, a))
}

/// Whether browsers write an origin so (WHATWG HTML, "ASCII serialization of an origin"): nothing else ever matches.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let host = authority.host();
    let written = match (scheme, authority.port_u16()) {
        (_, None) | ("https", Some(443)) | ("http", Some(80)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    };
    text == written && !text.contains(|c: char| c == '*' || c.is_ascii_uppercase())
}

/// Whether a text is the path of a URL, and one that clients send as it is (WHATWG URL, "path state").
fn is_path(text: &str) -> bool {
    let is_sent = |segment: &str| !matches!(&*segment.to_lowercase().replace("%2e", "."), "." | "..");
    let is_uri = text.parse::<Uri>().is_ok_and(|uri| uri.path() == text && uri.query().is_none());
    let is_encoded = text.is_ascii() && !text.contains(['"', '{', '}', '\\', '^']);
    is_uri && is_encoded && text.starts_with('/') && !text.starts_with("//") && text.split('/').all(is_sent)
}

/// Whether a text is a type and a subtype, without parameters (RFC 6838, 4.2).
fn is_media_type(text: &str) -> bool {
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c));
    text.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

fn tcp(name: &str, address: &str) -> anyhow::Result<Address> {
    match address.to_socket_addrs() {
        Ok(_) => Ok(Address::Tcp(address.to_owned())),
        Err(error) => bail!("`{name}` is {address:?}, but it must be an address and a port: {error}"),
    }
}

fn one_of<T, const N: usize>(name: &str, value: &str, known: [(&str, T); N]) -> anyhow::Result<T> {
    let names = known.each_ref().map(|(name, _)| *name).join(" or ");
    let found = known.into_iter().find(|(name, _)| *name == value);
    found.map(|(_, found)| found).with_context(|| format!("`{name}` is {value:?}, but it must be {names}"))
}

/// The values that a list names.
fn named<T: Copy>(
    key: &str,
    values: &[String],
    known: impl IntoIterator<Item = T> + Clone,
    name: impl Fn(T) -> &'static str,
) -> anyhow::Result<Vec<T>> {
    let find = |value: &String| {
        known.clone().into_iter().find(|known| name(*known) == value.as_str()).with_context(|| {
            let known: Vec<_> = known.clone().into_iter().map(&name).collect();
            format!("`{key}` has {value:?}, but these are known: {}", known.join(", "))
        })
    };
    values.iter().map(find).collect()
}

/// Names of headers.
fn headers(key: &str, values: &[String]) -> anyhow::Result<Vec<HeaderName>> {
    let name = |value: &String| {
        value.parse().with_context(|| format!("`{key}` has {value:?}, which is not a valid header name"))
    };
    values.iter().map(name).collect()
}
