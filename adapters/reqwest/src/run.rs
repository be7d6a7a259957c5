//! The loop that performs the machine's steps for every upload.

use std::{ops::Range, pin::pin};

use bytes::Bytes;
use http::Response;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tus_core::{
    Algorithm,
    client::{Error, Step, Transmit, Uploaded, Uploading},
};
use url::Url;

use crate::{
    Upload,
    exchange::{Outgoing, moment},
    progress::Lane,
    source::{Looked, Pieces},
};

/// An upload in progress, or a part of one.
#[derive(Debug)]
pub(crate) struct Run {
    lane: Lane,
    /// `None` if the last request was abandoned or has failed.
    step: Option<Step<Uploading>>,
    url: Option<Url>,
    begun: bool,
    /// The bytes read last, if they are few.
    kept: Option<(Range<u64>, Vec<Bytes>)>,
    /// What will probably be digested next, and its digest in progress.
    next: Option<(Range<u64>, Algorithm)>,
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Ahead {
    range: Range<u64>,
    algorithm: Algorithm,
    looking: AbortOnDropHandle<Result<Looked, Error>>,
}

impl Run {
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, step: None, url: None, begun: false, kept: None, next: None, ahead: None }
    }

    /// The upload's URL, as soon as it is known.
    pub(crate) fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// Whether it needs a first step.
    pub(crate) fn is_idle(&self) -> bool {
        self.step.is_none()
    }

    pub(crate) fn begin(&mut self, step: Step<Uploading>) {
        self.step = Some(step);
    }

    /// Sends requests until the upload is complete.
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

    /// Continues until one request with bytes has succeeded, or the upload is complete. `known` is called with the URL
    /// before any byte is sent to it.
    pub(crate) async fn chunk(
        &mut self,
        upload: &Upload,
        known: impl Fn(&Url) -> Result<(), Error>,
    ) -> Result<Option<Uploaded>, Error> {
        let idle = || Error::Invalid("the upload was not started".into());
        let mut step = self.step.take().ok_or_else(idle)?;
        loop {
            step = match step {
                Step::Read(read) => {
                    let looked = self.look(upload, read.range(), read.algorithm()).await?;
                    self.kept = looked.kept;
                    read.done(looked.bytes, looked.checksum)
                }
                Step::Transmit(transmit) => {
                    let sends = transmit.body().is_some();
                    self.note(&transmit, &known)?;
                    self.look_ahead(upload);
                    let result = self.transmit(upload, &transmit).await;
                    let success = result.as_ref().is_ok_and(|response| response.status().is_success());
                    let next = transmit.done(result, moment());
                    // Reports what the server has before the first byte is sent.
                    if let Some(task) = next.task().filter(|_| self.begun) {
                        self.lane.acknowledged(task.acknowledged());
                    }
                    self.lane.update(|progress| match success {
                        true => progress.completed += u64::from(sends),
                        false => progress.failed += 1,
                    });
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

    /// Reads bytes of the source, unless that was done while the previous ones were sent.
    async fn look(
        &mut self,
        upload: &Upload,
        range: Range<u64>,
        algorithm: Option<Algorithm>,
    ) -> Result<Looked, Error> {
        let looked = match self.ahead.take() {
            Some(ahead) if (&ahead.range, Some(ahead.algorithm)) == (&range, algorithm) => ahead.looking.await,
            _ => Ok(upload.source.look(range.clone(), algorithm).await),
        };
        self.next = algorithm.map(|algorithm| (range.end..range.end + (range.end - range.start), algorithm));
        looked.unwrap_or_else(|error| Err(Error::Source(format!("could not be read: {error}"))))
    }

    /// Digests the next request's bytes while those of this one are sent.
    fn look_ahead(&mut self, upload: &Upload) {
        let Some((range, algorithm)) = self.next.take().filter(|_| upload.source.is_file()) else {
            return;
        };
        let range = range.start..range.end.min(upload.source.length().unwrap_or(range.end));
        if !range.is_empty() {
            let (source, wanted) = (upload.source.clone(), range.clone());
            let looking = tokio::spawn(async move { source.look(wanted, Some(algorithm)).await });
            self.ahead = Some(Ahead { range, algorithm, looking: AbortOnDropHandle::new(looking) });
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
            Some(offset) if self.begun => self.lane.acknowledged(offset),
            Some(offset) => self.lane.resumed(offset),
            None => {}
        }
        self.url = Some(uploaded.url.clone());
        Ok(uploaded)
    }

    /// Performs a request and reports its bytes as they are sent.
    async fn transmit(&self, upload: &Upload, transmit: &Transmit<Uploading>) -> Result<Response<Bytes>, Error> {
        let (inner, request, home) = (&upload.client.inner, transmit.request(), transmit.is_home());
        let Some(range) = transmit.body() else {
            return inner.exchange(request, home, None).await;
        };
        let sender = watch::Sender::new(0);
        let mut sent = sender.subscribe();
        let pieces = match &self.kept {
            Some((kept, pieces)) if *kept == range => Pieces::kept(pieces.clone()),
            _ => upload.source.pieces(range),
        };
        let outgoing = Outgoing { pieces, sent: sender };
        let mut exchange = pin!(inner.exchange(request, home, Some(outgoing)));
        let before = transmit.task().acknowledged();
        loop {
            tokio::select! {
                result = &mut exchange => return result,
                Ok(()) = sent.changed() => self.lane.sent(before + *sent.borrow_and_update()),
            }
        }
    }
}
