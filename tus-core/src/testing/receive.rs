//! The body of a request on its way to the storage.

use super::{Body, Model, Uploads};
use crate::{
    Change, Failure, Stored, Upload, Version,
    server::{End, Ended, Interruption, Receive},
};

impl Model {
    pub(super) fn receive(&mut self, mut receive: Receive, body: Body, appending: &mut Appending) -> Ended {
        let began = appending.upload().offset;
        let mut last = Change::of(appending.upload());
        assert_eq!(receive.checkpoint(self.now), last, "nothing has come that could count");
        for piece in body.pieces {
            receive = match receive.data(&piece) {
                Ok(receive) => receive,
                Err(step) => return Ended::Step(step),
            };
            appending.bytes.extend(piece);
            assert_eq!(receive.progress().offset, appending.upload().offset + appending.bytes.len() as u64);
            let checkpoint = receive.checkpoint(self.now);
            assert!(checkpoint.offset >= last.offset, "what may be committed never becomes less");
            assert_eq!(checkpoint.phase, last.phase, "a checkpoint never completes an upload");
            last = checkpoint;
            self.log.checkpoints.push(last.offset);
            // After the last commit nothing remains to be done.
            if self.commits_checkpoints
                && last.offset > appending.upload().offset
                && let Err(failure) = appending.commit(&last, &mut self.uploads)
            {
                let stored = appending.upload().offset - began;
                return receive.end(End::Interrupted(Interruption::Failed { failure, stored }), self.now);
            }
            if self.informs && appending.upload().offset == last.offset {
                self.log.informed.extend(receive.interim(last.offset));
            }
        }
        let mut end = body.end;
        if let End::Interrupted(Interruption::Failed { stored, .. }) = &mut end {
            // Committed bytes were stored before.
            *stored = (*stored).max(appending.upload().offset - began);
        }
        receive.end(end, self.now)
    }
}

/// An upload that bytes are added to: its committed state, and the bytes since.
pub(super) struct Appending {
    committed: Stored,
    bytes: Vec<u8>,
}

impl Appending {
    pub(super) fn new(stored: &Stored) -> Self {
        Self { committed: stored.clone(), bytes: Vec::new() }
    }

    /// The upload as last committed.
    pub(super) fn upload(&self) -> &Upload {
        &self.committed.upload
    }

    pub(super) fn commit(&mut self, change: &Change, uploads: &mut Uploads) -> Result<Version, Failure> {
        let more = change.offset.checked_sub(self.upload().offset).expect("an offset never goes back");
        let more = usize::try_from(more).ok().filter(|more| *more <= self.bytes.len());
        let more = more.expect("no more is committed than came");
        let version = uploads.change(&self.committed, change, &self.bytes[..more])?;
        self.bytes.drain(..more);
        self.committed = self.committed.clone().changed(change, version.clone());
        Ok(version)
    }
}
