//! The driver: it does what each step asks for, as a real one does.
//!
//! It keeps the rules that a driver owes the machine. The body comes in pieces, and only when `Receive`
//! asks for it; bytes exist from a commit on; a commit compares the offset; what was not committed is
//! forgotten.

use std::ops::Range;

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{
    super::{End, Interruption, Receive, Step, Stored, begin, resume},
    request::{Answer, Sent},
    world::World,
};
use crate::{Failure, Rejection, Upload, UploadId};

impl World {
    pub(crate) fn exchange(&mut self, head: &Parts, sent: Sent) -> Answer {
        let first = begin(&self.config, head, self.mount, self.now);
        Answer(self.drive(first, sent))
    }

    /// What a server does when it starts, for an upload that a killed one left.
    pub(crate) fn resume(&mut self, id: &UploadId) -> Option<Answer> {
        let first = resume(&self.config, self.record(id).clone(), self.now)?;
        Some(Answer(self.drive(first, Sent::default())))
    }

    fn drive(&mut self, mut step: Step, mut sent: Sent) -> Response<Bytes> {
        self.steps.clear();
        self.asked.clear();
        self.held.clear();
        self.checkpoints.clear();
        let mut tail = Tail::default();
        loop {
            let name = name(&step);
            self.steps.push(name);
            if let Some(act) = self.meanwhile.remove(name) {
                act(&mut self.uploads);
            }
            let works = self.failures.remove(name).map_or(Ok(()), Err);
            step = match step {
                Step::Load(load) => {
                    let found = self.found(load.id());
                    load.done(works.map(|()| found))
                }
                Step::LoadPartials(load) => {
                    let found = load.ids().iter().map(|id| self.found(id)).collect();
                    load.done(works.map(|()| found))
                }
                Step::Authorize(ask) => {
                    let (operation, id) = (ask.operation(), ask.upload().map(|upload| upload.id.clone()));
                    let no = (self.rejects)(operation, id.as_ref());
                    self.asked.push((operation, id));
                    ask.done(if no { Err(Rejection::forbidden("the application says no")) } else { Ok(()) })
                }
                Step::Hold(hold) => {
                    self.held.push(hold.access());
                    let found = self.found(&hold.upload().id);
                    hold.done(works.map(|()| found))
                }
                Step::Create(mut create) => {
                    let shaped = (self.shape)(create.upload());
                    let id = create.upload().id.clone().unwrap_or_else(|| self.fresh_id());
                    create.done(shaped.map(|()| id))
                }
                Step::Store(store) => {
                    let stored = works.and_then(|()| self.store(store.upload()));
                    store.done(stored)
                }
                Step::Receive(receive) => {
                    tail.from = receive.upload().offset;
                    self.receive(receive, std::mem::take(&mut sent), &mut tail)
                }
                Step::Commit(commit) => {
                    let stored = works.and_then(|()| self.commit(commit.upload(), &mut tail));
                    commit.done(stored)
                }
                Step::Join(join) => {
                    let parts = join.partials().iter().flat_map(|part| self.bytes(&part.id).to_vec());
                    let joined = (join.upload().clone(), parts.collect());
                    if works.is_ok() {
                        self.uploads.insert(joined.0.id.clone(), joined);
                    }
                    join.done(works)
                }
                Step::Finish(finish) => {
                    let id = finish.upload().id.clone();
                    if let (Ok(_), Some((upload, _))) = (&self.reply, self.uploads.get_mut(&id)) {
                        upload.finished = true;
                    }
                    self.finished.push(id);
                    finish.done(self.reply.clone())
                }
                Step::Terminate(terminate) => {
                    if works.is_ok() {
                        self.uploads.remove(&terminate.upload().id);
                    }
                    terminate.done(works)
                }
                Step::Deliver(deliver) => match works {
                    Err(failure) => deliver.failed(failure),
                    Ok(()) => {
                        let Range { start, end } = deliver.range();
                        let bytes = &self.bytes(&deliver.upload().id)[start as usize..end as usize];
                        let body = Bytes::copy_from_slice(bytes);
                        return deliver.response().map(|()| body);
                    }
                },
                Step::Respond(response) => return response,
            }
        }
    }

    fn receive(&mut self, mut receive: Receive, sent: Sent, tail: &mut Tail) -> Step {
        let begin = tail.from;
        assert_eq!(receive.checkpoint(self.now), None, "nothing has come that could count");
        for piece in sent.bytes.chunks(Sent::PIECE) {
            receive = match receive.data(piece) {
                Ok(receive) => receive,
                Err(step) => return *step,
            };
            tail.bytes.extend(piece);
            let checkpoint = receive.checkpoint(self.now);
            self.checkpoints.push(checkpoint.as_ref().map(|upload| upload.offset));
            if let Some(upload) = checkpoint.filter(|_| self.commits_checkpoints)
                && let Err(failure) = self.commit(&upload, tail)
            {
                let failed = Interruption::Failed { failure, stored: tail.from - begin };
                return receive.end(End::Interrupted(failed), self.now);
            }
        }
        receive.end(sent.end, self.now)
    }

    fn store(&mut self, upload: &Upload) -> Stored {
        match self.uploads.contains_key(&upload.id) {
            true => Err(Failure::Exists),
            false => {
                self.uploads.insert(upload.id.clone(), (upload.clone(), Vec::new()));
                Ok(())
            }
        }
    }

    fn commit(&mut self, upload: &Upload, tail: &mut Tail) -> Stored {
        let (stored, bytes) = self.uploads.get_mut(&upload.id).ok_or(Failure::NotFound)?;
        if stored.offset != tail.from {
            return Err(Failure::Conflict);
        }
        let more = usize::try_from(upload.offset - tail.from).unwrap();
        bytes.extend(tail.bytes.drain(..more));
        tail.from = upload.offset;
        *stored = upload.clone();
        Ok(())
    }

    fn found(&self, id: &UploadId) -> Option<Upload> {
        self.uploads.get(id).map(|(upload, _)| upload.clone())
    }
}

/// Bytes that were received and not committed.
#[derive(Default)]
struct Tail {
    from: u64,
    bytes: Vec<u8>,
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Load(_) => "Load",
        Step::LoadPartials(_) => "LoadPartials",
        Step::Authorize(_) => "Authorize",
        Step::Hold(_) => "Hold",
        Step::Create(_) => "Create",
        Step::Store(_) => "Store",
        Step::Receive(_) => "Receive",
        Step::Commit(_) => "Commit",
        Step::Join(_) => "Join",
        Step::Finish(_) => "Finish",
        Step::Terminate(_) => "Terminate",
        Step::Deliver(_) => "Deliver",
        Step::Respond(_) => "Respond",
    }
}
