//! Deletes an upload because a client asked for it or because its creation failed.

use super::{Refusal, Rejection, Step, exchange::Exchange, outcome::Outcome};
use crate::{Failure, Stored, Upload};

/// Ask the application whether a client may delete an upload.
#[must_use]
#[derive(Debug)]
pub struct Veto {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
}

impl Veto {
    pub(super) fn of(exchange: Box<Exchange>, stored: Box<Stored>) -> Step {
        Step::Veto(Self { exchange, stored })
    }

    /// The upload to delete.
    pub fn upload(&self) -> &Upload {
        &self.stored.upload
    }

    /// Continues with the application's decision.
    pub fn done(self, answer: Result<(), Rejection>) -> Step {
        let Self { exchange, stored } = self;
        match answer {
            Ok(()) => Step::Terminate(Terminate { exchange, stored, undo: None }),
            Err(rejection) => exchange.refuse(Refusal::Rejected(rejection)),
        }
    }
}

/// Delete an upload: its record and its bytes.
///
/// For a client's request, this incarnation is deleted, whatever its version is by then. An
/// [undo](Terminate::is_undo) deletes only the last version that this request made, because another process may have
/// acknowledged bytes since.
#[must_use]
#[derive(Debug)]
pub struct Terminate {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    undo: Option<Refusal>,
}

impl Terminate {
    pub(super) fn undo(exchange: Box<Exchange>, stored: Box<Stored>, why: Refusal) -> Step {
        Step::Terminate(Self { exchange, stored, undo: Some(why) })
    }

    /// The upload to delete.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Whether it was created by this request, which failed.
    pub fn is_undo(&self) -> bool {
        self.undo.is_some()
    }

    /// Continues when the upload is deleted.
    pub fn done(self, removed: Result<(), Failure>) -> Step {
        let Self { exchange, undo, .. } = self;
        match (undo, removed) {
            (Some(refusal), _) => exchange.refuse(refusal),
            (None, Ok(()) | Err(Failure::NotFound)) => exchange.respond(Outcome::Terminated),
            (None, Err(failure)) => exchange.refuse(failure),
        }
    }
}
