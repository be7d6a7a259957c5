//! Builds a client.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::sync::Mutex;
use tus_core::client::{Error, Options};
use url::Url;

use crate::{
    Client, Connections, Fingerprint, UrlStore,
    client::Inner,
    exchange::{After, Before, Credentials, Exchanges},
    kept::Kept,
    pool::Pool,
};

/// Builds a [`Client`].
///
/// ```
/// use std::time::Duration;
///
/// use tus_reqwest::{Client, Fingerprint, JsonFile, Options, Retry};
///
/// # fn main() -> Result<(), tus_reqwest::Error> {
/// let client = Client::builder("https://example.org/files")
///     .options(Options::default().chunk_size(Some(16 << 20)).retry(Retry::default().retries(20)))
///     .timeout(Duration::from_secs(60))
///     // Another process continues unfinished uploads of the same files.
///     .url_store(JsonFile::new("uploads.json"), Fingerprint::Content)
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    endpoint: String,
    trusted: Vec<String>,
    options: Options,
    connections: Connections,
    headers: HeaderMap,
    credentials: Option<Box<Credentials>>,
    before: Option<Box<Before>>,
    after: Option<Box<After>>,
    request_ids: bool,
    timeout: Duration,
    store: Option<(Arc<dyn UrlStore>, Fingerprint)>,
    store_required: bool,
}

impl Client {
    /// A client with the defaults for the endpoint at `url`: `https://example.org/files`. `user:password@` in it becomes
    /// `Authorization` for its origin.
    ///
    /// # Errors
    ///
    /// If `url` is not an http or https URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// A client for the endpoint at `url`, with other settings.
    pub fn builder(url: &str) -> Builder {
        Builder {
            endpoint: url.to_owned(),
            trusted: Vec::new(),
            options: Options::default(),
            connections: Connections::default(),
            headers: HeaderMap::new(),
            credentials: None,
            before: None,
            after: None,
            request_ids: false,
            timeout: Duration::from_secs(30),
            store: None,
            store_required: false,
        }
    }
}

impl Builder {
    /// Chunk size, checksums, retries, protocol.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// How connections are made: certificate authorities, client certificates, proxies, DNS. [`Connections`]
    /// describes which settings of a builder or client stay in force.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tus_reqwest::{Client, Connections, client_builder, reqwest::{Certificate, Identity}};
    ///
    /// let authority = Certificate::from_pem(&std::fs::read("ca.pem")?)?;
    /// let identity = Identity::from_pem(&std::fs::read("client.pem")?)?;
    /// let http = Connections::each(move || {
    ///     client_builder().tls_certs_merge([authority.clone()]).identity(identity.clone())
    /// });
    /// let client = Client::builder("https://example.org/files").http(http).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn http(mut self, connections: impl Into<Connections>) -> Self {
        self.connections = connections.into();
        self
    }

    /// Adds a header to every request to the endpoint's origin and to [trusted](Self::trust) origins, and to no
    /// others.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Calls a function for headers before each request to the endpoint's origin and to [trusted](Self::trust)
    /// origins, so that expiring tokens can be renewed. A request answered by `401` is sent once more with new
    /// headers.
    pub fn credentials<F, R>(mut self, credentials: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<HeaderMap, Error>> + Send + 'static,
    {
        self.credentials = Some(Box::new(move || Box::pin(credentials())));
        self
    }

    /// Trusts the origin of a URL as well: uploads at it get the headers and the credentials. The endpoint's origin
    /// is always trusted, and no other one, wherever a server, a store or an argument leads.
    pub fn trust(mut self, url: impl Into<String>) -> Self {
        self.trusted.push(url.into());
        self
    }

    /// Calls a function with each request before it is sent; it may change the headers.
    pub fn before_request(self, before: impl Fn(&mut Request<()>) + Send + Sync + 'static) -> Self {
        self.before_request_async(move |mut request| {
            before(&mut request);
            std::future::ready(Ok(request))
        })
    }

    /// The same with an async function, which returns the request to send.
    pub fn before_request_async<F, R>(mut self, before: F) -> Self
    where
        F: Fn(Request<()>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Request<()>, Error>> + Send + 'static,
    {
        self.before = Some(Box::new(move |request| Box::pin(before(request))));
        self
    }

    /// Calls a function with each request that was answered, and the response.
    pub fn after_response(mut self, after: impl Fn(&Request<()>, &Response<Bytes>) + Send + Sync + 'static) -> Self {
        self.after = Some(Box::new(move |request, response| {
            after(request, response);
            Box::pin(std::future::ready(Ok(())))
        }));
        self
    }

    /// The same with an async function. Its error ends the upload.
    pub fn after_response_async<F, R>(mut self, after: F) -> Self
    where
        F: Fn(Request<()>, Response<Bytes>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.after = Some(Box::new(move |request, response| Box::pin(after(request.clone(), response.clone()))));
        self
    }

    /// Gives each request an `X-Request-ID` of 128 random bits, unless it has one. Off by default.
    pub fn request_ids(mut self, on: bool) -> Self {
        self.request_ids = on;
        self
    }

    /// How long a request may go without a byte sent or received; 30 s by default. The concatenation of parts may take 10
    /// minutes, or this if it is longer.
    ///
    /// Bytes in the system's send buffer count when they leave, so that a line of 16 kbit/s is slow but not silent.
    /// If the system does not report this (systems other than Linux, or if requests share a client, see
    /// [`Connections`]), bytes count when the connection accepts them. After a silence or a broken connection that
    /// cost more than half of a request, requests become smaller, down to 16 KiB, so that such a line finishes
    /// nevertheless; they grow again when they are quick.
    pub fn timeout(mut self, silence: Duration) -> Self {
        self.timeout = silence;
        self
    }

    /// Stores the URLs of unfinished uploads, so that another process can resume them. Off by default. If the store
    /// fails, uploads continue without it.
    pub fn url_store(mut self, store: impl UrlStore, fingerprint: Fingerprint) -> Self {
        self.store = Some((Arc::new(store), fingerprint));
        self
    }

    /// Fails an upload before anything is created if the URL store cannot be read or written. Off by default.
    pub fn store_required(mut self, on: bool) -> Self {
        self.store_required = on;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// If the endpoint's URL is not an http or https URL, or the connection settings are invalid.
    pub fn build(self) -> Result<Client, Error> {
        let mut options = self.options.renews_credentials(self.credentials.is_some());
        let endpoint = options.trust(http_url(&self.endpoint)?);
        for trusted in &self.trusted {
            options.trust(http_url(trusted)?);
        }
        let required = self.store_required;
        let inner = Inner {
            endpoint,
            options,
            exchanges: Exchanges {
                pool: Pool::new(self.connections).map_err(Error::local)?,
                headers: self.headers,
                credentials: self.credentials,
                before: self.before,
                after: self.after,
                request_ids: self.request_ids,
                timeout: self.timeout,
            },
            kept: self.store.map(|(store, fingerprint)| Kept { store, fingerprint, required }),
            capabilities: Mutex::default(),
        };
        Ok(Client { inner: Arc::new(inner) })
    }
}

/// The error does not repeat the text, because it may contain a password.
fn http_url(text: &str) -> Result<Url, Error> {
    let invalid = |why: &str| Error::Invalid(format!("the URL of the endpoint is invalid: {why}"));
    let url: Url = text.parse().map_err(|error: url::ParseError| invalid(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(invalid("it must start with http:// or https://")),
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint may have a password.
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}
