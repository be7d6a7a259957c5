//! The moment at which bytes begin to exist.

use crate::{
    Change, Failure, Stored, Version,
    server::{Complete, Step, Terminate, ending::Ending, exchange::Exchange},
};

/// Make the bytes of the body and the change to the record durable: both or neither.
///
/// The storage compares its record with the one from which the body started (or the last checkpoint), and changes
/// nothing if they differ ([`Failure::Conflict`]).
#[must_use]
#[derive(Debug)]
pub struct Commit(Received);

/// A body that has been received. Only [`Receive`](super::Receive) creates one, so nothing is committed that was not
/// received.
#[derive(Debug)]
pub(super) struct Received {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    change: Change,
    ending: Ending,
}

impl Received {
    pub(super) fn new(exchange: Box<Exchange>, stored: Box<Stored>, change: Change, ending: Ending) -> Self {
        Self { exchange, stored, change, ending }
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

    /// Continues when that is done.
    pub fn done(self, committed: Result<Version, Failure>) -> Step {
        let Received { exchange, mut stored, change, ending } = self.0;
        match committed {
            Ok(version) => {
                change.apply(&mut stored.upload);
                stored.version = version;
                Complete::after(exchange, stored, ending)
            }
            // Another request has changed the upload meanwhile, so its client knows it.
            Err(Failure::Conflict) => exchange.refuse(Failure::Conflict),
            // No client knows the upload that was created for these bytes.
            Err(failure) if matches!(ending, Ending::Created { .. }) => {
                Terminate::undo(exchange, stored, failure.into())
            }
            Err(failure) => exchange.refuse(failure),
        }
    }
}
