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

/// Send the response with bytes of the upload as its body; the exchange is over.
#[must_use]
#[derive(Debug)]
pub struct Deliver {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    range: Range<u64>,
    /// Whether the client asked for a range, even if it covers all bytes.
    is_part: bool,
}

impl Deliver {
    pub(super) fn of(exchange: Box<Exchange>, stored: Box<Stored>, conditions: &Conditions) -> Step {
        let upload = &stored.upload;
        // An upload whose bytes are complete may still be refused by the application, in another process perhaps.
        if upload.phase != Phase::Notified || upload.kind == Kind::Partial {
            return exchange.refuse(Refusal::NotFinished);
        }
        if conditions.has_it(upload) {
            return exchange.respond(Outcome::NotModified(upload));
        }
        if conditions.is_head() {
            return exchange.respond(Outcome::Delivered(upload, None));
        }
        let (range, is_part) = match conditions.wanted(upload) {
            Wanted::All => (0..upload.offset, false),
            Wanted::Part(range) => (range, true),
            Wanted::Nothing => return exchange.refuse(Refusal::RangeNotSatisfiable { length: upload.offset }),
        };
        Step::Deliver(Self { exchange, stored, range, is_part })
    }

    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The bytes to send, from the start of the upload.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The response, whose body will be the bytes.
    pub fn response(self) -> Response<()> {
        let Self { exchange, stored, range, is_part } = self;
        let part = is_part.then_some(range);
        exchange.response(Outcome::Delivered(&stored.upload, part)).map(drop)
    }

    /// Continues where the bytes cannot be read.
    pub fn failed(self, failure: Failure) -> Step {
        self.exchange.refuse(failure)
    }
}
