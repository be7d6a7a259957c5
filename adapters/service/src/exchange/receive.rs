//! Receives a body: writes bytes to the storage as they arrive, with checkpoints, until the body ends or a newer
//! request takes over.

use std::{
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{self, BoxFuture},
};
use http::request::Parts;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tus_core::{
    Change, Stored, Upload, Version,
    server::{End, Ended, Interruption, Receive, Step},
};

use crate::{
    engine::{Engine, failure},
    interim::InterimSender,
    observe::{self, InFlight},
    request::{Batch, BodyReceiver},
    storage::{Checkpoint, Chunks, Hint, StorageError, Writer},
};

/// How long a body that is cut short may still deliver bytes, in total and between two pieces.
const CUT_TOTAL: Duration = Duration::from_millis(50);
const CUT_STALLED: Duration = Duration::from_millis(10);

/// Batches of at least this many bytes are digested on a blocking thread, because this costs less than blocking the
/// runtime.
const DIGEST_APART: usize = 64 * 1024;

/// An upload that receives bytes.
pub(super) struct Appending<'a> {
    engine: &'a Arc<Engine>,
    head: &'a Arc<Parts>,
    interim: Option<InterimSender>,
    /// The offset that the client knows to be durable.
    informed: u64,
    stored: Stored,
    /// Opened by the first write.
    writer: Option<Box<dyn Writer>>,
    /// Resolves when another process wants the upload.
    wanted: BoxFuture<'static, ()>,
    /// The progress hook, while it runs.
    progress: Option<JoinHandle<()>>,
    _counted: InFlight,
}

/// Bytes that no checkpoint includes.
struct Unsaved {
    /// When the next checkpoint is due.
    due: Instant,
    /// Whether bytes arrived since the last checkpoint.
    hint: Hint,
}

/// A period in which a body must deliver a minimum number of bytes. The time that the storage takes does not count.
struct Window {
    began: Instant,
    received: u64,
    /// The minimum number of bytes.
    least: u64,
}

impl Window {
    const LENGTH: Duration = Duration::from_secs(60);

    /// `rate` is in bytes a second.
    fn new(rate: u64) -> Self {
        Self { began: Instant::now(), received: 0, least: rate.saturating_mul(Self::LENGTH.as_secs()) }
    }

    fn ends(&self) -> Instant {
        self.began + Self::LENGTH
    }

    /// Whether enough bytes arrived.
    fn is_passed(&self) -> bool {
        self.received >= self.least
    }
}

impl<'a> Appending<'a> {
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        head: &'a Arc<Parts>,
        interim: Option<InterimSender>,
        stored: Stored,
    ) -> Self {
        let informed = stored.upload.offset;
        Self {
            engine,
            head,
            interim,
            informed,
            stored,
            writer: None,
            wanted: future::pending().boxed(),
            progress: None,
            _counted: observe::upload(),
        }
    }

    /// Receives the body; `leave` fires when a newer request in this process wants the upload.
    pub(super) async fn receive(
        mut self,
        mut receive: Receive,
        body: &mut BodyReceiver,
        leave: CancellationToken,
    ) -> (Ended, Self) {
        let (engine, stopping) = (self.engine, self.engine.stopping.clone());
        body.open();
        let mut silent_since = Instant::now();
        let mut window = Window::new(engine.body_rate);
        let mut unsaved: Option<Unsaved> = None;
        let end = loop {
            if let Some(Unsaved { due, hint }) = unsaved
                && due <= Instant::now()
            {
                unsaved = match self.checkpoint(&mut receive, hint).await {
                    Ok(Checkpoint::Taken) => None,
                    Ok(Checkpoint::Declined) => Some(self.unsaved(Hint::Stalled)),
                    Err(why) => break End::Interrupted(why),
                };
                continue;
            }
            let patience_ends = (silent_since + engine.body_timeout).min(window.ends());
            // Arrived bytes are polled before the timer, which costs more.
            let next = tokio::select! {
                biased;
                () = leave.cancelled() => return self.cut(receive, body, Interruption::Superseded).await,
                () = &mut self.wanted => return self.cut(receive, body, Interruption::Superseded).await,
                () = stopping.cancelled() => return self.cut(receive, body, Interruption::ShuttingDown).await,
                next = body.next() => next,
                () = sleep_until(unsaved.as_ref().map_or(patience_ends, |unsaved| unsaved.due.min(patience_ends))) => {
                    match Instant::now() >= patience_ends {
                        // The others use all memory; its client is not at fault.
                        true if body.waits_for_memory() => {
                            silent_since = Instant::now();
                            window = Window::new(engine.body_rate);
                        }
                        true if silent_since + engine.body_timeout > patience_ends && window.is_passed() => {
                            window = Window::new(engine.body_rate);
                        }
                        true => break End::Interrupted(Interruption::TimedOut),
                        false => {}
                    }
                    continue;
                }
            };
            let batch = match next {
                Ok(batch) => batch,
                Err(end) => break end,
            };
            unsaved.get_or_insert_with(|| self.unsaved(Hint::Streaming)).hint = Hint::Streaming;
            let began = Instant::now();
            window.received += batch.chunks.bytes() as u64;
            let written = Box::pin(self.write(receive, batch)).await;
            silent_since = Instant::now();
            window.began += began.elapsed();
            match written {
                Ok((next, None)) => receive = next,
                Ok((next, Some(end))) => return (next.end(end, SystemTime::now()), self),
                Err(step) => return (Ended::Step(step), self),
            }
        };
        (receive.end(end, SystemTime::now()), self)
    }

    /// Makes the bytes and the change durable.
    pub(super) async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        self.writer().await?.commit(change).await
    }

    /// Ends it: drops the writer, and waits for the progress hook, so that the next hook neither overtakes it nor
    /// waits for it. Returns the last version that was made.
    pub(super) async fn end(self) -> Option<Version> {
        let made = self.writer.map(|writer| writer.version());
        if let Some(progress) = self.progress {
            progress.abort();
            let _ = progress.await;
        }
        made
    }

    fn unsaved(&self, hint: Hint) -> Unsaved {
        Unsaved { due: Instant::now() + self.engine.checkpoint_interval, hint }
    }

    /// Ends a body early, but keeps all bytes that have already arrived: bytes of a dead connection in the kernel's
    /// buffers have reached the server, too.
    async fn cut(mut self, mut receive: Receive, body: &mut BodyReceiver, why: Interruption) -> (Ended, Self) {
        let last = Instant::now() + CUT_TOTAL;
        let end = loop {
            let now = Instant::now();
            // A client that never pauses must yield as well.
            if now >= last {
                break End::Interrupted(why);
            }
            let stalled = last.min(now + CUT_STALLED);
            match timeout_at(stalled, body.next()).await {
                Err(_) => break End::Interrupted(why),
                Ok(Err(end)) => break end,
                Ok(Ok(batch)) => match Box::pin(self.write(receive, batch)).await {
                    Ok((next, None)) => receive = next,
                    Ok((next, Some(end))) => return (next.end(end, SystemTime::now()), self),
                    Err(step) => return (Ended::Step(step), self),
                },
            }
        };
        (receive.end(end, SystemTime::now()), self)
    }

    /// Stores a batch. A storage failure ends the body.
    async fn write(&mut self, receive: Receive, batch: Batch) -> Result<(Receive, Option<End>), Box<Step>> {
        let bytes = batch.chunks.bytes();
        let chunks = batch.chunks.clone();
        let (received, written) = if receive.is_verified() && bytes >= DIGEST_APART {
            tokio::join!(digested_apart(receive, chunks.clone()), self.store(chunks))
        } else {
            let received = digested(receive, &chunks)?;
            (Ok(received), self.store(chunks).await)
        };
        if written.is_ok() {
            observe::received(bytes as u64);
        }
        let end = written.err().map(|error| End::Interrupted(self.failed(&error)));
        Ok((received?, end))
    }

    async fn store(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        self.writer().await?.write(chunks).await
    }

    /// Calls the storage even if nothing more may be committed, so that it can release memory.
    async fn checkpoint(&mut self, receive: &mut Receive, hint: Hint) -> Result<Checkpoint, Interruption> {
        self.report_progress(receive.progress());
        let change = receive.checkpoint(SystemTime::now());
        let saved = match self.writer().await {
            Ok(writer) => writer.checkpoint(&change, hint).await,
            Err(error) => Err(error),
        };
        match saved {
            Ok(Checkpoint::Taken) if self.inform(receive, change.offset) => Ok(Checkpoint::Declined),
            saved => saved.map_err(|error| self.failed(&error)),
        }
    }

    /// Reports to the client how far its upload is durable. Returns whether there will be more to report about what
    /// is being committed up to `offset`.
    fn inform(&mut self, receive: &Receive, offset: u64) -> bool {
        let committed = self.writer.as_ref().and_then(|writer| writer.committed());
        let (Some(interim), Some(committed)) = (&self.interim, committed) else {
            return false;
        };
        let Some(response) = receive.interim(committed) else {
            return false;
        };
        if committed > self.informed {
            interim.offer(&response);
            self.informed = committed;
        }
        committed < offset
    }

    /// Runs the progress hook concurrently: the stream does not wait for the application.
    fn report_progress(&mut self, upload: Upload) {
        if self.engine.hooks.wants_progress() && self.progress.as_ref().is_none_or(JoinHandle::is_finished) {
            let (engine, head) = (self.engine.clone(), self.head.clone());
            self.progress = Some(tokio::spawn(async move { engine.hooks.progress(upload, head).await }));
        }
    }

    fn failed(&self, error: &StorageError) -> Interruption {
        let stored = self.writer.as_ref().map_or(0, |writer| writer.stored());
        Interruption::Failed { failure: failure(&self.stored.upload.id, error), stored }
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn Writer>, StorageError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let writer = self.engine.storage.open(&self.stored).await?;
                self.wanted = writer.asked_to_leave();
                Ok(none.insert(writer))
            }
        }
    }
}

/// Passes the chunks to the machine one by one.
fn digested(receive: Receive, chunks: &[Bytes]) -> Result<Receive, Box<Step>> {
    chunks.iter().try_fold(receive, |receive, chunk| receive.data(chunk))
}

/// The same on a blocking thread.
async fn digested_apart(receive: Receive, chunks: Chunks) -> Result<Receive, Box<Step>> {
    match spawn_blocking(move || digested(receive, &chunks)).await {
        Ok(received) => received,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
