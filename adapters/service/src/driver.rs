//! The one loop that does what the machine asks for.

use std::{
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout_at},
};
use tus_core::{
    Extension, Failure, Kind, Rejection, Upload, UploadId,
    server::{
        Access, Authorize, Commit, Create, Deliver, End, Finish, Hold, Interruption, Join, Receive, Step, Store,
        Terminate,
    },
};

use crate::{
    Cause, ResponseBody, StorageError, Writer, housekeeping,
    locks::{Held, Moment},
    observe,
    pump::{Batch, Intake},
    service::Inner,
};

/// How long a request waits for an older one on the same upload.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a body that is to be cut short may still come: in all, and from one piece to the next.
const CUT_TOTAL: Duration = Duration::from_millis(50);
const CUT_STALLED: Duration = Duration::from_millis(10);

/// Bytes from which on a digest takes longer than the way to a thread where that holds up nobody.
const DIGEST_APART: usize = 64 * 1024;

/// One exchange.
pub(crate) struct Driver<'a> {
    service: &'a Arc<Inner>,
    head: &'a Parts,
    intake: Intake,
    held: Option<Held<'a>>,
    /// Who was at the upload when its record was loaded.
    loaded_at: Option<Moment>,
    appending: Option<Appending>,
    /// Whether the record that was stored says that the application was told.
    is_told: bool,
}

/// An upload that is being added to, and its writer once there was something to write.
struct Appending {
    upload: Upload,
    writer: Option<Box<dyn Writer>>,
    /// The hook that tells the application how far it is.
    progress: Option<JoinHandle<()>>,
}

/// The head and the body of a request that nobody sent.
pub(crate) fn unasked() -> (Parts, Intake) {
    (Request::new(()).into_parts().0, Intake::empty())
}

impl<'a> Driver<'a> {
    pub(crate) fn new(service: &'a Arc<Inner>, head: &'a Parts, intake: Intake) -> Self {
        Self { service, head, intake, held: None, loaded_at: None, appending: None, is_told: false }
    }

    pub(crate) fn holding(mut self, held: Held<'a>) -> Self {
        self.held = Some(held);
        self
    }

    pub(crate) async fn run(&mut self, mut step: Step) -> Response<ResponseBody> {
        loop {
            step = match step {
                Step::Load(load) => {
                    observe::concerns(load.id());
                    self.loaded_at = Some(self.service.locks.moment(load.id()));
                    let loaded = self.load(load.id()).await;
                    load.done(loaded)
                }
                Step::LoadPartials(partials) => {
                    let loaded = self.load_all(partials.ids()).await;
                    partials.done(loaded)
                }
                Step::Authorize(authorize) => self.authorize(authorize).await,
                Step::Hold(hold) => self.hold(hold).await,
                Step::Create(create) => self.create(create).await,
                Step::Store(store) => self.store(store).await,
                Step::Receive(receive) => self.receive(receive).await,
                Step::Commit(commit) => self.commit(commit).await,
                Step::Join(join) => self.join(join).await,
                Step::Finish(finish) => self.finish(finish).await,
                Step::Terminate(terminate) => self.terminate(terminate).await,
                Step::Deliver(deliver) => match self.read(&deliver).await {
                    Ok(body) => return deliver.response().map(|()| body),
                    Err(failure) => deliver.failed(failure),
                },
                Step::Respond(response) => return response.map(ResponseBody::from),
            }
        }
    }

    async fn load(&mut self, id: &UploadId) -> Result<Option<Upload>, Failure> {
        self.service.storage.load(id).await.map_err(|error| failure(id, &error))
    }

    async fn load_all(&mut self, ids: &[UploadId]) -> Result<Vec<Option<Upload>>, Failure> {
        let mut uploads = Vec::new();
        for id in ids {
            uploads.push(self.load(id).await?);
        }
        Ok(uploads)
    }

    async fn authorize(&mut self, authorize: Authorize) -> Step {
        let hooks = &self.service.hooks;
        let asked = hooks.authorize(authorize.operation(), authorize.upload(), self.head);
        let answer = self.service.guarded("authorize", asked).await;
        authorize.done(answer.flatten())
    }

    async fn hold(&mut self, hold: Hold) -> Step {
        let id = hold.upload().id.clone();
        let locks = &self.service.locks;
        let is_new = match hold.access() {
            Access::Read => match self.loaded_at {
                Some(moment) => locks.clear(&id, moment, PATIENCE).await,
                None => false,
            },
            Access::Write => match locks.hold(&id, PATIENCE).await {
                Ok(held) => {
                    let held = self.held.insert(held);
                    self.loaded_at.is_some_and(|moment| held.is_first_since(moment))
                }
                Err(_) => return hold.done(Err(Failure::Busy)),
            },
        };
        // What another process did meanwhile, the storage finds out before anything is changed.
        let upload = if is_new { Ok(Some(hold.upload().clone())) } else { self.load(&id).await };
        hold.done(upload)
    }

    async fn create(&mut self, mut create: Create) -> Step {
        let asked = self.service.hooks.hooks.before_create(create.upload(), self.head);
        let answer = self.service.guarded("before_create", asked).await;
        let id = answer.flatten().and_then(|()| match create.upload().id.take() {
            Some(chosen) => Ok(chosen),
            None => random_id(),
        });
        create.done(id)
    }

    async fn store(&mut self, store: Store) -> Step {
        let upload = store.upload();
        observe::concerns(&upload.id);
        self.held = self.service.locks.try_hold(&upload.id);
        if self.held.is_none() {
            return store.done(Err(Failure::Exists));
        }
        let record = self.recorded(upload);
        let stored = self.service.storage.create(&record).await.map_err(|error| failure(&upload.id, &error));
        if stored.is_ok() {
            observe::created(upload);
            let _ = self.service.guarded("created", self.service.hooks.hooks.created(upload)).await;
            if matches!(upload.kind, Kind::Final(_)) {
                // A part may have become complete after it was looked at and before this was stored.
                let (service, id) = (self.service.clone(), upload.id.clone());
                self.service.exchanges.spawn(async move { service.resume_when_free(&id).await });
            }
        }
        store.done(stored)
    }

    async fn receive(&mut self, mut receive: Receive) -> Step {
        let leave = self.held.as_ref().map(Held::asked_to_leave).unwrap_or_default();
        let stopping = self.service.stopping.clone();
        self.appending = Some(Appending { upload: receive.upload().clone(), writer: None, progress: None });
        self.intake.open();
        let mut silent_since = Instant::now();
        // When the first byte came that no checkpoint covers.
        let mut unsaved_since: Option<Instant> = None;
        let end = loop {
            let due = unsaved_since.map(|since| since + self.service.checkpoint_interval);
            if due.is_some_and(|due| due <= Instant::now()) {
                match self.checkpoint(&receive).await {
                    Ok(taken) => unsaved_since = (!taken).then(Instant::now),
                    Err(why) => break End::Interrupted(why),
                }
                continue;
            }
            let silent_until = silent_since + self.service.body_timeout;
            // What has come is before the timer, which costs more.
            let next = tokio::select! {
                biased;
                () = leave.cancelled() => return Box::pin(self.cut(receive, Interruption::Superseded)).await,
                () = stopping.cancelled() => return Box::pin(self.cut(receive, Interruption::ShuttingDown)).await,
                next = self.intake.next() => next,
                () = sleep_until(due.map_or(silent_until, |due| due.min(silent_until))) => {
                    if Instant::now() >= silent_until {
                        break End::Interrupted(Interruption::TimedOut);
                    }
                    continue;
                }
            };
            let batch = match next {
                Ok(batch) => batch,
                Err(end) => break end,
            };
            unsaved_since.get_or_insert_with(Instant::now);
            let written = Box::pin(self.write(receive, batch)).await;
            silent_since = Instant::now();
            match written {
                Ok((next, None)) => receive = next,
                Ok((next, Some(end))) => return next.end(end, SystemTime::now()),
                Err(step) => return *step,
            }
        };
        receive.end(end, SystemTime::now())
    }

    /// Ends a body early, with all of it that is here already: what its dead connection still has in
    /// the kernel's buffers has reached the server, too.
    async fn cut(&mut self, mut receive: Receive, why: Interruption) -> Step {
        let last = Instant::now() + CUT_TOTAL;
        let end = loop {
            let now = Instant::now();
            // A client that never pauses has to give way as well.
            if now >= last {
                break End::Interrupted(why);
            }
            let stalled = last.min(now + CUT_STALLED);
            match timeout_at(stalled, self.intake.next()).await {
                Err(_) => break End::Interrupted(why),
                Ok(Err(end)) => break end,
                Ok(Ok(batch)) => match self.write(receive, batch).await {
                    Ok((next, None)) => receive = next,
                    Ok((next, Some(end))) => return next.end(end, SystemTime::now()),
                    Err(step) => return *step,
                },
            }
        };
        receive.end(end, SystemTime::now())
    }

    /// Stores a batch. Where the storage fails, that is the end of the body.
    async fn write(&mut self, receive: Receive, batch: Batch) -> Result<(Receive, Option<End>), Box<Step>> {
        let bytes: usize = batch.chunks.iter().map(Bytes::len).sum();
        let (received, written) = if receive.is_verified() && bytes >= DIGEST_APART {
            tokio::join!(taken_apart(receive, batch.chunks.clone()), self.store_chunks(&batch))
        } else {
            let received = taken(receive, &batch.chunks)?;
            (Ok(received), self.store_chunks(&batch).await)
        };
        if written.is_ok() {
            observe::received(bytes as u64);
        }
        let end = written.err().map(|error| End::Interrupted(self.failed(&error)));
        Ok((received?, end))
    }

    async fn store_chunks(&mut self, batch: &Batch) -> Result<(), StorageError> {
        self.writer().await?.write(batch.chunks.clone()).await
    }

    /// Whether there is nothing more to ask for until new bytes come.
    async fn checkpoint(&mut self, receive: &Receive) -> Result<bool, Interruption> {
        self.tell_progress(receive.progress());
        let Some(upload) = receive.checkpoint(SystemTime::now()) else {
            return Ok(true);
        };
        let saved = match self.writer().await {
            Ok(writer) => writer.checkpoint(&upload).await,
            Err(error) => Err(error),
        };
        saved.map_err(|error| self.failed(&error))
    }

    /// Beside the stream, which does not wait for the application.
    fn tell_progress(&mut self, upload: Upload) {
        let Some(appending) = self.appending.as_mut().filter(|_| self.service.hooks.are_given) else {
            return;
        };
        if appending.progress.as_ref().is_none_or(JoinHandle::is_finished) {
            let service = self.service.clone();
            let tell = async move {
                let _ = service.guarded("progress", service.hooks.hooks.progress(&upload)).await;
            };
            appending.progress = Some(tokio::spawn(tell));
        }
    }

    fn failed(&self, error: &StorageError) -> Interruption {
        let appending = self.appending.as_ref();
        let stored = appending.and_then(|a| a.writer.as_ref()).map_or(0, |writer| writer.stored());
        let failure = match appending {
            Some(appending) => failure(&appending.upload.id, error),
            None => error.failure(),
        };
        Interruption::Failed { failure, stored }
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn Writer>, StorageError> {
        let appending = self.appending.as_mut().ok_or(Failure::Internal)?;
        match &mut appending.writer {
            Some(writer) => Ok(writer),
            none => Ok(none.insert(self.service.storage.append(&appending.upload).await?)),
        }
    }

    async fn commit(&mut self, commit: Commit) -> Step {
        let upload = commit.upload();
        let began = Instant::now();
        let record = self.recorded(upload);
        let committed = match self.writer().await {
            Ok(writer) => writer.commit(&record).await,
            Err(error) => Err(error),
        };
        // What comes next must not be overtaken by it, nor wait for it.
        if let Some(progress) = self.appending.take().and_then(|appending| appending.progress) {
            progress.abort();
            let _ = progress.await;
        }
        let committed = committed.map_err(|error| failure(&upload.id, &error));
        if let (Some(held), Ok(())) = (&self.held, &committed) {
            held.committed();
            observe::committed(began.elapsed());
        }
        if committed.is_ok() && upload.kind == Kind::Partial && upload.is_complete() {
            self.resume_finals(upload);
        }
        commit.done(committed)
    }

    /// A final upload may wait for this part.
    fn resume_finals(&self, partial: &Upload) {
        if self.service.config.offers(Extension::ConcatenationUnfinished) {
            let resume = housekeeping::resume_finals_of(self.service.clone(), partial.id.clone());
            self.service.exchanges.spawn(resume);
        }
    }

    async fn join(&mut self, join: Join) -> Step {
        let record = self.recorded(join.upload());
        let joined = self.service.storage.join(&record, join.partials()).await;
        let joined = joined.map_err(|error| failure(&join.upload().id, &error));
        join.done(joined)
    }

    async fn finish(&mut self, finish: Finish) -> Step {
        let upload = finish.upload();
        let service = self.service;
        let answer = service.guarded("before_finish", service.hooks.hooks.before_finish(upload)).await.flatten();
        match &answer {
            Err(rejection) => {
                observe::not_taken(upload, rejection);
            }
            Ok(_) => {
                observe::finished(upload);
                self.tell_finished(upload).await;
            }
        }
        finish.done(answer)
    }

    /// The record as it is to be stored: where nobody is to be told that the upload is whole, it says so at once, which saves
    /// another change of it.
    fn recorded(&mut self, upload: &Upload) -> Upload {
        let mut record = upload.clone();
        let ends = upload.is_complete() && upload.kind != Kind::Partial;
        record.finished |= ends && !self.service.hooks.tell();
        self.is_told = record.finished;
        record
    }

    /// Where it fails, or is not recorded, the application is told again, as it has been promised.
    async fn tell_finished(&mut self, upload: &Upload) {
        let (service, id) = (self.service, &upload.id);
        match service.guarded("finished", service.hooks.finished(upload)).await {
            Ok(Ok(())) if self.is_told => {}
            Ok(Ok(())) => {
                if let Err(error) = service.storage.finish(id).await {
                    failure(id, &error);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(upload = %id, %error, "the application's hook failed; it is called again")
            }
            Err(_) => {}
        }
    }

    async fn read(&mut self, deliver: &Deliver) -> Result<ResponseBody, Failure> {
        let upload = deliver.upload();
        let read = ResponseBody::read(self.service.storage.clone(), upload.clone(), deliver.range()).await;
        read.map_err(|error| failure(&upload.id, &error))
    }

    async fn terminate(&mut self, terminate: Terminate) -> Step {
        self.appending = None;
        let (service, upload, asked) = (self.service, terminate.upload(), terminate.is_asked());
        if asked {
            let asked = service.hooks.hooks.before_terminate(upload, self.head);
            if let Err(rejection) = service.guarded("before_terminate", asked).await.flatten() {
                return terminate.rejected(rejection);
            }
        }
        let cause = if asked { Cause::Client } else { Cause::Failed };
        let removed = service.remove(upload, None, cause).await.map_err(|error| failure(&upload.id, &error));
        terminate.done(removed)
    }
}

/// The machine takes chunks, one after the other.
fn taken(receive: Receive, chunks: &[Bytes]) -> Result<Receive, Box<Step>> {
    chunks.iter().try_fold(receive, |receive, chunk| receive.data(chunk))
}

/// The same beside what else is done.
async fn taken_apart(receive: Receive, chunks: Vec<Bytes>) -> Result<Receive, Box<Step>> {
    match spawn_blocking(move || taken(receive, &chunks)).await {
        Ok(received) => received,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// What the client is told of an error; the log has the rest.
fn failure(id: &UploadId, error: &StorageError) -> Failure {
    match error.failure() {
        Failure::Internal | Failure::Full => tracing::error!(upload = %id, %error, "the storage failed"),
        _ => tracing::debug!(upload = %id, %error, "the storage refused"),
    }
    error.failure()
}

fn random_id() -> Result<UploadId, Rejection> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers");
        Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "no id could be made\n")
    })?;
    Ok(UploadId::from_random(u128::from_be_bytes(bits)))
}
