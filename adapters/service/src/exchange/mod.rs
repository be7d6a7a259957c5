//! The loop that performs the machine's steps.

mod receive;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use tokio::time::Instant;
use tus_core::{
    Failure, Incarnation, Rejection, Stored, UploadId, Version,
    server::{
        Access, Authorize, Call, Claim, Commit, Create, Ended, Hold, Invalidate, Opened, Step, Store, Terminate, Veto,
    },
};

use self::receive::Appending;
use crate::{
    background,
    cause::Cause,
    completion,
    engine::{Engine, PATIENCE, READER_PATIENCE, failure, failure_of_many},
    handler::{Caller, Resumed, StoredBody},
    interim::InterimSender,
    leases::{Generation, Lease},
    observe,
    request::{BodyReceiver, ResponseBody, Sending},
};

/// A record that was loaded this recently need not be loaded again if no request of this process intervened.
const FRESH: Duration = Duration::from_millis(20);

/// One exchange.
pub(crate) struct Exchange<'a> {
    engine: &'a Arc<Engine>,
    head: &'a Arc<Parts>,
    body: BodyReceiver,
    interim: Option<InterimSender>,
    /// Calls the handler of the resource, if the request is to one.
    caller: Option<Caller>,
    place: Place<'a>,
    /// The last version of the upload that this request has made.
    made: Option<Version>,
}

/// The exchange's relation to its upload.
enum Place<'a> {
    /// It has no upload yet.
    Nowhere,
    /// It has loaded the record: the generation before that, and the time after it.
    Loaded(Generation, Instant),
    /// It holds the lease.
    Leased(Lease<'a>),
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        engine: &'a Arc<Engine>,
        head: &'a Arc<Parts>,
        body: BodyReceiver,
        interim: Option<InterimSender>,
        caller: Option<Caller>,
    ) -> Self {
        Self { engine, head, body, interim, caller, place: Place::Nowhere, made: None }
    }

    /// Runs to the response. Its body is that of the handler's response if it has none here.
    pub(crate) async fn run(&mut self, mut step: Step) -> Response<Option<ResponseBody>> {
        let engine = self.engine;
        loop {
            step = match step {
                Step::Load(load) => {
                    observe::concerns(load.id());
                    let generation = engine.leases.generation(load.id());
                    let loaded = self.load(load.id()).await;
                    self.place = Place::Loaded(generation, Instant::now());
                    load.done(loaded)
                }
                Step::LoadParts(parts) => {
                    let loaded = engine.storage.load_all(parts.ids()).await;
                    let loaded = loaded.map_err(|error| failure_of_many(parts.ids(), &error));
                    parts.done(loaded)
                }
                Step::CountPending(count) => {
                    let counted = engine.storage.pending_finals(count.at_most()).await;
                    let counted = counted.map_err(|error| failure_of_many(&[], &error));
                    count.done(counted)
                }
                Step::Authorize(authorize) => self.authorize(authorize).await,
                Step::Hold(hold) => self.hold(hold).await,
                Step::Create(create) => self.create(create).await,
                Step::Store(store) => self.store(store).await,
                Step::Inform(inform) => {
                    let sent = match &self.interim {
                        Some(interim) => interim.send(inform.response()).await,
                        None => false,
                    };
                    inform.done(sent)
                }
                Step::Receive(receive) => {
                    let lease = match &self.place {
                        Place::Leased(lease) => lease.asked_to_leave(),
                        Place::Nowhere | Place::Loaded(..) => Default::default(),
                    };
                    let interim = self.interim.clone();
                    let appending = Appending::new(engine, self.head, interim, receive.stored().clone());
                    let (ended, appending) = appending.receive(receive, &mut self.body, lease).await;
                    match ended {
                        Ended::Commit(commit) => self.commit(commit, appending).await,
                        Ended::Step(step) => {
                            self.made = appending.end().await;
                            *step
                        }
                    }
                }
                Step::Invalidate(invalidate) => self.invalidate(invalidate).await,
                Step::Complete(complete) => {
                    self.committed();
                    let (completion, completing) = complete.begin();
                    let done = completion::run(engine, completion, Some(self.head)).await.done;
                    if let Some(notify) = done.notify() {
                        background::notify(engine, notify);
                    }
                    completing.done(done)
                }
                Step::Wake(wake) => {
                    background::wake(engine, wake.waiting());
                    wake.done()
                }
                Step::Await(wait) => {
                    let now = background::assembled(engine, wait.id()).await;
                    wait.done(now)
                }
                Step::Abandon(abandon) => {
                    engine.hooks.creation_failed(abandon.upload(), self.head).await;
                    abandon.done()
                }
                Step::Veto(veto) => self.veto(veto).await,
                Step::Terminate(terminate) => self.terminate(terminate).await,
                Step::Open(open) => {
                    let (stored, range) = (open.stored(), open.range());
                    let length = range.end - range.start;
                    match self.sending(stored, range).await {
                        Ok(bytes) => match open.done() {
                            Opened::Bytes(response) => {
                                return response.map(|()| Some(ResponseBody::streaming(bytes, length)));
                            }
                            Opened::Step(step) => *step,
                        },
                        Err(failure) => open.failed(failure),
                    }
                }
                Step::Claim(claim) => self.claim(claim).await,
                Step::Call(call) => self.call(call).await,
                Step::KeepResponse(keep) => {
                    let stored = keep.stored();
                    let kept = engine.storage.update(stored, keep.change()).await;
                    let kept = kept.map_err(|error| failure(&stored.upload.id, &error));
                    if kept.is_ok() {
                        observe::changed(&stored.upload, keep.change());
                    }
                    keep.done(kept)
                }
                Step::Relay(response) => return response.map(|()| None),
                Step::Respond(response) => return response.map(|body| Some(body.into())),
            }
        }
    }

    /// Lets readers of the upload continue: from here on, they would only wait for hooks or for the storage.
    fn committed(&self) {
        if let Place::Leased(lease) = &self.place {
            lease.committed();
        }
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, Failure> {
        self.engine.storage.load(id).await.map_err(|error| failure(id, &error))
    }

    async fn authorize(&self, authorize: Authorize) -> Step {
        let answer = self.engine.hooks.authorize(authorize.operation(), authorize.upload(), self.head).await;
        let owner = self.caller.as_ref().and_then(Caller::owner);
        match (owner, authorize.upload()) {
            (Some(owner), Some(upload)) if answer.is_ok() && upload.owner != *owner => authorize.not_theirs(),
            _ => authorize.done(answer),
        }
    }

    async fn hold(&mut self, hold: Hold) -> Step {
        let engine = self.engine;
        let (loaded, id) = (hold.stored(), &hold.stored().upload.id);
        let (generation, is_fresh) = match &self.place {
            // After a longer time, another process may have started to add bytes.
            Place::Loaded(generation, at) => (Some(*generation), at.elapsed() < FRESH),
            Place::Nowhere | Place::Leased(_) => (None, false),
        };
        let access = hold.access();
        let (is_current, patience) = match access {
            Access::Read => {
                let is_current = match generation {
                    // Waits for a request that adds bytes in this process, however long loading the record took.
                    Some(generation) => engine.leases.settle(id, generation, PATIENCE).await && is_fresh,
                    None => false,
                };
                (is_current, READER_PATIENCE)
            }
            Access::Write => match engine.leases.hold(id, PATIENCE).await {
                Ok(lease) => {
                    let is_first = generation.is_some_and(|generation| lease.is_first_since(generation));
                    let is_current = is_first && is_fresh;
                    self.place = Place::Leased(lease);
                    (is_current, PATIENCE)
                }
                Err(_) => return hold.done(Err(Failure::Busy)),
            },
        };
        // The storage detects changes by another process before it changes anything.
        let now = if is_current { Ok(Some(loaded.clone())) } else { self.load(id).await };
        let now = match now {
            Ok(Some(now)) if now.held_elsewhere => {
                engine.storage.settle(&now, access, patience).await.map_err(|error| failure(id, &error))
            }
            now => now,
        };
        hold.done(now)
    }

    async fn create(&self, mut create: Create) -> Step {
        if let Some(owner) = self.caller.as_ref().and_then(Caller::owner) {
            create.upload().owner.clone_from(owner);
        }
        // Before the hook, because what it reserves is released only if the upload has a name.
        let (id, incarnation) = match random() {
            Ok((id, incarnation)) => (UploadId::from_random(id), Incarnation::from_random(incarnation)),
            Err(rejection) => return create.done(Err(rejection)),
        };
        let answer = self.engine.hooks.before_create(create.upload(), (&id, incarnation), self.head).await;
        let chosen = create.upload().id.take();
        create.done(answer.map(|()| (chosen.unwrap_or(id), incarnation)))
    }

    async fn store(&mut self, store: Store) -> Step {
        let (engine, upload) = (self.engine, store.upload());
        observe::concerns(&upload.id);
        let Some(lease) = engine.leases.try_hold(&upload.id) else {
            return store.done(Err(Failure::Exists));
        };
        let stored = engine.storage.create(upload).await.map_err(|error| failure(&upload.id, &error));
        if stored.is_ok() {
            observe::created(upload);
            // The body comes after the hook.
            lease.committed();
            engine.hooks.created(upload, self.head).await;
            lease.commits_again();
            self.place = Place::Leased(lease);
        }
        store.done(stored)
    }

    async fn commit(&mut self, commit: Commit, mut appending: Appending<'_>) -> Step {
        let (id, began) = (&commit.stored().upload.id, Instant::now());
        let committed = appending.commit(commit.change()).await.map_err(|error| failure(id, &error));
        if committed.is_ok() {
            self.committed();
            observe::committed(began.elapsed());
            observe::changed(&commit.stored().upload, commit.change());
        }
        self.made = appending.end().await;
        commit.done(committed)
    }

    async fn sending(&self, stored: &Stored, range: Range<u64>) -> Result<Sending, Failure> {
        let Engine { storage, downloads, download_timeout, .. } = &**self.engine;
        let turn = downloads.clone().try_acquire_owned().map_err(|_| Failure::Overloaded)?;
        let bytes = storage.read(stored, range).await.map_err(|error| failure(&stored.upload.id, &error))?;
        let close = self.head.extensions.get().cloned();
        Ok(Sending::new(bytes, turn, *download_timeout, close))
    }

    async fn invalidate(&self, invalidate: Invalidate) -> Step {
        let stored = invalidate.stored();
        let invalidated = self.engine.change_latest(stored, |now| invalidate.change(now)).await;
        let invalidated = invalidated.map_err(|error| failure(&stored.upload.id, &error));
        invalidate.done(invalidated)
    }

    async fn claim(&self, claim: Claim) -> Step {
        self.committed();
        let upload = claim.stored().upload.clone();
        let step = match self.engine.storage.claim(&upload, completion::CLAIM).await {
            Ok(true) => {
                let now = self.load(&upload.id).await;
                claim.done(now.and_then(|now| now.map(Some).ok_or(Failure::NotFound)))
            }
            Ok(false) => return claim.done(Ok(None)),
            Err(error) => return claim.done(Err(failure(&upload.id, &error))),
        };
        if !matches!(step, Step::Call(_)) {
            completion::release(self.engine, &upload).await;
        }
        step
    }

    async fn call(&mut self, call: Call) -> Step {
        let (engine, upload) = (self.engine, call.stored().upload.clone());
        let response = completion::keeping_the_claim(engine, &upload, self.respond(&call)).await;
        if response.is_err() {
            completion::release(engine, &upload).await;
        }
        call.done(response, SystemTime::now())
    }

    /// The response of the handler, and its content if it is small.
    async fn respond(&mut self, call: &Call) -> Result<Response<Option<Bytes>>, Failure> {
        let (stored, caller) = (call.stored(), self.caller.take().ok_or(Failure::Internal)?);
        let head = call.head(self.head)?;
        let body = match stored.upload.offset {
            0 => StoredBody::empty(),
            length => match self.engine.storage.read(stored, 0..length).await {
                Ok(bytes) => StoredBody::new(bytes, length),
                Err(error) => return Err(failure(&stored.upload.id, &error)),
            },
        };
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(Resumed::from(&stored.upload));
        caller.call(request).await
    }

    async fn veto(&self, veto: Veto) -> Step {
        self.committed();
        let answer = self.engine.hooks.before_terminate(veto.upload(), self.head).await;
        veto.done(answer)
    }

    async fn terminate(&self, terminate: Terminate) -> Step {
        self.committed();
        let stored = terminate.stored();
        let removed = match terminate.is_undo() {
            false => self.engine.remove_incarnation(stored, Cause::Client).await,
            true => {
                let mut made = stored.clone();
                made.version = self.made.clone().unwrap_or(made.version);
                self.engine.remove(&made, Cause::Failed).await
            }
        };
        let removed = removed.map_err(|error| failure(&stored.upload.id, &error));
        terminate.done(removed)
    }
}

/// Random bits for an id and for an incarnation.
fn random() -> Result<(u128, u128), Rejection> {
    let mut bits = [[0; 16]; 2];
    getrandom::fill(bits.as_flattened_mut()).map_err(|error| {
        tracing::error!(%error, "the system provides no random numbers");
        Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "no id could be generated\n")
    })?;
    let [id, incarnation] = bits.map(u128::from_be_bytes);
    Ok((id, incarnation))
}
