//! An upload got more bytes than its length: it can never be complete.

use super::{Refusal, Step, exchange::Exchange};
use crate::{Change, Failure, Phase, Stored};

/// Make an upload [invalid](Phase::Invalid), since it got more bytes than its length. This incarnation becomes invalid,
/// whatever its version is by now; its other fields stay as they are.
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

    /// The change to its record, as that is now; `None` where another request was faster, and nothing is to be done.
    pub fn change(&self, now: &Stored) -> Option<Change> {
        let is_due = now.is_same_upload(&self.stored.upload) && now.upload.phase == Phase::Receiving;
        is_due.then(|| {
            let mut change = Change::of(&now.upload);
            change.phase = Phase::Invalid;
            change
        })
    }

    /// Continues when that is done.
    pub fn done(self, invalidated: Result<(), Failure>) -> Step {
        let Self { exchange, refusal, .. } = self;
        match invalidated {
            Ok(()) | Err(Failure::NotFound) => exchange.refuse(refusal),
            Err(failure) => exchange.refuse(failure),
        }
    }
}
