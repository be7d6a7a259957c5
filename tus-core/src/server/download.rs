//! Downloads: the body of the response is a finished upload. This needs no lock, because the upload no longer
//! changes.

use std::ops::Range;

use http::Response;

use super::{
    Refusal, Step,
    dialect::file::{Conditions, Wanted},
    exchange::Exchange,
    outcome::Outcome,
};
use crate::{Failure, Kind, Phase, Stored};

/// Open the upload's bytes. The application may have moved them away.
///
/// They are opened for every download, even if the response contains none of them: "A server MUST ignore all received
/// preconditions if its response to the same request without those conditions, prior to processing the request
/// content, would have been a status code other than a 2xx (Successful) or 412" (RFC 9110, 13.2.1), and HEAD is
/// answered as GET.
#[must_use]
#[derive(Debug)]
pub struct Open {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    reply: Reply,
}

/// The response if the bytes exist.
#[derive(Debug)]
enum Reply {
    All,
    Part(Range<u64>),
    /// A head without bytes.
    Head,
    NotModified,
    AnotherFile,
    Unsatisfiable,
}

/// What follows when the bytes of an upload are opened.
#[must_use]
#[derive(Debug)]
pub enum Opened {
    /// Send this response with the bytes as its body. The exchange is over.
    Bytes(Response<()>),
    /// Send none of the bytes.
    Step(Box<Step>),
}

impl Open {
    pub(super) fn of(exchange: Box<Exchange>, stored: Box<Stored>, conditions: &Conditions) -> Step {
        let upload = &stored.upload;
        // The application may still reject an upload that has received all bytes, possibly in another process.
        if upload.phase != Phase::Notified || upload.kind == Kind::Partial {
            return exchange.refuse(Refusal::NotFinished);
        }
        let reply = if conditions.excludes(upload) {
            Reply::AnotherFile
        } else if conditions.has_it(upload) {
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

    /// The bytes to open, counted from the start of the upload: those to send, or else the first one, which shows
    /// whether the bytes exist.
    pub fn range(&self) -> Range<u64> {
        let length = self.stored.upload.offset;
        match &self.reply {
            Reply::All => 0..length,
            Reply::Part(range) => range.clone(),
            Reply::Head | Reply::NotModified | Reply::AnotherFile | Reply::Unsatisfiable => 0..length.min(1),
        }
    }

    /// Continues when the bytes are open.
    pub fn done(self) -> Opened {
        let Self { exchange, stored, reply } = self;
        let upload = &stored.upload;
        let part = match reply {
            Reply::All => None,
            Reply::Part(range) => Some(range),
            Reply::Head => return Opened::Step(Box::new(exchange.respond(Outcome::Downloaded(upload, None)))),
            Reply::NotModified => return Opened::Step(Box::new(exchange.respond(Outcome::NotModified(upload)))),
            Reply::AnotherFile => return Opened::Step(Box::new(exchange.refuse(Refusal::AnotherFile))),
            Reply::Unsatisfiable => {
                let refusal = Refusal::RangeNotSatisfiable { length: upload.offset };
                return Opened::Step(Box::new(exchange.refuse(refusal)));
            }
        };
        Opened::Bytes(exchange.response(Outcome::Downloaded(upload, part)).map(drop))
    }

    /// Continues if the bytes cannot be opened.
    pub fn failed(self, failure: Failure) -> Step {
        self.exchange.refuse(failure)
    }
}
