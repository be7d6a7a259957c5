//! Downloads: the bytes of a finished upload are the body of the response. This needs no lock, since the upload no
//! longer changes.

use std::ops::Range;

use http::Response;

use super::{
    Refusal, Step,
    dialect::file::{Conditions, Wanted},
    exchange::Exchange,
    outcome::Outcome,
};
use crate::{Failure, Kind, Phase, Stored};

/// Open the upload's bytes, which the application may have moved away by now.
///
/// They are opened for every download, also where the response has none of them: "A server MUST ignore all received
/// preconditions if its response to the same request without those conditions, prior to processing the request content,
/// would have been a status code other than a 2xx (Successful) or 412" (RFC 9110, 13.2.1), and HEAD is answered as GET.
#[must_use]
#[derive(Debug)]
pub struct Open {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    reply: Reply,
}

/// The response if the bytes are there.
#[derive(Debug)]
enum Reply {
    All,
    Part(Range<u64>),
    /// A head without bytes.
    Head,
    NotModified,
    Unsatisfiable,
}

/// What follows when the bytes of an upload are opened.
#[must_use]
#[derive(Debug)]
pub enum Opened {
    /// Send this response with the bytes as its body; the exchange is over.
    Bytes(Response<()>),
    /// None of the bytes are sent.
    Step(Box<Step>),
}

impl Open {
    pub(super) fn of(exchange: Box<Exchange>, stored: Box<Stored>, conditions: &Conditions) -> Step {
        let upload = &stored.upload;
        // An upload whose bytes are complete may still be refused by the application, in another process perhaps.
        if upload.phase != Phase::Notified || upload.kind == Kind::Partial {
            return exchange.refuse(Refusal::NotFinished);
        }
        let reply = if conditions.has_it(upload) {
            Reply::NotModified
        } else if conditions.is_head() {
            Reply::Head
        } else {
            match conditions.wanted(upload) {
                Wanted::All => Reply::All,
                Wanted::Part(range) => Reply::Part(range),
                Wanted::Nothing => Reply::Unsatisfiable,
            }
        };
        Step::Open(Self { exchange, stored, reply })
    }

    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The bytes to open, from the start of the upload: those that are sent, or else the first one, which shows whether
    /// they are there.
    pub fn range(&self) -> Range<u64> {
        let length = self.stored.upload.offset;
        match &self.reply {
            Reply::All => 0..length,
            Reply::Part(range) => range.clone(),
            Reply::Head | Reply::NotModified | Reply::Unsatisfiable => 0..length.min(1),
        }
    }

    /// Continues when the bytes are opened.
    pub fn done(self) -> Opened {
        let Self { exchange, stored, reply } = self;
        let upload = &stored.upload;
        let part = match reply {
            Reply::All => None,
            Reply::Part(range) => Some(range),
            Reply::Head => return Opened::Step(Box::new(exchange.respond(Outcome::Downloaded(upload, None)))),
            Reply::NotModified => return Opened::Step(Box::new(exchange.respond(Outcome::NotModified(upload)))),
            Reply::Unsatisfiable => {
                let refusal = Refusal::RangeNotSatisfiable { length: upload.offset };
                return Opened::Step(Box::new(exchange.refuse(refusal)));
            }
        };
        Opened::Bytes(exchange.response(Outcome::Downloaded(upload, part)).map(drop))
    }

    /// Continues where the bytes cannot be opened.
    pub fn failed(self, failure: Failure) -> Step {
        self.exchange.refuse(failure)
    }
}
