//! An upload goes away: because a client asked, or because creating it came to nothing.

use super::{Step, Stored, exchange::Exchange, tus::Outcome};
use crate::{Failure, Refusal, Upload};

/// Delete an upload: its record and its bytes.
#[must_use]
#[derive(Debug)]
pub struct Terminate {
    exchange: Box<Exchange>,
    upload: Upload,
    undo: Option<Refusal>,
}

impl Terminate {
    pub(super) fn asked(exchange: Box<Exchange>, upload: Upload) -> Step {
        Step::Terminate(Self { exchange, upload, undo: None })
    }

    pub(super) fn undo(exchange: Box<Exchange>, upload: Upload, why: Refusal) -> Step {
        Step::Terminate(Self { exchange, upload, undo: Some(why) })
    }

    /// The upload to delete.
    pub fn upload(&self) -> &Upload {
        &self.upload
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
