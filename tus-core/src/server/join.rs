//! A final upload gets the bytes of its parts.

use super::{Finish, Step, Stored, Terminate, exchange::Exchange, finish::Ending, load::total_length};
use crate::{Failure, Refusal, Upload};

/// Make a final upload of its parts.
///
/// This may take long. Until it is done the upload is seen without an offset (tus 1.0.0,
/// "Concatenation").
#[must_use]
#[derive(Debug)]
pub struct Join {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    partials: Vec<Upload>,
    /// Whether this exchange created the upload, and its client waits.
    created: bool,
}

impl Join {
    pub(super) fn of(exchange: Box<Exchange>, mut upload: Box<Upload>, partials: Vec<Upload>, created: bool) -> Step {
        let total = match fitting_length(&upload, &partials) {
            Ok(total) => total,
            Err(refusal) => return failed(exchange, upload, created, refusal),
        };
        upload.expires = exchange.expiry(&upload.kind, true, exchange.now);
        upload.offset = total;
        upload.length = Some(total);
        Step::Join(Self { exchange, upload, partials, created })
    }

    /// The record of the final upload as it is to be, with all bytes.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Its parts, all complete, in their order; one may be there several times.
    pub fn partials(&self) -> &[Upload] {
        &self.partials
    }

    /// Goes on when that is done.
    pub fn done(self, stored: Stored) -> Step {
        let Self { exchange, upload, created, .. } = self;
        let ending = if created { Ending::Created { with_body: false } } else { Ending::Silence };
        match stored {
            Ok(()) => Finish::after(exchange, upload, ending),
            // Another process takes up what is due, and was faster.
            Err(Failure::Conflict | Failure::Busy) => exchange.respond(ending.outcome(&upload)),
            Err(failure) => failed(exchange, upload, created, failure.into()),
        }
    }
}

/// Nobody else knows of an upload that was created for this; one that waited for its parts goes on
/// waiting until it expires.
fn failed(exchange: Box<Exchange>, upload: Box<Upload>, created: bool, refusal: Refusal) -> Step {
    if created {
        return Terminate::undo(exchange, upload, refusal);
    }
    exchange.refuse(refusal)
}

/// The length of parts that are complete; they may have outgrown the limit while they were on their way.
fn fitting_length(upload: &Upload, partials: &[Upload]) -> Result<u64, Refusal> {
    let total = total_length(partials)?.unwrap_or(0);
    match upload.max_size {
        Some(limit) if total > limit => Err(Refusal::TooLarge { limit }),
        _ => Ok(total),
    }
}
