//! The loop that performs the machine's steps for every upload.

use std::{ops::Range, pin::pin, time::Duration};

use bytes::Bytes;
use http::Response;
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;
use tus_core::{
    Algorithm,
    client::{Error, Protocol, Step, Transmit, Uploaded, Uploading},
};
use url::Url;

use crate::{
    exchange::{Outgoing, moment},
    job::{Job, Known},
    pieces::Pieces,
    progress::Lane,
    source::Looked,
};

/// An upload in progress, or a part of one.
#[derive(Debug)]
pub(crate) struct Run {
    lane: Lane,
    /// The key under which the URL is stored.
    key: Option<String>,
    /// It is a part of an upload: its URL is not for the caller.
    is_part: bool,
    /// `None` if the last request was abandoned or has failed.
    step: Option<Step<Uploading>>,
    known: Option<Known>,
    restarts: u8,
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

/// The time between two reports of bytes sent.
const BETWEEN_REPORTS: Duration = Duration::from_millis(20);

impl Run {
    pub(crate) fn new(lane: Lane, key: Option<String>) -> Self {
        let (step, known, kept, next, ahead) = (None, None, None, None, None);
        Self { lane, key, is_part: false, step, known, restarts: 0, begun: false, kept, next, ahead }
    }

    /// It is a part of an upload.
    pub(crate) fn part(mut self) -> Self {
        self.is_part = true;
        self
    }

    /// The upload, as soon as its URL is known.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Whether it needs a first step.
    pub(crate) fn is_idle(&self) -> bool {
        self.step.is_none()
    }

    pub(crate) fn begin(&mut self, step: Step<Uploading>) {
        // Each task counts its own restarts.
        self.restarts = 0;
        self.step = Some(step);
    }

    /// Sends requests until the upload is complete.
    pub(crate) async fn finish(&mut self, job: &Job) -> Result<Uploaded, Error> {
        loop {
            if let Some(uploaded) = self.chunk(job).await? {
                return Ok(uploaded);
            }
        }
    }

    /// Continues until one request with bytes has succeeded, or the upload is complete. The URL is stored before any byte
    /// is sent to it.
    pub(crate) async fn chunk(&mut self, job: &Job) -> Result<Option<Uploaded>, Error> {
        let idle = || Error::Invalid("the upload was not started".into());
        let mut step = self.step.take().ok_or_else(idle)?;
        let protocol = step.task().map_or(Protocol::Tus, Uploading::protocol);
        loop {
            step = match step {
                Step::Read(read) => {
                    let looked = self.look(job, read.range(), read.algorithm()).await?;
                    self.kept = looked.kept;
                    read.done(looked.bytes, looked.checksum)
                }
                Step::Transmit(transmit) => {
                    let sends = transmit.body().is_some();
                    self.note(job, &transmit).await;
                    self.look_ahead(job);
                    self.lane.start();
                    let result = self.transmit(job, &transmit).await;
                    let moment = moment(&result);
                    let success = result.as_ref().is_ok_and(|response| response.status().is_success());
                    let next = transmit.done(result, moment);
                    // Reports what the server has before the first byte is sent.
                    if let Some(task) = next.task().filter(|_| self.begun) {
                        self.lane.acknowledged(task.acknowledged());
                    }
                    match success {
                        true if sends => self.lane.update(|progress| progress.completed += 1),
                        true => {}
                        false => self.lane.update(|progress| progress.failed += 1),
                    }
                    if sends && success && !matches!(next, Step::Finished(_)) {
                        self.step = Some(next);
                        return Ok(None);
                    }
                    next
                }
                Step::Wait(wait) => {
                    job.on_wait.report(&wait);
                    self.lane.update(|progress| progress.retried += 1);
                    sleep(wait.duration()).await;
                    wait.done()
                }
                Step::Finished(result) => {
                    // The server has all of it and rejects it, or no longer has it, and no other one was begun.
                    if let (Err(error), Some(known)) = (&result, &self.known)
                        && (error.is_final() || error.is_gone())
                    {
                        job.forget(self.key.as_deref(), &known.url).await;
                    }
                    let uploaded = result?;
                    self.finished(job, &uploaded, protocol).await;
                    return Ok(Some(uploaded));
                }
            }
        }
    }

    /// Reads bytes of the source, unless that happened while the previous ones were sent.
    async fn look(&mut self, job: &Job, range: Range<u64>, algorithm: Option<Algorithm>) -> Result<Looked, Error> {
        let looked = match self.ahead.take() {
            Some(ahead) if (&ahead.range, Some(ahead.algorithm)) == (&range, algorithm) => ahead.looking.await,
            _ => Ok(job.source.look(range.clone(), algorithm).await),
        };
        self.next = algorithm.map(|algorithm| (range.end..range.end + (range.end - range.start), algorithm));
        looked.unwrap_or_else(|error| Err(Error::local(error)))
    }

    /// Computes the digest of the next request's bytes while those of this one are sent.
    fn look_ahead(&mut self, job: &Job) {
        let Some((range, algorithm)) = self.next.take().filter(|_| job.source.is_random_access()) else {
            return;
        };
        let range = range.start..range.end.min(job.source.length().unwrap_or(range.end));
        if !range.is_empty() {
            let (source, wanted) = (job.source.clone(), range.clone());
            let looking = tokio::spawn(async move { source.look(wanted, Some(algorithm)).await });
            self.ahead = Some(Ahead { range, algorithm, looking: AbortOnDropHandle::new(looking) });
        }
    }

    async fn note(&mut self, job: &Job, transmit: &Transmit<Uploading>) {
        let task = transmit.task();
        if self.restarts != task.restarts() {
            // The old URL stays in the store until the new one replaces it.
            self.restarts = task.restarts();
            self.lane.restart();
            self.begun = false;
        }
        self.found(job, task.url(), task.protocol()).await;
        if transmit.body().is_some() && !std::mem::replace(&mut self.begun, true) {
            self.lane.resumed(task.acknowledged());
        }
    }

    /// Stores and reports the URL, if it is new.
    async fn found(&mut self, job: &Job, url: Option<&Url>, protocol: Protocol) {
        if url == self.known.as_ref().map(|known| &known.url) {
            return;
        }
        self.known = url.map(|url| Known { url: url.clone(), protocol });
        if let Some(known) = &self.known {
            job.store(self.key.as_deref(), known).await;
            if !self.is_part {
                job.report_url(&known.url);
            }
        }
    }

    async fn finished(&mut self, job: &Job, uploaded: &Uploaded, protocol: Protocol) {
        self.lane.update(|progress| progress.total = progress.total.or(uploaded.length));
        match uploaded.offset {
            Some(offset) if self.begun => self.lane.acknowledged(offset),
            Some(offset) => self.lane.resumed(offset),
            None => {}
        }
        self.found(job, Some(&uploaded.url), protocol).await;
    }

    /// Performs a request and reports its bytes as they are sent.
    async fn transmit(&self, job: &Job, transmit: &Transmit<Uploading>) -> Result<Response<Bytes>, Error> {
        let exchanges = &job.client.inner.exchanges;
        let Some(range) = transmit.body() else {
            return exchanges.exchange(transmit, None).await;
        };
        let sender = watch::Sender::new(0);
        let mut sent = sender.subscribe();
        let pieces = match &self.kept {
            Some((kept, pieces)) if *kept == range => Pieces::kept(pieces.clone()),
            _ => job.source.read(range),
        };
        let outgoing = Outgoing { pieces, sent: sender };
        let mut exchange = pin!(exchanges.exchange(transmit, Some(outgoing)));
        let before = transmit.task().acknowledged();
        let result = loop {
            tokio::select! {
                result = &mut exchange => break result,
                Ok(()) = sent.changed() => self.lane.sent(before + *sent.borrow_and_update()),
            }
            // Nobody can see more reports, and each costs more than the piece.
            tokio::select! {
                result = &mut exchange => break result,
                () = sleep(BETWEEN_REPORTS) => {}
            }
        };
        self.lane.sent(before + *sent.borrow());
        result
    }
}
