//! The moment at which bytes begin to exist.

use super::{Finish, Step, Stored, Terminate, exchange::Exchange, finish::Ending};
use crate::Upload;

/// Make the bytes of the body and the record durable: both or neither.
///
/// The storage compares the offset that it has to the one at which the body began (or the last
/// checkpoint), and changes nothing where they differ ([`Failure::Conflict`](crate::Failure::Conflict)).
#[must_use]
#[derive(Debug)]
pub struct Commit {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    ending: Ending,
}

impl Commit {
    pub(super) fn of(exchange: Box<Exchange>, upload: Box<Upload>, ending: Ending) -> Step {
        Step::Commit(Self { exchange, upload, ending })
    }

    /// The record as it is to be.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Goes on when that is done.
    pub fn done(self, stored: Stored) -> Step {
        match (stored, self.ending) {
            (Ok(()), ending) => Finish::after(self.exchange, self.upload, ending),
            // No client knows of an upload that was created for these bytes.
            (Err(failure), Ending::Created { .. }) => Terminate::undo(self.exchange, self.upload, failure.into()),
            (Err(failure), _) => self.exchange.refuse(failure.into()),
        }
    }
}
