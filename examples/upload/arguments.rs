//! The command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Parser};
use tus_reqwest::{
    Algorithm, Client, Connections, Error, Fingerprint, JsonFile, Options, Protocol, Retry, Verification,
    client_builder,
    reqwest::{
        Certificate, ClientBuilder, Identity, Url,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

const EXAMPLES: &str = "Examples:
  tus-upload film.mp4 photos.zip --to https://example.org/files --resume
  pg_dump shop | tus-upload - --to https://example.org/files --metadata filename=shop.sql
  tus-upload film.mp4 --download https://example.org/files/5f2a";

/// Uploads files to a tus server, and resumes interrupted uploads.
///
/// Exit codes: 0 for success, 1 if anything failed, 2 for invalid arguments, 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "tus-upload", version, after_help = EXAMPLES, group = ArgGroup::new("action").required(true).args(["to", "info", "terminate", "download"]))]
pub(crate) struct Arguments {
    /// Files to upload, "-" for standard input; with --download, the file to write
    pub(crate) files: Vec<PathBuf>,
    /// The URL of the endpoint
    #[arg(long, value_name = "URL", requires = "files", value_parser = url)]
    to: Option<Url>,
    /// Show the state of an upload; the exit code is 1 while it is not complete
    #[arg(long, value_name = "URL", value_parser = url)]
    info: Option<Url>,
    /// Delete an upload
    #[arg(long, value_name = "URL", value_parser = url)]
    terminate: Option<Url>,
    /// Download a finished upload, and continue an interrupted download
    #[arg(long, value_name = "URL", requires = "files", value_parser = url)]
    download: Option<Url>,
    /// Store the URLs of unfinished uploads, and resume those of earlier calls with --resume or --store
    #[arg(long)]
    pub(crate) resume: bool,
    /// Where the URLs of unfinished uploads are stored (with --resume by default: .tus_urls.json)
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Metadata of the upload, such as "kind=film"
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Send a file in this many parts at the same time, each over its own connection; at most 100. Servers may allow fewer:
    /// tus-serve allows 16 by default, and refuses more only after they were sent
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) parallel: u16,
    /// Bytes per request, or "all" (default: from 1 MiB up to 8 MiB, depending on the speed of the connection)
    #[arg(long, value_name = "BYTES", value_parser = chunk_size)]
    chunk_size: Option<ChunkSize>,
    /// Checksum algorithm: sha1, sha256, sha512, md5, crc32, or "off" (default: sha1 if the server offers checksums)
    #[arg(long, value_name = "NAME", value_parser = checksum)]
    checksum: Option<Verification>,
    /// The protocol: tus, draft (the IETF's "Resumable Uploads for HTTP", draft 12), or auto to ask the server
    #[arg(long, value_name = "NAME", default_value = "tus", value_parser = protocol)]
    protocol: Spoken,
    /// Retries without progress before an upload fails (default: 8)
    #[arg(long, value_name = "N")]
    max_retries: Option<u32>,
    /// Seconds without a byte sent or received before a request fails
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// A header for every request, such as "Authorization: Bearer secret"
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Give each request an X-Request-ID
    #[arg(long)]
    request_id: bool,
    /// Send PATCH and DELETE as POST, for networks that block them
    #[arg(long)]
    override_method: bool,
    /// Show no progress
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Certificate authority to trust in addition to the system's (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
struct ChunkSize(Option<u64>);

/// `None` asks the server.
#[derive(Debug, Clone, Copy)]
struct Spoken(Option<Protocol>);

/// The action, and its URL.
#[derive(Debug)]
pub(crate) enum Action<'a> {
    Upload(&'a Url),
    Info(&'a Url),
    Terminate(&'a Url),
    Download(&'a Url),
}

impl Action<'_> {
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Upload(url) | Self::Info(url) | Self::Terminate(url) | Self::Download(url) => url.as_str(),
        }
    }
}

impl Arguments {
    pub(crate) fn action(&self) -> Action<'_> {
        match (&self.to, &self.info, &self.terminate, &self.download) {
            (Some(url), ..) => Action::Upload(url),
            (_, Some(url), ..) => Action::Info(url),
            (_, _, Some(url), _) => Action::Terminate(url),
            (_, _, _, Some(url)) => Action::Download(url),
            (None, None, None, None) => unreachable!("one of them is required"),
        }
    }

    /// Where the URLs of unfinished uploads are stored, if requested.
    pub(crate) fn store(&self) -> Option<&Path> {
        self.store.as_deref().or(self.resume.then_some(Path::new(".tus_urls.json")))
    }

    pub(crate) fn client(&self, url: &str) -> Result<Client, Error> {
        let make = self.http()?;
        let builder = Client::builder(url).options(self.options()).http(Connections::each(make));
        let builder = builder.timeout(self.timeout()).request_ids(self.request_id);
        let builder =
            self.header.iter().fold(builder, |builder, (name, value)| builder.header(name.clone(), value.clone()));
        match self.store() {
            Some(file) => {
                builder.url_store(JsonFile::new(file), Fingerprint::Content).store_required(self.resume).build()
            }
            None => builder.build(),
        }
    }

    fn options(&self) -> Options {
        let options = Options::default().override_method(self.override_method).protocol(self.protocol.0);
        let options = match self.chunk_size {
            Some(ChunkSize(bytes)) => options.chunk_size(bytes),
            None => options,
        };
        let options = match self.checksum {
            Some(verification) => options.verification(verification),
            None => options,
        };
        match self.max_retries {
            Some(retries) => options.retry(Retry::default().retries(retries)),
            None => options,
        }
    }

    /// How long a request may go without a byte sent or received.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        self.header.iter().cloned().collect()
    }

    /// Makes builders, one for each connection.
    pub(crate) fn http(&self) -> Result<impl Fn() -> ClientBuilder + Send + Sync + use<>, Error> {
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let pem = [read(cert)?, read(key)?].concat();
                Some(Identity::from_pem(&pem).map_err(Error::local)?)
            }
            _ => None,
        };
        let authorities = match &self.ca {
            Some(ca) => Certificate::from_pem_bundle(&read(ca)?).map_err(Error::local)?,
            None => Vec::new(),
        };
        let insecure = self.insecure;
        Ok(move || {
            let http = client_builder().tls_danger_accept_invalid_certs(insecure);
            let http = http.tls_certs_merge(authorities.iter().cloned());
            identity.iter().cloned().fold(http, ClientBuilder::identity)
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::unreadable(path.display().to_string(), error))
}

fn url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("it must start with http:// or https://".into()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("metadata needs a key, an equals sign and a value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    match text {
        "all" => Ok(ChunkSize(None)),
        _ => match text.parse() {
            Ok(bytes @ 1..) => Ok(ChunkSize(Some(bytes))),
            _ => Err("it must be a number of bytes from 1 on, or \"all\"".into()),
        },
    }
}

fn protocol(text: &str) -> Result<Spoken, String> {
    match (text, Protocol::from_name(text)) {
        ("auto", _) => Ok(Spoken(None)),
        (_, Some(protocol)) => Ok(Spoken(Some(protocol))),
        (_, None) => Err("it must be tus, draft, or auto".into()),
    }
}

fn checksum(text: &str) -> Result<Verification, String> {
    let known = || Algorithm::ALL.iter().find(|algorithm| algorithm.name() == text);
    match text {
        "off" => Ok(Verification::Off),
        _ => match known() {
            Some(algorithm) => Ok(Verification::Required(*algorithm)),
            None => Err("it must be sha1, sha256, sha512, md5, crc32, or \"off\"".into()),
        },
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header needs a name, a colon and a value")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a valid header name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is not a valid header value"))?;
    Ok((name, value))
}
