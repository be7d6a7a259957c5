//! One upload, from its beginning to its end.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use tus_core::{
    Metadata,
    client::{Capabilities, Error, Options, Uploaded},
};
use url::Url;

use crate::{Client, Progress, Source, Uploader, progress::Reporter};

/// An upload that is to be sent.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Upload {
    pub(crate) client: Client,
    pub(crate) source: Source,
    pub(crate) url: Option<Url>,
    metadata: Vec<(String, Bytes)>,
    pub(crate) parts: u32,
    pub(crate) stop_at: Option<u64>,
    pub(crate) reporter: Arc<Reporter>,
    on_url: Option<OnUrl>,
}

struct OnUrl(Box<dyn Fn(&Url) + Send + Sync>);

impl Upload {
    pub(crate) fn new(client: Client, source: Source, url: Option<Url>) -> Self {
        let reporter = Arc::new(Reporter::new(source.length()));
        Self { client, source, url, metadata: Vec::new(), parts: 1, stop_at: None, reporter, on_url: None }
    }

    /// Tells the server something of the upload: a key of visible ASCII without a comma, and bytes, which are mostly
    /// text.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Sends so many parts at the same time, and has the server make them one; 1 by default. For a file, and a
    /// server with the extension `concatenation`.
    pub fn parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// Sends no byte past this one, and leaves the upload unfinished there.
    pub fn stop_at(mut self, offset: u64) -> Self {
        self.stop_at = Some(offset);
        self
    }

    /// Is told of each step of the progress, to the byte. It is called often, and should be quick.
    pub fn on_progress(self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.reporter.call(Box::new(callback));
        self
    }

    /// Is told the upload's URL as soon as it is known. (Of one in parts, that is at its end.)
    pub fn on_url(mut self, callback: impl Fn(&Url) + Send + Sync + 'static) -> Self {
        self.on_url = Some(OnUrl(Box::new(callback)));
        self
    }

    /// The progress, to look at at any time.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.reporter.watch()
    }

    /// Sends it. To stop, drop the future: what was acknowledged stays, and can be gone on with.
    ///
    /// # Errors
    ///
    /// When it failed for good: [`Error`] says by whose fault.
    pub async fn send(mut self) -> Result<Uploaded, Error> {
        if self.parts > 1 && self.url.is_none() && self.source.length() != Some(0) {
            let metadata = self.describe()?;
            return crate::parts::send(&self, metadata).await;
        }
        let mut uploader = self.begin().await?;
        loop {
            if let Some(uploaded) = uploader.upload_chunk().await? {
                return Ok(uploaded);
            }
        }
    }

    /// Prepares it, to be sent request by request.
    ///
    /// # Errors
    ///
    /// When what it needs of this side is not there: its source, or the store of URLs.
    pub async fn begin(mut self) -> Result<Uploader, Error> {
        let metadata = self.describe()?;
        Uploader::new(self, metadata).await
    }

    /// What the machine is told, and what the server can do.
    pub(crate) async fn terms(&self) -> Result<(Options, Option<&Capabilities>), Error> {
        let capabilities = self.client.known_capabilities().await?;
        Ok((self.client.inner.options.clone().stop_at(self.stop_at), capabilities))
    }

    pub(crate) fn tell(&self, url: &Url) {
        self.on_url.iter().for_each(|OnUrl(tell)| tell(url));
    }

    fn describe(&mut self) -> Result<Metadata, Error> {
        let mut pairs = std::mem::take(&mut self.metadata);
        if let Some(name) = self.source.name()
            && !pairs.iter().any(|(key, _)| key == "filename")
        {
            pairs.push(("filename".to_owned(), Bytes::copy_from_slice(name.as_bytes())));
        }
        Metadata::from_pairs(pairs).map_err(|error| Error::Invalid(format!("the metadata: {error}")))
    }

    /// Under which its URL is kept.
    pub(crate) async fn key(&self) -> Result<Option<String>, Error> {
        let Some((_, fingerprint)) = &self.client.inner.store else {
            return Ok(None);
        };
        let fingerprint = fingerprint.of(&self.source).await?;
        // The same file may be on its way to several servers.
        Ok(fingerprint.map(|fingerprint| format!("{fingerprint}@{}", self.client.inner.endpoint)))
    }

    /// The URL that is kept; one that cannot be read is none.
    pub(crate) fn kept(&self, key: Option<&str>) -> Result<Option<Url>, Error> {
        let (Some(key), Some((store, _))) = (key, &self.client.inner.store) else {
            return Ok(None);
        };
        let kept = store.get(key).map_err(Error::local)?;
        Ok(kept.and_then(|url| url.parse().ok()))
    }

    pub(crate) fn keep(&self, key: Option<&str>, url: &Url) -> Result<(), Error> {
        match (key, &self.client.inner.store) {
            (Some(key), Some((store, _))) => store.set(key, url.as_str()).map_err(Error::local),
            _ => Ok(()),
        }
    }

    pub(crate) fn forget(&self, key: Option<&str>) -> Result<(), Error> {
        match (key, &self.client.inner.store) {
            (Some(key), Some((store, _))) => store.remove(key).map_err(Error::local),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for OnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}
