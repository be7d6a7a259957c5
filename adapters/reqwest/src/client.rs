//! The client, which an application builds once per endpoint.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};
use tus_core::{
    Metadata,
    client::{
        Capabilities, Error, Info, NewUpload, Options, Step, Task, Uploaded, create, discover, discover_again, inspect,
        terminate,
    },
};
use url::Url;

use crate::{Entry, deadline::Deadline, exchange::Exchanges, kept::Kept, waiting::OnWait};

/// A client for one endpoint. Clones share the same client.
///
/// ```no_run
/// use tus_reqwest::{Client, Source};
///
/// # async fn run() -> Result<(), tus_reqwest::Error> {
/// let client = Client::new("https://example.org/files")?;
/// let uploaded = client.upload(Source::bytes("hello")).metadata("filename", "hello.txt").send().await?;
/// let info = client.info(uploaded.url.as_str()).await?;
/// assert!(info.complete);
/// client.terminate(uploaded.url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) endpoint: Url,
    pub(crate) options: Options,
    pub(crate) exchanges: Exchanges,
    pub(crate) kept: Option<Kept>,
    pub(crate) capabilities: Mutex<Asked>,
}

/// What came of requests for the server's capabilities.
#[derive(Default)]
pub(crate) struct Asked {
    known: Option<Known>,
    /// When a request failed last.
    failed: Option<Instant>,
}

/// What the server last said about its capabilities.
pub(crate) struct Known {
    capabilities: Capabilities,
    answered: Instant,
    /// When temporary rejections of OPTIONS were last retried.
    waited: Instant,
}

/// How long the response to OPTIONS is valid.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// How long after retries of OPTIONS a temporary rejection of it is not retried again: some servers always answer so.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// A URL from the caller.
pub(crate) fn parse<U>(url: U) -> Result<Url, Error>
where
    U: TryInto<Url, Error: fmt::Display>,
{
    // The error does not repeat the text, because it may contain a password.
    url.try_into().map_err(|error| Error::Invalid(format!("the URL is invalid: {error}")))
}

impl Client {
    /// The state of an upload: its offset, length and metadata. Uses the protocol of this client
    /// ([`Options::protocol`]).
    ///
    /// # Errors
    ///
    /// When it does not exist ([`Error::is_gone`]), or the server cannot be asked.
    pub async fn info<U>(&self, url: U) -> Result<Info, Error>
    where
        U: TryInto<Url, Error: fmt::Display>,
    {
        self.run(inspect(parse(url)?, self.options().await?), &OnWait::default()).await
    }

    /// Deletes an upload, and its entry in the URL store. A missing upload is not an error.
    ///
    /// # Errors
    ///
    /// If the server rejects this or cannot be reached.
    pub async fn terminate<U>(&self, url: U) -> Result<(), Error>
    where
        U: TryInto<Url, Error: fmt::Display>,
    {
        self.terminate_in(self.options().await?, parse(url)?).await
    }

    /// Deletes an upload by a request of the options' protocol.
    pub(crate) async fn terminate_in(&self, mut options: Options, url: Url) -> Result<(), Error> {
        let url = options.without_credentials(url);
        self.run(terminate(url.clone(), options), &OnWait::default()).await?;
        if let Some(kept) = &self.inner.kept {
            kept.remove_url(url.into()).await;
        }
        Ok(())
    }

    /// Lets the server concatenate finished partial uploads ([`Upload::partial`](crate::Upload::partial)), in this order
    /// (tus 1.0.0, "Concatenation").
    ///
    /// # Errors
    ///
    /// If the server rejects this or cannot be reached.
    pub async fn concatenate(&self, parts: Vec<Url>, metadata: Metadata) -> Result<Uploaded, Error> {
        let upload = NewUpload::concatenation(parts).metadata(metadata);
        let step = create(self.inner.endpoint.clone(), upload, self.options().await?, None)?;
        self.run(step, &OnWait::default()).await
    }

    /// The capabilities of the server, requested anew by each call. They are only a hint: often a proxy answers instead of the
    /// server, and what it does not say is not known.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or requires credentials.
    pub async fn capabilities(&self) -> Result<Capabilities, Error> {
        let step = discover(self.inner.endpoint.clone(), self.inner.options.clone());
        self.run(step, &OnWait::default()).await
    }

    /// The unfinished uploads in the URL store, with their keys; empty without a store.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn unfinished(&self) -> Result<Vec<(String, Entry)>, Error> {
        match &self.inner.kept {
            Some(kept) => kept.list().await,
            None => Ok(Vec::new()),
        }
    }

    /// Removes an entry from the URL store. The upload stays on the server.
    pub async fn forget(&self, key: &str) {
        if let Some(kept) = &self.inner.kept {
            kept.remove(key).await;
        }
    }

    /// The options, with the server's protocol if none was chosen.
    async fn options(&self) -> Result<Options, Error> {
        let options = self.inner.options.clone();
        match options.get_protocol() {
            Some(_) => Ok(options),
            None => {
                let capabilities = self.known_capabilities(&OnWait::default()).await?;
                Ok(options.protocol(capabilities.protocol().unwrap_or_default()))
            }
        }
    }

    /// The capabilities from a recent request. One request answers everybody who waits for it; if it fails, they ask at
    /// the same time.
    pub(crate) async fn known_capabilities(&self, waits: &OnWait) -> Result<Capabilities, Error> {
        let came = Instant::now();
        let mut asked = self.inner.capabilities.lock().await;
        let is_valid = |known: &Known| !known.capabilities.temporary && known.answered.elapsed() < KNOWN_FOR;
        if let Some(known) = asked.known.as_ref().filter(|known| known.answered >= came || is_valid(known)) {
            return Ok(known.capabilities.clone());
        }
        let waited = asked.known.as_ref().map(|known| known.waited).filter(|waited| waited.elapsed() < UNKNOWN_FOR);
        if asked.failed.is_some_and(|failed| failed >= came) {
            drop(asked);
            let known = self.ask(waited, waits).await?;
            let capabilities = known.capabilities.clone();
            // Whoever holds the lock is asking, and keeps that answer.
            if let Ok(mut asked) = self.inner.capabilities.try_lock()
                && !asked.known.as_ref().is_some_and(is_valid)
            {
                asked.known = Some(known);
            }
            return Ok(capabilities);
        }
        match self.ask(waited, waits).await {
            Ok(known) => Ok(asked.known.insert(known).capabilities.clone()),
            Err(error) => {
                asked.failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    async fn ask(&self, waited: Option<Instant>, waits: &OnWait) -> Result<Known, Error> {
        let (endpoint, options) = (self.inner.endpoint.clone(), self.inner.options.clone());
        let step = if waited.is_some() { discover_again(endpoint, options) } else { discover(endpoint, options) };
        let capabilities = self.run(step, waits).await?;
        let answered = Instant::now();
        Ok(Known { capabilities, answered, waited: waited.unwrap_or(answered) })
    }

    async fn run<T: Task>(&self, step: Step<T>, waits: &OnWait) -> Result<T::Output, Error> {
        Deadline::from_now(&self.inner.options).bound(self.inner.exchanges.run(step, waits)).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint.as_str()).finish_non_exhaustive()
    }
}
