//! An upload, request by request, for programs that need control in between.

use tus_core::client::{Error, Uploaded};
use url::Url;

use crate::{
    Progress,
    deadline::Deadline,
    job::{Job, Known},
    keys::Key,
    run::Run,
};

/// An upload that is sent request by request; see [`Upload::begin`](crate::Upload::begin).
///
/// Futures of [`Uploader::upload_chunk`] may be dropped at any time: the next one resumes at the server's offset, as
/// after an error. To abandon the upload, drop this value; [`Uploader::abort`] also deletes the upload.
///
/// ```no_run
/// use tus_reqwest::{Client, Source};
///
/// # async fn run() -> Result<(), tus_reqwest::Error> {
/// let client = Client::new("https://example.org/files")?;
/// let mut uploader = client.upload(Source::path("film.mp4").await?).begin().await?;
/// let uploaded = loop {
///     match uploader.upload_chunk().await? {
///         Some(uploaded) => break uploaded,
///         None => println!("{}", uploader.progress()),
///     }
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Uploader {
    job: Job,
    deadline: Deadline,
    /// The key under which the URL is stored.
    key: Option<Key>,
    /// The upload that an earlier process left.
    stored: Option<Known>,
    run: Run,
}

impl Uploader {
    pub(crate) async fn new(job: Job, deadline: Deadline) -> Result<Self, Error> {
        let key = job.claim().await?;
        let stored = job.stored(key.as_ref().map(Key::as_str)).await?;
        let run = Run::new(job.reporter.lane(), key.as_ref().map(|key| key.as_str().to_owned()));
        Ok(Self { job, deadline, key, stored, run })
    }

    /// Sends the next request with bytes, and retries it if it fails. Returns the upload when it is complete (or at
    /// the offset where it should stop); `None` while there is more to send.
    ///
    /// # Errors
    ///
    /// If it failed permanently.
    pub async fn upload_chunk(&mut self) -> Result<Option<Uploaded>, Error> {
        self.deadline.bound(self.chunk()).await
    }

    async fn chunk(&mut self) -> Result<Option<Uploaded>, Error> {
        if self.run.is_idle() {
            let known = self.run.known().or(self.stored.as_ref());
            self.run.begin(self.job.first_step(self.job.upload(), known).await?);
        }
        let uploaded = self.run.chunk(&self.job).await?;
        // A complete upload need not be found again.
        if let Some(uploaded) = uploaded.as_ref().filter(|uploaded| uploaded.complete)
            && !self.job.keep_entry
        {
            match (&self.key, &self.job.client.inner.kept) {
                (Some(key), _) => self.job.forget(Some(key.as_str()), &uploaded.url).await,
                (None, Some(kept)) if self.job.url.is_some() => kept.remove_url(uploaded.url.to_string()).await,
                (None, _) => {}
            }
        }
        Ok(uploaded)
    }

    /// Deletes the upload from the server and from the URL store. Does nothing if nothing was created yet.
    ///
    /// # Errors
    ///
    /// If the server rejects this or cannot be reached.
    pub async fn abort(self) -> Result<(), Error> {
        let options = self.job.options.clone();
        match (self.run.known().or(self.stored.as_ref()), &self.job.url) {
            (Some(Known { url, protocol }), _) => {
                self.job.client.terminate_in(options.protocol(*protocol), url.clone()).await
            }
            (None, Some(url)) => self.job.client.terminate(url.clone()).await,
            (None, None) => Ok(()),
        }
    }

    /// The upload's URL, as soon as it is known.
    pub fn url(&self) -> Option<&Url> {
        let known = self.run.known().map(|known| &known.url);
        known.or(self.job.url.as_ref()).or(self.stored.as_ref().map(|known| &known.url))
    }

    /// The progress.
    pub fn progress(&self) -> Progress {
        self.job.reporter.watch().borrow().clone()
    }
}
