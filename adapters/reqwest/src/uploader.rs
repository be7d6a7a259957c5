//! An upload, request by request, for programs that need control in between.

use tus_core::{
    Metadata,
    client::{Error, NewUpload, Step, Uploaded, Uploading, create, resume},
};
use url::Url;

use crate::{Progress, Upload, run::Run};

/// An upload that is sent request by request; see [`Upload::begin`].
///
/// A future of [`Uploader::upload_chunk`] may be dropped at any time: the next one resumes at the server's offset, as
/// it does after an error. To abandon the upload, drop this, and [terminate](crate::Client::terminate) the upload at
/// its URL to delete it.
#[derive(Debug)]
pub struct Uploader {
    upload: Upload,
    metadata: Metadata,
    /// The key under which the URL is stored.
    key: Option<String>,
    /// The URL left by an earlier process.
    kept: Option<Url>,
    run: Run,
}

impl Uploader {
    pub(crate) async fn new(upload: Upload, metadata: Metadata) -> Result<Self, Error> {
        if upload.parts > 1 && upload.source.length() != Some(0) {
            return Err(Error::Invalid("an upload in parts cannot be sent request by request".into()));
        }
        // If the caller has the URL, it need not be stored.
        let key = if upload.url.is_some() { None } else { upload.key().await? };
        let kept = upload.kept(key.as_deref())?;
        let run = Run::new(upload.reporter.lane());
        Ok(Self { upload, metadata, key, kept, run })
    }

    /// Sends the next request with bytes, and retries it if it fails. Returns the upload when it is complete (or at the
    /// offset where it is to stop); `None` while there is more to send.
    ///
    /// # Errors
    ///
    /// When it failed permanently.
    pub async fn upload_chunk(&mut self) -> Result<Option<Uploaded>, Error> {
        if self.run.is_idle() {
            let step = self.first_step().await?;
            self.run.begin(step);
        }
        let uploaded = match self.chunk().await {
            // "In both cases the Client SHOULD start a new upload."
            Err(error) if error.is_gone() && self.kept.take().is_some() => {
                self.upload.forget(self.key.as_deref())?;
                self.run = Run::new(self.upload.reporter.lane());
                let step = self.first_step().await?;
                self.run.begin(step);
                self.chunk().await?
            }
            result => result?,
        };
        // A complete upload need not be found again.
        if uploaded.as_ref().is_some_and(|uploaded| uploaded.offset == uploaded.length) {
            self.upload.forget(self.key.as_deref())?;
        }
        Ok(uploaded)
    }

    /// The upload's URL, as soon as it is known.
    pub fn url(&self) -> Option<&Url> {
        self.run.url().or(self.upload.url.as_ref()).or(self.kept.as_ref())
    }

    /// The progress.
    pub fn progress(&self) -> Progress {
        self.upload.progress().borrow().clone()
    }

    async fn first_step(&self) -> Result<Step<Uploading>, Error> {
        let (options, capabilities) = self.upload.terms().await?;
        let length = self.upload.source.length();
        if let Some(url) = self.url() {
            return resume(url.clone(), length, options, capabilities);
        }
        let upload = NewUpload::new(length).metadata(self.metadata.clone());
        create(self.upload.client.inner.endpoint.clone(), upload, options, capabilities)
    }

    async fn chunk(&mut self) -> Result<Option<Uploaded>, Error> {
        let (upload, key) = (&self.upload, self.key.as_deref());
        let known = |url: &Url| {
            upload.keep(key, url)?;
            upload.report_url(url);
            Ok(())
        };
        self.run.chunk(upload, known).await
    }
}
