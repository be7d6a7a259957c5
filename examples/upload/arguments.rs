//! The command line.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Parser};
use tus_reqwest::{
    Algorithm, Client, Error, Fingerprint, JsonFile, Options, Verification,
    reqwest::{
        self, Certificate, ClientBuilder, Identity, Url,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

use crate::Urls;

/// Uploads files to a tus server, and resumes interrupted uploads.
#[derive(Debug, Parser)]
#[command(name = "upload", group = ArgGroup::new("action").required(true).args(["to", "info", "terminate", "download"]))]
pub(crate) struct Arguments {
    /// Files to upload; with --download, the file to write
    pub(crate) files: Vec<PathBuf>,
    /// The URL of the endpoint
    #[arg(long, value_name = "URL", requires = "files")]
    to: Option<Url>,
    /// Show the state of an upload; fails while it is not complete
    #[arg(long, value_name = "URL")]
    info: Option<Url>,
    /// Delete an upload
    #[arg(long, value_name = "URL")]
    terminate: Option<Url>,
    /// Download a finished upload
    #[arg(long, value_name = "URL", requires = "files")]
    download: Option<Url>,
    /// Resume an upload that an earlier call left unfinished
    #[arg(long)]
    resume: bool,
    /// Send this many parts of a file in parallel
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) parallel: u32,
    /// Bytes per request (default: 1048576), or "all"
    #[arg(long, value_name = "BYTES")]
    chunk_size: Option<String>,
    /// Checksum algorithm: sha1, sha256, sha512, md5, crc32, or "off"
    #[arg(long, value_name = "NAME")]
    checksum: Option<String>,
    /// A header for every request, such as "Authorization: Bearer secret"
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
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

    pub(crate) fn client(&self, url: &str) -> Result<Client, Error> {
        let urls = Urls { file: JsonFile::new(".tus_urls.json"), resume: self.resume };
        let builder = Client::builder(url).options(self.options()?).http(self.http()?);
        let builder =
            self.header.iter().fold(builder, |builder, (name, value)| builder.header(name.clone(), value.clone()));
        builder.url_store(urls, Fingerprint::Content).build()
    }

    fn options(&self) -> Result<Options, Error> {
        let mut options = Options::default();
        match self.chunk_size.as_deref() {
            None => {}
            Some("all") => options = options.chunk_size(None)?,
            Some(bytes) => {
                let invalid =
                    |_| Error::Invalid(format!("--chunk-size must be a number of bytes or \"all\", not {bytes:?}"));
                options = options.chunk_size(Some(bytes.parse().map_err(invalid)?))?;
            }
        }
        match self.checksum.as_deref() {
            None => {}
            Some("off") => options = options.verification(Verification::Off),
            Some(name) => {
                let known = Algorithm::ALL.iter().find(|algorithm| algorithm.name() == name);
                let invalid =
                    || Error::Invalid(format!("--checksum must be the name of an algorithm or \"off\", not {name:?}"));
                options = options.verification(Verification::Required(*known.ok_or_else(invalid)?));
            }
        }
        Ok(options)
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        self.header.iter().cloned().collect()
    }

    pub(crate) fn http(&self) -> Result<ClientBuilder, Error> {
        let mut http = reqwest::Client::builder().tls_danger_accept_invalid_certs(self.insecure);
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let pem = [read(cert)?, read(key)?].concat();
            http = http.identity(Identity::from_pem(&pem).map_err(Error::local)?);
        }
        if let Some(ca) = &self.ca {
            let authorities = Certificate::from_pem_bundle(&read(ca)?).map_err(Error::local)?;
            http = http.tls_certs_merge(authorities);
        }
        Ok(http)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Invalid(format!("{} cannot be read: {error}", path.display())))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header needs a name, a colon and a value")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a valid header name"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is not a valid header value"))?;
    Ok((name, value))
}
