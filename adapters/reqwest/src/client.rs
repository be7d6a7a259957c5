//! The client, which an application builds once per endpoint.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::sync::OnceCell;
use tus_core::client::{Capabilities, Error, Info, Options, Step, Task, discover, inspect, terminate};
use url::Url;

use crate::{Fingerprint, Source, Upload, UrlStore, exchange::moment};

/// A client for one endpoint. Clones share the same client.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Url,
    pub(crate) options: Options,
    pub(crate) http: reqwest::Client,
    pub(crate) headers: HeaderMap,
    pub(crate) credentials: Option<Box<Credentials>>,
    pub(crate) before: Option<Box<Before>>,
    pub(crate) after: Option<Box<After>>,
    pub(crate) request_ids: bool,
    pub(crate) timeout: Duration,
    pub(crate) store: Option<(Arc<dyn UrlStore>, Fingerprint)>,
    capabilities: OnceCell<Option<Capabilities>>,
}

type Credentials = dyn Fn() -> BoxFuture<'static, Result<HeaderMap, Error>> + Send + Sync;
type Before = dyn Fn(&mut Request<()>) + Send + Sync;
type After = dyn Fn(&Response<Bytes>) + Send + Sync;

impl Client {
    /// A client with the defaults for the endpoint at `url`: `https://example.org/files`.
    ///
    /// # Errors
    ///
    /// When `url` is not an http or https URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A client for the endpoint at `url`, with other settings.
    pub fn builder(url: &str) -> Builder {
        Builder {
            endpoint: url.to_owned(),
            options: Options::default(),
            http: reqwest::Client::builder(),
            headers: HeaderMap::new(),
            credentials: None,
            before: None,
            after: None,
            request_ids: false,
            timeout: Duration::from_secs(30),
            store: None,
        }
    }

    /// A new upload of `source`; [`Upload::send`] sends it.
    pub fn upload(&self, source: Source) -> Upload {
        Upload::new(self.clone(), source, None)
    }

    /// The existing upload at `url`; [`Upload::send`] resumes it.
    pub fn resume(&self, url: Url, source: Source) -> Upload {
        Upload::new(self.clone(), source, Some(url))
    }

    /// The state of an upload: its offset, length and metadata.
    ///
    /// # Errors
    ///
    /// When it does not exist ([`Error::is_gone`]), or the server cannot be asked.
    pub async fn info(&self, url: Url) -> Result<Info, Error> {
        self.run(inspect(url, self.inner.options.clone())).await
    }

    /// Deletes an upload. A missing upload is not an error.
    ///
    /// # Errors
    ///
    /// When the server refuses, or cannot be asked.
    pub async fn terminate(&self, url: Url) -> Result<(), Error> {
        self.run(terminate(url, self.inner.options.clone())).await
    }

    /// The capabilities of the server, requested anew by each call.
    ///
    /// # Errors
    ///
    /// When the server does not announce them.
    pub async fn capabilities(&self) -> Result<Capabilities, Error> {
        self.run(discover(self.inner.endpoint.clone(), self.inner.options.clone())).await
    }

    /// The capabilities from the first request; `None` for a server that does not announce them.
    pub(crate) async fn known_capabilities(&self) -> Result<Option<&Capabilities>, Error> {
        let ask = async || match self.capabilities().await {
            Ok(capabilities) => Ok(Some(capabilities)),
            // Termination is an optional extension.
            Err(Error::Refused(refused)) if [404, 405, 501].contains(&refused.status.as_u16()) => Ok(None),
            Err(error) => Err(error),
        };
        self.inner.capabilities.get_or_try_init(ask).await.map(Option::as_ref)
    }

    /// Runs a task whose requests carry no bytes of the source.
    async fn run<T: Task>(&self, mut step: Step<T>) -> Result<T::Output, Error> {
        loop {
            step = match step {
                Step::Read(read) => read.done(0, None),
                Step::Transmit(transmit) => {
                    let sent = self.inner.exchange(transmit.request(), transmit.is_home(), None).await;
                    transmit.done(sent, moment())
                }
                Step::Wait(wait) => {
                    tokio::time::sleep(wait.duration()).await;
                    wait.done()
                }
                Step::Finished(result) => return result,
            }
        }
    }
}

/// Builds a [`Client`].
pub struct Builder {
    endpoint: String,
    options: Options,
    http: reqwest::ClientBuilder,
    headers: HeaderMap,
    credentials: Option<Box<Credentials>>,
    before: Option<Box<Before>>,
    after: Option<Box<After>>,
    request_ids: bool,
    timeout: Duration,
    store: Option<(Arc<dyn UrlStore>, Fingerprint)>,
}

impl Builder {
    /// The size of chunks, checksums, retries.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// How connections are made: certificate authorities, client certificates, proxies, DNS. This crate sets redirects
    /// and timeouts itself.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tus_reqwest::{Client, reqwest::{self, Certificate, Identity}};
    ///
    /// let http = reqwest::Client::builder()
    ///     .tls_certs_merge([Certificate::from_pem(&std::fs::read("ca.pem")?)?])
    ///     .identity(Identity::from_pem(&std::fs::read("client.pem")?)?);
    /// let client = Client::builder("https://example.org/files").http(http).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn http(mut self, http: reqwest::ClientBuilder) -> Self {
        self.http = http;
        self
    }

    /// Adds a header to every request to the endpoint's own origin; other origins do not get it.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Asks for headers before each request to the endpoint's own origin, so that expiring tokens can be renewed. A
    /// request answered by `401` is sent once more with new headers.
    pub fn credentials<F, R>(mut self, credentials: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<HeaderMap, Error>> + Send + 'static,
    {
        self.credentials = Some(Box::new(move || Box::pin(credentials())));
        self
    }

    /// Calls a function with each request before it is sent; it may change the headers.
    pub fn before_request(mut self, before: impl Fn(&mut Request<()>) + Send + Sync + 'static) -> Self {
        self.before = Some(Box::new(before));
        self
    }

    /// Calls a function with each response.
    pub fn after_response(mut self, after: impl Fn(&Response<Bytes>) + Send + Sync + 'static) -> Self {
        self.after = Some(Box::new(after));
        self
    }

    /// Gives each request an `X-Request-ID` of 128 random bits, unless it has one. Off by default.
    pub fn request_ids(mut self, on: bool) -> Self {
        self.request_ids = on;
        self
    }

    /// How long a request may go without a byte sent or received; 30 s by default.
    pub fn timeout(mut self, silence: Duration) -> Self {
        self.timeout = silence;
        self
    }

    /// Stores the URLs of unfinished uploads, so that another process can resume them. Off by default.
    pub fn url_store(mut self, store: impl UrlStore, fingerprint: Fingerprint) -> Self {
        self.store = Some((Arc::new(store), fingerprint));
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// When the endpoint's URL is not an http or https URL, or the connection settings are invalid.
    pub fn build(self) -> Result<Client, Error> {
        let invalid = |why: &str| Error::Invalid(format!("{:?} is not the URL of an endpoint: {why}", self.endpoint));
        let endpoint: Url = self.endpoint.parse().map_err(|error: url::ParseError| invalid(&error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(invalid("it must start with http:// or https://"));
        }
        let http = self.http.redirect(reqwest::redirect::Policy::none()).build();
        let inner = Inner {
            endpoint,
            options: self.options.renews_credentials(self.credentials.is_some()),
            http: http.map_err(Error::local)?,
            headers: self.headers,
            credentials: self.credentials,
            before: self.before,
            after: self.after,
            request_ids: self.request_ids,
            timeout: self.timeout,
            store: self.store,
            capabilities: OnceCell::new(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint.as_str()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
