//! Uploads at a resource of the application. Their URL is that of the resource with a query that identifies the
//! upload, and the resource's handler responds when an upload is complete. Until then, the handler does not know
//! about it.
//!
//! ```text
//! Claim → Call → KeepResponse → Relay
//! ```
//!
//! The record stores the request that created the upload. The handler gets that request with the complete content
//! while a client waits for the response: a client that has completed the upload, or one that asks again because the
//! response was lost, or was never made because the server was killed. The handler is therefore called at least once,
//! and because of the claim, never twice at the same time.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{Refusal, Step, dialect, ending::Ending, exchange::Exchange, outcome::Outcome};
use crate::{Change, Failure, Phase, Stored, Version};

/// What follows when all bytes of an upload at a resource have been received.
pub(super) fn complete(exchange: Box<Exchange>, stored: Box<Stored>, ending: Ending) -> Step {
    match (stored.upload.phase, ending) {
        (_, Ending::Broken(refusal)) => exchange.refuse(refusal),
        (Phase::Notified, ending) => replay(exchange, &stored, &ending),
        (_, ending) => Step::Claim(Claim { exchange, stored, ending }),
    }
}

/// "The server can choose to replay the final response to the client if the request to append to the completed upload is
/// valid."
fn replay(exchange: Box<Exchange>, stored: &Stored, ending: &Ending) -> Step {
    match stored.upload.verbatim.response() {
        Some(response) => exchange.respond(Outcome::Answered(&stored.upload, response, ending.is_creation())),
        None => exchange.refuse(Refusal::NotKept),
    }
}

/// Reserve the upload for this process, so that no other process calls the handler. Then fetch its record again.
///
/// The driver renews the claim while the handler runs, and releases it if the handler fails.
#[must_use]
#[derive(Debug)]
pub struct Claim {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    ending: Ending,
}

impl Claim {
    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Continues with the record after the claim; `None` if another process holds the claim.
    pub fn done(self, claimed: Result<Option<Stored>, Failure>) -> Step {
        let Self { exchange, mut stored, ending } = self;
        match claimed {
            Ok(Some(now)) if !now.is_same_upload(&stored.upload) => return exchange.refuse(Refusal::NotFound),
            Ok(Some(now)) => *stored = now,
            Ok(None) => return exchange.refuse(Failure::Busy),
            Err(failure) => return exchange.refuse(failure),
        }
        match stored.upload.phase {
            Phase::Complete => Step::Call(Call { exchange, stored, ending }),
            // Another process was faster.
            Phase::Notified => replay(exchange, &stored, &ending),
            Phase::Invalid => exchange.refuse(Refusal::Invalid),
            Phase::Receiving | Phase::Assembling => exchange.refuse(Failure::Conflict),
        }
    }
}

/// Call the application's handler with the request that created the upload, and with its bytes.
#[must_use]
#[derive(Debug)]
pub struct Call {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    ending: Ending,
}

impl Call {
    /// The upload. All of its bytes are the content of the handler's request.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The head of the handler's request. The method and the headers that describe the content are those of the
    /// request that created the upload. The URL, the version, the extensions, and the headers that identify the
    /// sender and the route are those of the request that completes it. Its other headers replace those of the same
    /// name. Headers about the upload and the connection are omitted.
    ///
    /// # Errors
    ///
    /// [`Failure::Internal`] if the record does not contain the request.
    pub fn head(&self, completing: &Parts) -> Result<Parts, Failure> {
        dialect::handlers_head(&self.stored.upload, completing).ok_or(Failure::Internal)
    }

    /// Continues with the handler's response, whatever its status, without its body if that is too large to store; or
    /// without a response, so that the handler is called again when the client asks again. The response is kept from
    /// `now` on, because the request may have begun long ago.
    pub fn done(self, response: Result<Response<Option<Bytes>>, Failure>, now: SystemTime) -> Step {
        let Self { exchange, stored, ending } = self;
        let Ok(response) = response else {
            return exchange.refuse(Refusal::Unanswered);
        };
        let (head, body) = response.into_parts();
        let kept = body.and_then(|body| dialect::keepable(&head, body));
        let mut change = Change::of(&stored.upload);
        change.phase = Phase::Notified;
        change.verbatim = Some(Box::new(stored.upload.verbatim.with_response(kept.as_ref())));
        change.expires = exchange.endpoint.kept_until(now);
        Step::KeepResponse(KeepResponse { exchange, stored, change, response: Response::from_parts(head, ()), ending })
    }
}

/// Store the handler's response with the upload.
#[must_use]
#[derive(Debug)]
pub struct KeepResponse {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    change: Change,
    response: Response<()>,
    ending: Ending,
}

impl KeepResponse {
    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The change to its record.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Continues when the response is stored. If that failed, this client gets the response nevertheless. If the
    /// response does not reach the client, the handler is called again.
    pub fn done(self, kept: Result<Version, Failure>) -> Step {
        let Self { exchange, mut stored, change, response, ending } = self;
        if let Ok(version) = kept {
            change.apply(&mut stored.upload);
            stored.version = version;
        }
        let response = response.map(|()| Bytes::new());
        let outcome = Outcome::Answered(&stored.upload, response, ending.is_creation());
        Step::Relay(exchange.response(outcome).map(drop))
    }
}
