//! The application's say. Everything that creates, changes, deletes or tells of an upload passes here.

use super::{
    Create, Hold, LoadPartials, Step,
    exchange::{Creation, Exchange},
    hold::Then,
    load::check_partials,
};
use crate::{Kind, Refusal, Rejection, Upload};

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Create an upload (POST); there is none to show yet.
    Create,
    /// Make this partial upload a part of a new final one (POST).
    Concatenate,
    /// Tell where the upload stands (HEAD).
    Inspect,
    /// Add bytes to the upload (PATCH).
    Append,
    /// Fetch the upload's bytes (GET).
    Download,
    /// Delete the upload (DELETE).
    Terminate,
}

/// Ask the application whether this may be done.
#[must_use]
#[derive(Debug)]
pub struct Authorize {
    exchange: Box<Exchange>,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Creation(Creation),
    /// The partial uploads, of which those before `next` have been asked about.
    Partials {
        creation: Creation,
        partials: Vec<Upload>,
        next: usize,
    },
    Existing(Box<Upload>, Then),
    /// There is no such upload, and the client may be told so.
    Absent(Operation, Refusal),
}

impl Authorize {
    pub(super) fn creation(exchange: Box<Exchange>, creation: Creation) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Creation(creation) })
    }

    pub(super) fn partials(exchange: Box<Exchange>, creation: Creation, partials: Vec<Upload>) -> Step {
        Self::next_partial(exchange, creation, partials, 0)
    }

    pub(super) fn absent(exchange: Box<Exchange>, operation: Operation, refusal: Refusal) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Absent(operation, refusal) })
    }

    pub(super) fn existing(exchange: Box<Exchange>, upload: Box<Upload>, then: Then) -> Step {
        Step::Authorize(Self { exchange, asked: Asked::Existing(upload, then) })
    }

    /// What is to be done.
    pub fn operation(&self) -> Operation {
        match &self.asked {
            Asked::Creation(_) => Operation::Create,
            Asked::Partials { .. } => Operation::Concatenate,
            Asked::Existing(_, then) => then.operation(),
            Asked::Absent(operation, _) => *operation,
        }
    }

    /// The upload that it is to be done to; `None` where there is none, yet or any more.
    pub fn upload(&self) -> Option<&Upload> {
        match &self.asked {
            Asked::Creation(_) | Asked::Absent(..) => None,
            Asked::Partials { partials, next, .. } => partials.get(*next),
            Asked::Existing(upload, _) => Some(upload),
        }
    }

    /// Goes on with the application's answer.
    pub fn done(self, answer: Result<(), Rejection>) -> Step {
        let Self { exchange, asked } = self;
        if let Err(rejection) = answer {
            return exchange.refuse(Refusal::Rejected(rejection));
        }
        match asked {
            Asked::Existing(upload, then) => Hold::of(exchange, upload, then),
            Asked::Absent(_, refusal) => exchange.refuse(refusal),
            Asked::Partials { creation, partials, next } => Self::next_partial(exchange, creation, partials, next + 1),
            Asked::Creation(creation) => match &creation.upload.kind {
                Kind::Final(parts) => {
                    let ids = parts.partials.clone();
                    LoadPartials::to_create(exchange, creation, ids)
                }
                Kind::Single | Kind::Partial => Create::of(exchange, creation, Vec::new()),
            },
        }
    }

    /// Asks about each partial upload once, however often it is named.
    fn next_partial(exchange: Box<Exchange>, creation: Creation, partials: Vec<Upload>, from: usize) -> Step {
        let unasked = |at: &usize| !partials[..*at].iter().any(|asked| asked.id == partials[*at].id);
        if let Some(next) = (from..partials.len()).find(unasked) {
            return Step::Authorize(Self { exchange, asked: Asked::Partials { creation, partials, next } });
        }
        match check_partials(&exchange, &partials) {
            Ok(()) => Create::of(exchange, creation, partials),
            Err(refusal) => exchange.refuse(refusal),
        }
    }
}
