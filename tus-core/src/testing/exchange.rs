//! The loop over the steps of an exchange.

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{Body, Log, Model, receive::Appending, watch::Watch};
use crate::{
    Failure, Rejection,
    server::{Ended, Mount, Opened, Step, Waiting, begin},
};

impl Model {
    /// Handles a request.
    ///
    /// # Panics
    ///
    /// If an invariant is violated (see the [module](super)).
    pub fn exchange(&mut self, head: &Parts, body: Body) -> Response<Bytes> {
        self.log = Log::default();
        let mut watch = Watch::new(&self.uploads);
        let mount = match (&self.resource, self.trailers) {
            (Some(resource), _) => Mount::resource(resource.clone()),
            (None, true) => Mount::at(&self.mount),
            (None, false) => Mount::at(&self.mount).without_trailers(),
        };
        let first = begin(&self.config, head, &mount, self.now);
        let response = self.drive(first, head, body, &mut watch);
        self.trouble.end();
        watch.end(&self.uploads);
        watch.response(head, &response, &self.uploads);
        response
    }

    fn drive(&mut self, mut step: Step, head: &Parts, mut body: Body, watch: &mut Watch) -> Response<Bytes> {
        let mut responded = None;
        loop {
            let works = self.enter(name(&step), watch);
            step = match step {
                Step::Load(load) => {
                    let found = self.uploads.get(load.id()).cloned();
                    load.done(works.map(|()| found))
                }
                Step::LoadParts(load) => {
                    watch.loads(load.ids());
                    self.log.loaded.push(load.ids().to_vec());
                    let found = self.uploads.get_all(load.ids());
                    load.done(works.map(|()| found))
                }
                Step::CountPending(count) => count.done(works.map(|()| self.uploads.pending_finals())),
                Step::Authorize(ask) => {
                    let (operation, upload) = (ask.operation(), ask.upload());
                    let id = upload.map(|upload| upload.id.clone());
                    let answer = self.application.authorize(operation, id.as_ref());
                    self.log.asked.push((operation, id));
                    let answer = answer.and(works.map_err(no));
                    watch.asks(operation, upload, answer.is_ok());
                    ask.done(answer)
                }
                Step::Hold(hold) => {
                    watch.holds(&hold);
                    self.log.held.push(hold.access());
                    let found = self.uploads.get(&hold.stored().upload.id).cloned();
                    hold.done(works.map(|()| found))
                }
                Step::Create(mut create) => {
                    watch.creates();
                    let shaped = (self.application.shape)(create.upload()).and(works.map_err(no));
                    let (fresh, incarnation) = self.fresh_name();
                    let id = create.upload().id.clone().unwrap_or(fresh);
                    watch.rejects(shaped.is_err());
                    create.done(shaped.map(|()| (id, incarnation)))
                }
                Step::Store(store) => {
                    watch.stores(store.upload());
                    let created = works.and_then(|()| self.uploads.create(store.upload()));
                    if created.is_ok() {
                        watch.owns(store.upload());
                    }
                    store.done(created)
                }
                Step::Inform(inform) => {
                    watch.informs(inform.response());
                    if self.informs {
                        self.log.informed.push(inform.response().clone());
                    }
                    inform.done(self.informs)
                }
                Step::Abandon(abandon) => {
                    watch.abandons(abandon.upload(), &self.uploads);
                    self.abandoned.push(abandon.upload().incarnation);
                    abandon.done()
                }
                Step::Receive(receive) => {
                    watch.receives(receive.stored(), &self.uploads);
                    let mut appending = Appending::new(receive.stored());
                    match self.receive(receive, std::mem::take(&mut body), &mut appending) {
                        Ended::Commit(commit) => {
                            let works = self.enter("Commit", watch);
                            assert!(
                                commit.stored().is_same_upload(appending.upload()),
                                "a different upload was committed"
                            );
                            let committed = works.and_then(|()| appending.commit(commit.change(), &mut self.uploads));
                            commit.done(committed)
                        }
                        Ended::Step(step) => *step,
                    }
                }
                Step::Invalidate(invalidate) => {
                    let stored = invalidate.stored();
                    watch.changes(stored, &self.uploads);
                    let now = self.uploads.get(&stored.upload.id).cloned();
                    let change = now.and_then(|now| Some((invalidate.change(&now)?, now)));
                    let invalidated = works.and_then(|()| match change {
                        Some((change, now)) => self.uploads.change(&now, &change, &[]).map(drop),
                        None => Ok(()),
                    });
                    invalidate.done(invalidated)
                }
                Step::Complete(complete) => {
                    let (completion, completing) = complete.begin();
                    completing.done(self.complete(completion, watch))
                }
                Step::Wake(wake) => {
                    let woken = match wake.waiting() {
                        Waiting::For(part) => self.uploads.waiting_for(part),
                        Waiting::Final(id) => vec![id.clone()],
                    };
                    self.log.woken.extend(woken);
                    wake.done()
                }
                Step::Await(wait) => {
                    let found = self.uploads.get(wait.id()).cloned();
                    wait.done(works.map(|()| found))
                }
                Step::Veto(veto) => {
                    let answer = self.application.veto.clone().and(works.map_err(no));
                    watch.vetoes(veto.upload(), answer.is_ok());
                    veto.done(answer)
                }
                Step::Terminate(terminate) => {
                    let upload = &terminate.stored().upload;
                    watch.terminates(upload, terminate.is_undo());
                    // Another request may have been faster.
                    let removed = match works {
                        Ok(()) => self.uploads.remove(upload),
                        Err(Failure::NotFound) => self.uploads.remove(upload).and(works),
                        Err(failure) => Err(failure),
                    };
                    terminate.done(removed)
                }
                Step::Open(open) => match works {
                    Err(failure) => open.failed(failure),
                    Ok(()) => {
                        watch.opens(open.stored());
                        let range = open.range();
                        let bytes = self.uploads.bytes(&open.stored().upload.id).unwrap_or_default();
                        let body = Bytes::copy_from_slice(&bytes[range.start as usize..range.end as usize]);
                        match open.done() {
                            Opened::Bytes(response) => return response.map(|()| body),
                            Opened::Step(step) => *step,
                        }
                    }
                },
                Step::Claim(claim) => {
                    let now = self.uploads.get(&claim.stored().upload.id).cloned();
                    claim.done(match works {
                        Ok(()) => now.map(Some).ok_or(Failure::NotFound),
                        Err(Failure::Busy) => Ok(None),
                        Err(failure) => Err(failure),
                    })
                }
                Step::Call(call) => {
                    watch.calls(&call.stored().upload);
                    let content = self.uploads.bytes(&call.stored().upload.id).unwrap_or_default();
                    let response = call.head(head).and_then(|head| {
                        works?;
                        self.called.push((head.clone(), Bytes::copy_from_slice(content)));
                        (self.application.handler)(&head, content)
                    });
                    responded = response.as_ref().ok().and_then(|response| response.body().clone());
                    self.now += self.application.handler_takes;
                    call.done(response, self.now)
                }
                Step::KeepResponse(keep) => {
                    watch.changes(keep.stored(), &self.uploads);
                    let kept = works.and_then(|()| self.uploads.change(keep.stored(), keep.change(), &[]));
                    keep.done(kept)
                }
                Step::Relay(response) => return response.map(|()| responded.unwrap_or_default()),
                Step::Respond(response) => return response,
            }
        }
    }

    /// Begins a step. Returns whether it succeeds.
    pub(super) fn enter(&mut self, name: &'static str, watch: &mut Watch) -> Result<(), Failure> {
        let number = self.log.steps.len();
        assert!(number < 1000, "it does not end");
        self.log.steps.push(name);
        if self.trouble.strikes(name, &mut self.uploads) {
            watch.begins_again(&self.uploads);
        }
        self.trouble.of(name, number)
    }
}

fn no(failure: Failure) -> Rejection {
    Rejection::forbidden(failure.to_string())
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Load(_) => "Load",
        Step::LoadParts(_) => "LoadParts",
        Step::CountPending(_) => "CountPending",
        Step::Authorize(_) => "Authorize",
        Step::Hold(_) => "Hold",
        Step::Create(_) => "Create",
        Step::Store(_) => "Store",
        Step::Inform(_) => "Inform",
        Step::Abandon(_) => "Abandon",
        Step::Await(_) => "Await",
        Step::Receive(_) => "Receive",
        Step::Invalidate(_) => "Invalidate",
        Step::Complete(_) => "Complete",
        Step::Wake(_) => "Wake",
        Step::Veto(_) => "Veto",
        Step::Terminate(_) => "Terminate",
        Step::Open(_) => "Open",
        Step::Claim(_) => "Claim",
        Step::Call(_) => "Call",
        Step::KeepResponse(_) => "KeepResponse",
        Step::Relay(_) => "Relay",
        Step::Respond(_) => "Respond",
    }
}
