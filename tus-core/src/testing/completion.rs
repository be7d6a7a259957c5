//! The loop over the steps of a completion, and what a server does by itself.

use super::{Log, Model, watch::Watch};
use crate::{
    Failure, Rejection, UploadId, Version,
    server::{Assemble, Completion, Done, Recovery, recover},
};

impl Model {
    /// Does what is to be done for an upload that no request asks for. Whether there was anything.
    ///
    /// # Panics
    ///
    /// Where something does not hold that must hold (see the [module](super)).
    pub fn recover(&mut self, id: &UploadId) -> bool {
        self.log = Log::default();
        let Some(stored) = self.uploads.get(id).cloned() else {
            return false;
        };
        let mut watch = Watch::new(&self.uploads);
        watch.owns(&stored.upload);
        match recover(&self.config, stored, self.now) {
            Recovery::Nothing => return false,
            Recovery::Remove(stored) => {
                let works = self.enter("Remove", &mut watch);
                // Where that fails, it is tried again later.
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
                    assemble.done(assembled)
                }
                Completion::Finish(finish) => {
                    let works = self.enter("Finish", watch);
                    watch.finishes(finish.upload());
                    self.finishing.push(finish.upload().id.clone());
                    match works {
                        Ok(()) => {
                            watch.rejects(self.application.reply.is_err());
                            finish.done(self.application.reply.clone())
                        }
                        Err(Failure::Busy) => finish.claimed_elsewhere(),
                        Err(failure) => finish.done(Err(Rejection::forbidden(failure.to_string()))),
                    }
                }
                Completion::Notify(notify) => match self.enter("Notify", watch) {
                    Ok(()) => {
                        watch.finishes(notify.upload());
                        self.notified.push(notify.upload().id.clone());
                        notify.done()
                    }
                    Err(_) => notify.failed(),
                },
                Completion::Record(record) => {
                    let works = self.enter("Record", watch);
                    watch.changes(record.stored(), &self.uploads);
                    let recorded = works.and_then(|()| self.uploads.change(record.stored(), record.change(), &[]));
                    record.done(recorded)
                }
                Completion::Done(done) => return done,
            }
        }
    }

    fn assemble(&mut self, assemble: &Assemble) -> Result<Version, Failure> {
        let mut bytes = Vec::new();
        for part in assemble.parts() {
            assert!(part.upload.is_complete(), "{part:?} is assembled");
            bytes.extend_from_slice(self.uploads.bytes(&part.upload.id).ok_or(Failure::NotFound)?);
        }
        self.uploads.change(assemble.stored(), assemble.change(), &bytes)
    }
}
