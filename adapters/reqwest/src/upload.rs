//! One upload, from its beginning to its end.

use std::{fmt, pin::pin};

use bytes::Bytes;
use http::Response;
use tokio::sync::watch;
use tus_core::{
    Metadata,
    client::{Error, NewUpload, Step, Transmit, Uploaded, Uploading, create, resume},
};
use url::Url;

use crate::{
    Client, Progress, Source,
    exchange::{Outgoing, moment},
    progress::{Lane, Reporter},
};

/// An upload that is to be sent.
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Upload {
    pub(crate) client: Client,
    pub(crate) source: Source,
    url: Option<Url>,
    metadata: Vec<(String, Bytes)>,
    pub(crate) parts: u32,
    pub(crate) stop_at: Option<u64>,
    pub(crate) reporter: Reporter,
    on_url: Option<OnUrl>,
}

struct OnUrl(Box<dyn Fn(&Url) + Send + Sync>);

impl Upload {
    pub(crate) fn new(client: Client, source: Source, url: Option<Url>) -> Self {
        let reporter = Reporter::new(source.length());
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
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
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
        let metadata = self.describe()?;
        let capabilities = self.client.known_capabilities().await?;
        let options = self.client.inner.options.clone().stop_at(self.stop_at);
        let length = self.source.length();
        if let Some(url) = self.url.take() {
            let step = resume(url, length, options, capabilities)?;
            return self.run(step, &self.reporter.lane(), |url| self.known(None, url)).await;
        }
        if self.parts > 1 && length != Some(0) {
            return crate::parts::send(&self, metadata, options, capabilities).await;
        }
        let key = self.key().await?;
        let lane = self.reporter.lane();
        if let Some(url) = self.kept(key.as_deref())? {
            let step = resume(url, length, options.clone(), capabilities)?;
            match self.run(step, &lane, |url| self.known(key.as_deref(), url)).await {
                // "In both cases the Client SHOULD start a new upload."
                Err(error) if error.is_gone() => self.forget(key.as_deref())?,
                result => return self.ended(key.as_deref(), result?),
            }
        }
        let upload = NewUpload::new(length).metadata(metadata);
        let step = create(self.client.inner.endpoint.clone(), upload, options, capabilities)?;
        let uploaded = self.run(step, &lane, |url| self.known(key.as_deref(), url)).await?;
        self.ended(key.as_deref(), uploaded)
    }

    /// Its URL is known from now on.
    fn known(&self, key: Option<&str>, url: &Url) -> Result<(), Error> {
        self.keep(key, url)?;
        self.tell(url);
        Ok(())
    }

    pub(crate) fn tell(&self, url: &Url) {
        self.on_url.iter().for_each(|OnUrl(tell)| tell(url));
    }

    /// What is whole need not be found again.
    fn ended(&self, key: Option<&str>, uploaded: Uploaded) -> Result<Uploaded, Error> {
        if uploaded.offset == uploaded.length {
            self.forget(key)?;
        }
        Ok(uploaded)
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

    /// Does what the machine asks for. `known` is told the upload's URL before a byte is sent to it.
    pub(crate) async fn run(
        &self,
        mut step: Step<Uploading>,
        lane: &Lane<'_>,
        known: impl Fn(&Url) -> Result<(), Error>,
    ) -> Result<Uploaded, Error> {
        let mut url = None;
        let mut begun = false;
        loop {
            step = match step {
                Step::Read(read) => {
                    let (bytes, checksum) = self.source.look(read.range(), read.algorithm()).await?;
                    read.done(bytes, checksum)
                }
                Step::Transmit(transmit) => {
                    let task = transmit.task();
                    if task.url() != url.as_ref() {
                        url = task.url().cloned();
                        url.as_ref().map(&known).transpose()?;
                    }
                    if transmit.body().is_some() && !std::mem::replace(&mut begun, true) {
                        lane.resumed(task.acknowledged());
                    }
                    let result = self.transmit(&transmit, lane).await;
                    let success = result.as_ref().is_ok_and(|response| response.status().is_success());
                    lane.update(|progress| match success {
                        true => progress.completed += u64::from(transmit.body().is_some()),
                        false => progress.failed += 1,
                    });
                    transmit.done(result, moment())
                }
                Step::Wait(wait) => {
                    tracing::debug!(reason = %wait.reason(), wait = ?wait.duration(), "tried again");
                    lane.update(|progress| progress.retried += 1);
                    tokio::time::sleep(wait.duration()).await;
                    wait.done()
                }
                Step::Finished(result) => {
                    let uploaded = result?;
                    lane.update(|progress| progress.total = progress.total.or(uploaded.length));
                    if let Some(offset) = uploaded.offset {
                        if begun { lane.reached(offset) } else { lane.resumed(offset) }
                    }
                    return Ok(uploaded);
                }
            }
        }
    }

    /// Performs a request, and tells of its bytes as they leave.
    async fn transmit(&self, transmit: &Transmit<Uploading>, lane: &Lane<'_>) -> Result<Response<Bytes>, Error> {
        let (inner, request, home) = (&self.client.inner, transmit.request(), transmit.is_home());
        let Some(range) = transmit.body() else {
            return inner.exchange(request, home, None).await;
        };
        let sender = watch::Sender::new(0);
        let mut sent = sender.subscribe();
        let outgoing = Outgoing { pieces: self.source.pieces(range), sent: sender };
        let mut exchange = pin!(inner.exchange(request, home, Some(outgoing)));
        let before = transmit.task().acknowledged();
        loop {
            tokio::select! {
                result = &mut exchange => return result,
                Ok(()) = sent.changed() => lane.reached(before + *sent.borrow_and_update()),
            }
        }
    }
}

impl fmt::Debug for OnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}
