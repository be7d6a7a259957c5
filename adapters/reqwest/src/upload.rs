//! One upload, from start to end.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use tus_core::{
    Metadata,
    client::{Capabilities, Error, Options, Uploaded},
};
use url::Url;

use crate::{Client, Progress, Source, Uploader, progress::Reporter};

/// An upload to send.
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

    /// Adds metadata for the server: a key of visible ASCII without a comma, and a value of bytes, usually text.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Sends this many parts in parallel, and has the server concatenate them; 1 by default. Requires a file, and a
    /// server with the extension `concatenation`.
    pub fn parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// Stops at this offset and leaves the upload unfinished there.
    pub fn stop_at(mut self, offset: u64) -> Self {
        self.stop_at = Some(offset);
        self
    }

    /// Calls a function with each change of the progress, to the byte. It is called often and should be quick.
    pub fn on_progress(self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.reporter.call(Box::new(callback));
        self
    }

    /// Calls a function with the upload's URL as soon as it is known. (For an upload in parts, that is at the end.)
    pub fn on_url(mut self, callback: impl Fn(&Url) + Send + Sync + 'static) -> Self {
        self.on_url = Some(OnUrl(Box::new(callback)));
        self
    }

    /// The progress, for reading at any time.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.reporter.watch()
    }

    /// Sends the upload. To stop, drop the future: the server keeps what it has acknowledged, and the upload can be
    /// resumed.
    ///
    /// # Errors
    ///
    /// When it failed permanently: [`Error`] says who caused it.
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

    /// Prepares the upload to be sent request by request.
    ///
    /// # Errors
    ///
    /// When the source or the store of URLs cannot be read.
    pub async fn begin(mut self) -> Result<Uploader, Error> {
        let metadata = self.describe()?;
        Uploader::new(self, metadata).await
    }

    /// The machine's input: the new upload, the options, and the server's capabilities.
    pub(crate) async fn terms(&self) -> Result<(Options, Option<&Capabilities>), Error> {
        let capabilities = self.client.known_capabilities().await?;
        Ok((self.client.inner.options.clone().stop_at(self.stop_at), capabilities))
    }

    pub(crate) fn report_url(&self, url: &Url) {
        self.on_url.iter().for_each(|OnUrl(report)| report(url));
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

    /// The key under which its URL is stored.
    pub(crate) async fn key(&self) -> Result<Option<String>, Error> {
        let Some((_, fingerprint)) = &self.client.inner.store else {
            return Ok(None);
        };
        let fingerprint = fingerprint.of(&self.source).await?;
        // The same file may be uploaded to several servers.
        Ok(fingerprint.map(|fingerprint| format!("{fingerprint}@{}", self.client.inner.endpoint)))
    }

    /// The stored URL; an invalid one counts as missing.
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
