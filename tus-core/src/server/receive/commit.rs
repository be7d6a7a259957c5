//! The moment at which bytes begin to exist.

use std::time::SystemTime;

use crate::{
    Change, Checksum, Failure, Phase, Stored, Version,
    server::{Complete, Completion, Step, Terminate, ending::Ending, exchange::Exchange},
};

/// Make the bytes of the body and the change to the record durable: both or neither.
///
/// The storage compares its record with the one from which the body (or the last checkpoint) started, and changes
/// nothing if they differ ([`Failure::Conflict`]).
#[must_use]
#[derive(Debug)]
pub struct Commit(Received);

/// A body that has been received. Only [`Receive`](super::Receive) creates one, so only received bytes are committed.
#[derive(Debug)]
pub(super) struct Received {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    change: Change,
    after: After,
    now: SystemTime,
}

impl Received {
    pub(super) fn new(
        exchange: Box<Exchange>,
        stored: Box<Stored>,
        change: Change,
        after: After,
        now: SystemTime,
    ) -> Self {
        Self { exchange, stored, change, after, now }
    }
}

/// What follows the commit of a body.
#[derive(Debug)]
pub(super) struct After {
    pub(super) ending: Ending,
    /// The digest of the complete upload, which has yet to be verified.
    pub(super) repr_digest: Option<Checksum>,
}

impl After {
    pub(super) fn follow(self, exchange: Box<Exchange>, stored: Box<Stored>, now: SystemTime) -> Step {
        match self.repr_digest {
            Some(repr_digest) => {
                let completion = Completion::of_unverified(&exchange.config, now, stored, repr_digest);
                Complete::of(exchange, completion, self.ending)
            }
            None => Complete::after(exchange, stored, self.ending),
        }
    }
}

impl Commit {
    pub(super) fn of(received: Received) -> Self {
        Self(received)
    }

    /// The upload as it was when the body began.
    pub fn stored(&self) -> &Stored {
        &self.0.stored
    }

    /// The change to its record.
    pub fn change(&self) -> &Change {
        &self.0.change
    }

    /// Continues when the bytes are committed.
    pub fn done(self, committed: Result<Version, Failure>) -> Step {
        let Received { mut exchange, mut stored, change, after, now } = self.0;
        match committed {
            Ok(version) => {
                change.apply(&mut stored.upload);
                stored.version = version;
                exchange.at = Some(change.offset).filter(|_| change.phase != Phase::Invalid);
                after.follow(exchange, stored, now)
            }
            // Another request has changed the upload, so its client knows about it.
            Err(Failure::Conflict) => exchange.refuse(Failure::Conflict),
            // No client knows the upload that was created for these bytes.
            Err(failure) if matches!(after.ending, Ending::Created { .. }) && !exchange.informed => {
                Terminate::undo(exchange, stored, failure.into())
            }
            Err(failure) => exchange.refuse(failure),
        }
    }
}
