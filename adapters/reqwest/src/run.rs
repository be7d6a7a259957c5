//! What the machine of an upload asks for is done: the loop that all uploads share.

use std::pin::pin;

use bytes::Bytes;
use http::Response;
use tokio::sync::watch;
use tus_core::client::{Error, Step, Transmit, Uploaded, Uploading};
use url::Url;

use crate::{
    Upload,
    exchange::{Outgoing, moment},
    progress::Lane,
};

/// An upload, or a part of one, on its way.
#[derive(Debug)]
pub(crate) struct Run {
    lane: Lane,
    /// `None` where the last request was given up in the middle, or has failed.
    step: Option<Step<Uploading>>,
    url: Option<Url>,
    begun: bool,
}

impl Run {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, step: None, url: None, begun: false }
    }

    /// Where the upload is, as soon as that is known.
    pub(crate) fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// Whether it needs a step to begin with.
    pub(crate) fn is_idle(&self) -> bool {
        self.step.is_none()
    }

    pub(crate) fn begin(&mut self, step: Step<Uploading>) {
        self.step = Some(step);
    }

    /// Sends requests until all is there.
    pub(crate) async fn finish(
        &mut self,
        upload: &Upload,
        known: impl Fn(&Url) -> Result<(), Error>,
    ) -> Result<Uploaded, Error> {
        loop {
            if let Some(uploaded) = self.chunk(upload, &known).await? {
                return Ok(uploaded);
            }
        }
    }

    /// Goes on until one request with bytes has done well, or all is there. `known` is told the URL before a byte is
    /// sent to it.
    pub(crate) async fn chunk(
        &mut self,
        upload: &Upload,
        known: impl Fn(&Url) -> Result<(), Error>,
    ) -> Result<Option<Uploaded>, Error> {
        let idle = || Error::Invalid("the upload was not begun".into());
        let mut step = self.step.take().ok_or_else(idle)?;
        loop {
            step = match step {
                Step::Read(read) => {
                    let (bytes, checksum) = upload.source.look(read.range(), read.algorithm()).await?;
                    read.done(bytes, checksum)
                }
                Step::Transmit(transmit) => {
                    let sends = transmit.body().is_some();
                    self.note(&transmit, &known)?;
                    let result = self.transmit(upload, &transmit).await;
                    let success = result.as_ref().is_ok_and(|response| response.status().is_success());
                    self.lane.update(|progress| match success {
                        true => progress.completed += u64::from(sends),
                        false => progress.failed += 1,
                    });
                    let next = transmit.done(result, moment());
                    if sends && success && !matches!(next, Step::Finished(_)) {
                        self.step = Some(next);
                        return Ok(None);
                    }
                    next
                }
                Step::Wait(wait) => {
                    tracing::debug!(reason = %wait.reason(), wait = ?wait.duration(), "tried again");
                    self.lane.update(|progress| progress.retried += 1);
                    tokio::time::sleep(wait.duration()).await;
                    wait.done()
                }
                Step::Finished(result) => return self.finished(result?).map(Some),
            }
        }
    }

    fn note(&mut self, transmit: &Transmit<Uploading>, known: impl Fn(&Url) -> Result<(), Error>) -> Result<(), Error> {
        let task = transmit.task();
        if task.url() != self.url.as_ref() {
            self.url = task.url().cloned();
            self.url.as_ref().map(known).transpose()?;
        }
        if transmit.body().is_some() && !std::mem::replace(&mut self.begun, true) {
            self.lane.resumed(task.acknowledged());
        }
        Ok(())
    }

    fn finished(&mut self, uploaded: Uploaded) -> Result<Uploaded, Error> {
        self.lane.update(|progress| progress.total = progress.total.or(uploaded.length));
        match uploaded.offset {
            Some(offset) if self.begun => self.lane.reached(offset),
            Some(offset) => self.lane.resumed(offset),
            None => {}
        }
        self.url = Some(uploaded.url.clone());
        Ok(uploaded)
    }

    /// Performs a request, and tells of its bytes as they leave.
    async fn transmit(&self, upload: &Upload, transmit: &Transmit<Uploading>) -> Result<Response<Bytes>, Error> {
        let (inner, request, home) = (&upload.client.inner, transmit.request(), transmit.is_home());
        let Some(range) = transmit.body() else {
            return inner.exchange(request, home, None).await;
        };
        let sender = watch::Sender::new(0);
        let mut sent = sender.subscribe();
        let outgoing = Outgoing { pieces: upload.source.pieces(range), sent: sender };
        let mut exchange = pin!(inner.exchange(request, home, Some(outgoing)));
        let before = transmit.task().acknowledged();
        loop {
            tokio::select! {
                result = &mut exchange => return result,
                Ok(()) = sent.changed() => self.lane.reached(before + *sent.borrow_and_update()),
            }
        }
    }
}
