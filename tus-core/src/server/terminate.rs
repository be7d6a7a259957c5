//! An upload goes away: because a client asked, or because creating it came to nothing.

use super::{Step, Stored, exchange::Exchange, tus::Outcome};
use crate::{Failure, Refusal, Rejection, Upload};

/// Delete an upload: its record and its bytes.
#[must_use]
#[derive(Debug)]
pub struct Terminate {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    undo: Option<Refusal>,
}

impl Terminate {
    pub(super) fn asked(exchange: Box<Exchange>, upload: Box<Upload>) -> Step {
        Step::Terminate(Self { exchange, upload, undo: None })
    }

    pub(super) fn undo(exchange: Box<Exchange>, upload: Box<Upload>, why: Refusal) -> Step {
        Step::Terminate(Self { exchange, upload, undo: Some(why) })
    }

    /// The upload to delete.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Whether a client asked for it, so that the application may object.
    pub fn is_asked(&self) -> bool {
        self.undo.is_none()
    }

    /// Goes on with the application's objection: the upload stays.
    pub fn rejected(self, rejection: Rejection) -> Step {
        self.exchange.refuse(Refusal::Rejected(rejection))
    }

    /// Goes on when that is done.
    pub fn done(self, removed: Stored) -> Step {
        let Self { exchange, undo, .. } = self;
        match (undo, removed) {
            (Some(refusal), _) => exchange.refuse(refusal),
            (None, Ok(()) | Err(Failure::NotFound)) => exchange.respond(Outcome::Terminated),
            (None, Err(failure)) => exchange.refuse(failure.into()),
        }
    }
}
