//! An upload got more bytes than its length: it can never be complete.

use super::{Refusal, Step, exchange::Exchange};
use crate::{Change, Failure, Phase, Stored};

/// Make an upload [invalid](Phase::Invalid) because it got more bytes than its length. This incarnation becomes
/// invalid, whatever its version is by then; its other fields stay as they are.
#[must_use]
#[derive(Debug)]
pub struct Invalidate {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    refusal: Refusal,
}

impl Invalidate {
    pub(super) fn of(exchange: Box<Exchange>, stored: Box<Stored>, refusal: Refusal) -> Step {
        Step::Invalidate(Self { exchange, stored, refusal })
    }

    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The change to its current record; `None` if another request was faster and nothing remains to be done.
    pub fn change(&self, now: &Stored) -> Option<Change> {
        let is_due = now.is_same_upload(&self.stored.upload) && now.upload.phase == Phase::Receiving;
        is_due.then(|| {
            let mut change = Change::of(&now.upload);
            change.phase = Phase::Invalid;
            change
        })
    }

    /// Continues when the change has been made.
    pub fn done(self, invalidated: Result<(), Failure>) -> Step {
        let Self { exchange, refusal, .. } = self;
        match invalidated {
            Ok(()) | Err(Failure::NotFound) => exchange.refuse(refusal),
            Err(failure) => exchange.refuse(failure),
        }
    }
}
