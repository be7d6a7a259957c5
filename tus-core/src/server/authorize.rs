//! The application's authorization policy. Every operation that creates, changes, deletes or shows an upload passes
//! through this module.

use super::{
    CountPending, Create, Hold, LoadParts, Operation, Refusal, Rejection, Step,
    ask::{Action, Creation},
    concatenation::Parts,
    dialect::speech::Speech,
    exchange::Exchange,
};
use crate::{Kind, Stored, Upload};

/// Ask the application whether this operation is allowed.
#[must_use]
#[derive(Debug)]
pub struct Authorize {
    exchange: Box<Exchange>,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Creation(Creation),
    /// The partial uploads that a final upload names. Those before `next` are authorized already.
    Parts {
        creation: Creation,
        parts: Parts,
        next: usize,
    },
    /// With the dialect of the response, which only an authorized client may learn.
    Existing(Box<Stored>, Action, Speech),
    /// The upload has expired or is invalid, likewise.
    Unusable(Box<Stored>, Operation, Speech, Refusal),
    /// There is no such upload, likewise.
    Absent(Operation),
}

impl Authorize {
    pub(super) fn creation(exchange: Box<Exchange>, creation: Creation) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Creation(creation) })
    }

    /// The application is asked about each part once, whether it exists or not, before the response reveals anything
    /// about any of them.
    pub(super) fn parts(exchange: Box<Exchange>, creation: Creation, parts: Parts) -> Step {
        Self::part(exchange, creation, parts, 0)
    }

    pub(super) fn absent(exchange: Box<Exchange>, operation: Operation) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Absent(operation) })
    }

    pub(super) fn unusable(
        exchange: Box<Exchange>,
        stored: Box<Stored>,
        operation: Operation,
        speech: Speech,
        refusal: Refusal,
    ) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Unusable(stored, operation, speech, refusal) })
    }

    pub(super) fn existing(exchange: Box<Exchange>, stored: Box<Stored>, action: Action, speech: Speech) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Existing(stored, action, speech) })
    }

    /// The operation to authorize.
    pub fn operation(&self) -> Operation {
        match &self.asked {
            Asked::Creation(_) => Operation::Create,
            Asked::Parts { .. } => Operation::Concatenate,
            Asked::Existing(_, action, _) => action.operation(),
            Asked::Unusable(_, operation, ..) | Asked::Absent(operation) => *operation,
        }
    }

    /// The upload that the operation is for, even if it has expired or can never be complete; `None` if it does not
    /// exist.
    pub fn upload(&self) -> Option<&Upload> {
        match &self.asked {
            Asked::Creation(_) | Asked::Absent(_) => None,
            Asked::Parts { parts, next, .. } => parts.upload(*next),
            Asked::Existing(stored, ..) | Asked::Unusable(stored, ..) => Some(&stored.upload),
        }
    }

    /// Continues with the application's decision.
    pub fn done(self, answer: Result<(), Rejection>) -> Step {
        let Self { mut exchange, asked } = self;
        if let Err(rejection) = answer {
            return exchange.refuse(Refusal::Rejected(rejection));
        }
        match asked {
            Asked::Existing(stored, action, speech) => {
                exchange.speech = speech;
                Hold::of(exchange, stored, action)
            }
            Asked::Unusable(_, _, speech, refusal) => {
                exchange.speech = speech;
                exchange.refuse(refusal)
            }
            Asked::Absent(_) => exchange.refuse(Refusal::NotFound),
            Asked::Parts { creation, parts, next } => Self::part(exchange, creation, parts, next + 1),
            Asked::Creation(creation) => match creation.upload.kind() {
                Kind::Final(_) => LoadParts::to_create(exchange, creation),
                Kind::Single | Kind::Partial => Create::of(exchange, creation, Vec::new()),
            },
        }
    }

    /// Continues if the upload belongs to somebody else: for this client, it does not exist.
    pub fn not_theirs(self) -> Step {
        self.exchange.refuse(Refusal::NotFound)
    }

    fn part(exchange: Box<Exchange>, mut creation: Creation, parts: Parts, next: usize) -> Step {
        if next < parts.count() {
            return Step::Authorize(Self { exchange, asked: Asked::Parts { creation, parts, next } });
        }
        match parts.check(&exchange, &creation.named) {
            Ok(parts) => {
                // These incarnations were authorized, not later uploads with their ids.
                creation.upload.set_parts(parts.iter().map(|part| (&part.upload).into()).collect());
                CountPending::of(exchange, creation, parts)
            }
            Err(refusal) => exchange.refuse(refusal),
        }
    }
}
