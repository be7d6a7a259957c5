//! The loop over the steps of a completion, and the server's background work.

use std::time::Duration;

use super::{Log, Model, watch::Watch};
use crate::{
    Failure, Rejection, UploadId, Version,
    server::{Assemble, Completion, Done, Notify, Recovery, recover},
};

/// When a server would look at an upload again.
const SOON: Duration = Duration::from_secs(60);

impl Model {
    /// Does the background work for an upload. Returns whether there was any.
    ///
    /// # Panics
    ///
    /// If an invariant is violated (see the [module](super)).
    pub fn recover(&mut self, id: &UploadId) -> bool {
        self.log = Log::default();
        let Some(stored) = self.uploads.get(id).cloned() else {
            return false;
        };
        let mut watch = Watch::new(&self.uploads);
        watch.owns(&stored.upload);
        let mut recovery = recover(&self.config, stored, self.now, self.now + SOON);
        let done = loop {
            recovery = match recovery {
                Recovery::LoadFinals(load) => {
                    let works = self.enter("LoadFinals", &mut watch);
                    let ids = self.uploads.waiting_for(load.part());
                    let finals = self.uploads.get_all(&ids).into_iter().flatten().collect();
                    works.map_or(Recovery::Nothing, |()| load.done(finals))
                }
                Recovery::LoadParts(load) => {
                    let works = self.enter("LoadParts", &mut watch);
                    watch.loads(load.ids());
                    let found = self.uploads.get_all(load.ids());
                    works.map_or(Recovery::Nothing, |()| load.done(found))
                }
                done => break done,
            };
        };
        match done {
            Recovery::Nothing | Recovery::LoadFinals(_) | Recovery::LoadParts(_) => return false,
            Recovery::Keep(keep) => {
                let works = self.enter("Keep", &mut watch);
                watch.changes(keep.stored(), &self.uploads);
                let _ = works.and_then(|()| self.uploads.change(keep.stored(), keep.change(), &[]));
            }
            Recovery::Remove(stored) => {
                let works = self.enter("Remove", &mut watch);
                // If this fails, it is tried again later.
                let _ = works.and_then(|()| self.uploads.remove_exactly(&stored));
            }
            Recovery::Complete(completion) => drop(self.complete(completion, &mut watch)),
        }
        self.trouble.end();
        watch.end(&self.uploads);
        true
    }

    pub(super) fn complete(&mut self, mut completion: Completion, watch: &mut Watch) -> Done {
        loop {
            completion = match completion {
                Completion::LoadParts(needed) => {
                    let works = self.enter("LoadParts", watch);
                    watch.loads(needed.ids());
                    self.log.loaded.push(needed.ids().to_vec());
                    let found = self.uploads.get_all(needed.ids());
                    needed.done(works.map(|()| found))
                }
                Completion::Assemble(assemble) => {
                    let works = self.enter("Assemble", watch);
                    watch.changes(assemble.stored(), &self.uploads);
                    let assembled = works.and_then(|()| self.assemble(&assemble));
                    if assembled.is_ok() {
                        for (part, change) in assemble.release() {
                            watch.releases(&part);
                            let _ = self.uploads.change(&part, &change, &[]);
                        }
                    }
                    assemble.done(assembled)
                }
                Completion::Verify(mut verify) => {
                    let works = self.enter("Verify", watch);
                    watch.changes(verify.stored(), &self.uploads);
                    let bytes = self.uploads.bytes(&verify.stored().upload.id).unwrap_or_default();
                    bytes.chunks(3).for_each(|piece| verify.data(piece));
                    verify.done(works)
                }
                Completion::Finish(finish) => {
                    let works = self.enter("Finish", watch);
                    watch.finishes(&finish.stored().upload);
                    self.finishing.push(finish.stored().upload.id.clone());
                    match works {
                        Ok(()) => {
                            watch.rejects(self.application.reply.is_err());
                            finish.done(self.application.reply.clone())
                        }
                        Err(Failure::Busy) => finish.claimed_elsewhere(),
                        Err(failure) => finish.done(Err(Rejection::forbidden(failure.to_string()))),
                    }
                }
                Completion::Record(record) => {
                    let works = self.enter("Record", watch);
                    watch.changes(record.stored(), &self.uploads);
                    let recorded = works.and_then(|()| self.uploads.change(record.stored(), record.change(), &[]));
                    record.done(recorded)
                }
                Completion::Done(done) => {
                    if let Some(notify) = done.notify() {
                        self.notify(&notify, watch);
                    }
                    return done;
                }
            }
        }
    }

    /// The job beside the response. If it fails, the upload stays due.
    fn notify(&mut self, notify: &Notify, watch: &mut Watch) {
        if self.enter("Notify", watch).is_err() {
            return;
        }
        watch.finishes(&notify.stored().upload);
        self.notified.push(notify.stored().upload.id.clone());
        if self.enter("Record", watch).is_ok() {
            watch.changes(notify.stored(), &self.uploads);
            let change = notify.change(&self.config, self.now);
            let _ = self.uploads.change(notify.stored(), &change, &[]);
        }
    }

    fn assemble(&mut self, assemble: &Assemble) -> Result<Version, Failure> {
        let mut bytes = Vec::new();
        for part in assemble.parts() {
            assert!(part.upload.is_complete(), "{part:?} is assembled");
            let there = self.uploads.get(&part.upload.id).filter(|there| there.is_same_upload(&part.upload));
            there.ok_or(Failure::NotFound)?;
            bytes.extend_from_slice(self.uploads.bytes(&part.upload.id).ok_or(Failure::NotFound)?);
        }
        self.uploads.change(assemble.stored(), assemble.change(), &bytes)
    }
}
