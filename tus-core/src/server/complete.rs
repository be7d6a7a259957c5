//! The completion of an upload by a request, and the response.

use super::{
    Completion, Refusal, Step, Terminate, Wake, completion, ending::Ending, exchange::Exchange, outcome::Outcome,
    resource,
};
use crate::{Failure, Kind, Phase, Stored};

/// Complete an upload by the steps of its [`Completion`]. The client waits for the response.
#[must_use]
#[derive(Debug)]
pub struct Complete {
    completion: Completion,
    completing: Completing,
}

/// The exchange that waits for a completion.
#[must_use]
#[derive(Debug)]
pub struct Completing {
    exchange: Box<Exchange>,
    ending: Ending,
}

impl Complete {
    pub(super) fn of(exchange: Box<Exchange>, completion: Completion, ending: Ending) -> Step {
        Step::Complete(Self { completion, completing: Completing { exchange, ending } })
    }

    /// What follows when an upload's record has been stored: its completion, if all bytes have been received.
    pub(super) fn after(exchange: Box<Exchange>, stored: Box<Stored>, ending: Ending) -> Step {
        match (stored.upload.phase, &stored.upload.kind) {
            (Phase::Complete | Phase::Notified, _) if stored.upload.is_at_resource() => {
                resource::complete(exchange, stored, ending)
            }
            // "The Server SHOULD NOT process these partial uploads until they are concatenated to form a
            // final upload."
            (Phase::Complete, Kind::Partial) => Wake::finals_of(exchange, stored, ending),
            (Phase::Complete, _) if exchange.config.notifies() => {
                let completion = Completion::of_complete(stored);
                Self::of(exchange, completion, ending)
            }
            // Another request received its bytes, and could not assemble it yet.
            (Phase::Assembling, Kind::Single | Kind::Partial) => {
                let completion = Completion::of_due(&exchange.config, exchange.now, stored);
                Self::of(exchange, completion, ending)
            }
            _ => exchange.respond(ending.outcome(&stored.upload)),
        }
    }

    /// The first step of the completion, and the exchange that continues afterwards.
    pub fn begin(self) -> (Completion, Completing) {
        (self.completion, self.completing)
    }
}

impl Completing {
    /// Continues when the completion is done.
    pub fn done(self, done: completion::Done) -> Step {
        let Self { mut exchange, ending } = self;
        let (stored, result) = done.into_parts();
        exchange.expires = stored.upload.expires;
        // The response does not show an upload that can never be complete.
        exchange.at = Some(stored.upload.offset).filter(|_| stored.upload.phase != Phase::Invalid);
        match result {
            Ok(_) if stored.upload.is_at_resource() && stored.upload.is_complete() => {
                resource::complete(exchange, stored, ending)
            }
            Ok(_) if stored.upload.kind == Kind::Partial && stored.upload.is_complete() => {
                Wake::finals_of(exchange, stored, ending)
            }
            // Another process is calling the hook whose answer the client should get. The client may try again.
            Ok(None) if exchange.needs_reply() && !exchange.config.has_responded(&stored.upload) => {
                exchange.refuse(Failure::Busy)
            }
            Ok(reply) => exchange.respond_with(ending.outcome(&stored.upload), reply.unwrap_or_default()),
            Err(Refusal::Rejected(rejection)) => {
                // The upload exists nevertheless, and its client may try again.
                let rejection = match ending {
                    Ending::Created { .. } => rejection.located(exchange.endpoint.url(&stored.upload.id)),
                    _ => rejection,
                };
                exchange.respond(Outcome::Declined(&stored.upload, rejection))
            }
            // No client knows the final upload that was created for these parts.
            Err(refusal)
                if matches!(stored.upload.kind, Kind::Final(_)) && matches!(ending, Ending::Created { .. }) =>
            {
                Terminate::undo(exchange, stored, refusal)
            }
            Err(refusal) => exchange.refuse(refusal),
        }
    }
}
