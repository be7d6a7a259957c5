//! One upload, from start to end.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;
use tus_core::client::{Error, Options, Uploaded};
use url::Url;

use crate::{
    Client, Progress, Source, Uploader, Waiting,
    client::parse,
    deadline::Deadline,
    job::{Job, OnUrl, describe},
    parts::{self, Parts},
    progress::Reporter,
    waiting::OnWait,
};

/// An upload to send. [`Upload::send`] and [`Upload::begin`] report invalid settings.
///
/// ```no_run
/// use tus_reqwest::{Client, Source};
///
/// # async fn run() -> Result<(), tus_reqwest::Error> {
/// let client = Client::new("https://example.org/files")?;
/// let uploaded = client
///     .upload(Source::path("film.mp4").await?)
///     .metadata("kind", "film")
///     .parts(4) // at the same time
///     .on_url(|url| println!("it will be at {url}"))
///     .on_progress(|progress| println!("{progress}"))
///     .send()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Upload {
    client: Client,
    options: Options,
    source: Source,
    url: Option<Result<Url, Error>>,
    metadata: Vec<(String, Bytes)>,
    partial: Option<Range<u64>>,
    parts: Parts,
    parts_metadata: Vec<(String, Bytes)>,
    key: Option<String>,
    fresh: bool,
    keep_entry: bool,
    reporter: Arc<Reporter>,
    on_url: OnUrl,
    on_wait: OnWait,
}

impl Client {
    /// A new upload of `source`; [`Upload::send`] sends it.
    pub fn upload(&self, source: Source) -> Upload {
        Upload::new(self.clone(), source, None)
    }

    /// The existing upload at `url`; [`Upload::send`] resumes it. If its origin is neither that of the endpoint nor
    /// [trusted](crate::Builder::trust), it gets no headers and no credentials.
    pub fn resume<U>(&self, url: U, source: Source) -> Upload
    where
        U: TryInto<Url, Error: fmt::Display>,
    {
        Upload::new(self.clone(), source, Some(parse(url)))
    }
}

impl Upload {
    fn new(client: Client, source: Source, url: Option<Result<Url, Error>>) -> Self {
        let mut options = client.inner.options.clone();
        let url = url.map(|url| url.map(|url| options.without_credentials(url)));
        Self {
            client,
            options,
            url,
            metadata: Vec::new(),
            partial: None,
            parts: Parts::default(),
            parts_metadata: Vec::new(),
            key: None,
            fresh: false,
            keep_entry: false,
            reporter: Arc::new(Reporter::new(source.length())),
            source,
            on_url: OnUrl::default(),
            on_wait: OnWait::default(),
        }
    }

    /// Adds metadata for the server: a key of visible ASCII without a comma, and a value of bytes, usually text.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Sends the source in this many parts of about the same size, which the server concatenates; 1 by default.
    /// Requires a file or bytes in memory, and a server with the extension `concatenation`.
    pub fn parts(mut self, parts: u32) -> Self {
        self.parts.count = parts;
        self
    }

    /// The offsets between the parts, in ascending order, instead of parts of the same size.
    pub fn part_boundaries(mut self, offsets: impl IntoIterator<Item = u64>) -> Self {
        self.parts.boundaries = offsets.into_iter().collect();
        self
    }

    /// How many parts are sent concurrently, each over its own connection; 4 by default. Memory and open files depend
    /// on this, not on the number of parts.
    pub fn parts_at_once(mut self, parts: usize) -> Self {
        self.parts.at_once = parts;
        self
    }

    /// Adds metadata to each part. By default parts have none.
    pub fn parts_metadata(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.parts_metadata.push((key.into(), value.into()));
        self
    }

    /// Deletes the parts after their concatenation. Off by default: many servers do so themselves, and some need
    /// them.
    pub fn remove_parts(mut self, on: bool) -> Self {
        self.parts.remove = on;
        self
    }

    /// Sends only these bytes of the source, as a partial upload for [`Client::concatenate`].
    pub fn partial(mut self, range: Range<u64>) -> Self {
        self.reporter.total(range.end.saturating_sub(range.start));
        self.partial = Some(range);
        self
    }

    /// Stops at this offset and leaves the upload unfinished there. An upload in [parts](Self::parts) cannot stop.
    pub fn stop_at(mut self, offset: u64) -> Self {
        self.options = self.options.stop_at(Some(offset));
        self
    }

    /// The key of the upload in the URL store. By default it consists of the fingerprint of the source, the URL of
    /// the endpoint, and the metadata. An endpoint with a signed URL needs an explicit key.
    ///
    /// With an explicit key, the content is not compared: only another length is noticed, and begins a new upload. If
    /// the source may change between two calls, the key must change with it, for example by its time of modification.
    /// Otherwise the upload may begin with the old bytes and end with the new ones.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Starts a new upload, even if the URL store has an unfinished one.
    pub fn fresh(mut self, on: bool) -> Self {
        self.fresh = on;
        self
    }

    /// Keeps the entry in the URL store when the upload is complete: a repeated upload then finds it complete. Off by
    /// default.
    pub fn keep_entry(mut self, on: bool) -> Self {
        self.keep_entry = on;
        self
    }

    /// Calls a function with the progress, to the byte: with each response, and up to 50 times a second while bytes are
    /// sent. It should be quick.
    pub fn on_progress(self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.reporter.call(Box::new(callback));
        self
    }

    /// Calls a function with the upload's URL as soon as it is known, and again if it changes. (For an upload in
    /// parts, this happens at the end.)
    pub fn on_url(mut self, callback: impl Fn(&Url) + Send + Sync + 'static) -> Self {
        self.on_url = OnUrl(Some(Box::new(callback)));
        self
    }

    /// Calls a function with each wait before a retry.
    pub fn on_wait(mut self, callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Self {
        self.on_wait = OnWait(Some(Box::new(callback)));
        self
    }

    /// The progress, for reading at any time.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.reporter.watch()
    }

    /// Sends the upload. To stop, drop the future: the server keeps what it has acknowledged, and the upload can be
    /// resumed.
    ///
    /// The [response](Uploaded::response) to the last request has up to 1 MiB of its body, and says if there is more
    /// ([`LastResponse::truncated`](crate::LastResponse::truncated)). Each piece of it may take as long as
    /// [`Builder::timeout`](crate::Builder::timeout); a longer silence does not fail the upload, but truncates the body.
    ///
    /// # Errors
    ///
    /// If it failed permanently: [`Error`] shows who caused it.
    pub async fn send(self) -> Result<Uploaded, Error> {
        let deadline = Deadline::from_now(&self.options);
        if !self.in_parts() {
            let mut uploader = self.begin_before(deadline).await?;
            loop {
                if let Some(uploaded) = uploader.upload_chunk().await? {
                    return Ok(uploaded);
                }
            }
        }
        let (parts, metadata) = (self.parts.clone(), describe(self.parts_metadata.clone(), None)?);
        let job = self.job()?;
        deadline.bound(parts::send(&job, &parts, &metadata)).await
    }

    /// Prepares the upload to be sent request by request.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, if the source cannot be read, or if the URL store is required and cannot be used.
    pub async fn begin(self) -> Result<Uploader, Error> {
        let deadline = Deadline::from_now(&self.options);
        self.begin_before(deadline).await
    }

    async fn begin_before(self, deadline: Deadline) -> Result<Uploader, Error> {
        if self.in_parts() {
            return Err(Error::Invalid("an upload in parts cannot be sent request by request".into()));
        }
        let job = self.job()?;
        deadline.bound(Uploader::new(job, deadline)).await
    }

    fn in_parts(&self) -> bool {
        let several = self.parts.count > 1 || !self.parts.boundaries.is_empty();
        several && self.url.is_none() && self.partial.is_none() && self.source.length() != Some(0)
    }

    /// Validates the settings.
    fn job(self) -> Result<Job, Error> {
        let url = self.url.transpose()?;
        let metadata = describe(self.metadata, self.source.name())?;
        if let Some(range) = &self.partial {
            let length = self.source.length().filter(|_| self.source.is_random_access());
            let length = length.ok_or_else(|| Error::Invalid("only a file or bytes have parts".into()))?;
            if range.start > range.end || range.end > length {
                return Err(Error::Invalid(format!("the bytes {range:?} are not in a source of {length} bytes")));
            }
        }
        Ok(Job {
            client: self.client,
            options: self.options,
            source: self.source.for_one(),
            url,
            metadata,
            partial: self.partial,
            key: self.key,
            fresh: self.fresh,
            keep_entry: self.keep_entry,
            reporter: self.reporter,
            on_url: self.on_url,
            on_wait: self.on_wait,
        })
    }
}
