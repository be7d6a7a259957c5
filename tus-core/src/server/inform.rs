//! The client learns about its new upload before its request ends, so that it can resume if the request breaks off.

use http::Response;

use super::{Receive, Step, ask::Body, dialect, ending::Ending, exchange::Exchange};
use crate::Stored;

/// Send an interim response to the client, if the framework can.
///
/// Send it before the final response, or not at all. Only clients that asked for interim responses get here.
#[must_use]
#[derive(Debug)]
pub struct Inform {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    body: Body,
    response: Response<()>,
}

impl Inform {
    /// What follows when a new upload's record has been stored: its body, preceded by an interim response if
    /// possible.
    pub(super) fn before_body(exchange: Box<Exchange>, stored: Box<Stored>, body: Body) -> Step {
        match dialect::interim_creation(&exchange, &stored.upload) {
            // Without content there is nothing to resume.
            Some(response) if body.length != Some(0) => Step::Inform(Self { exchange, stored, body, response }),
            _ => receive(exchange, stored, body),
        }
    }

    /// The interim response: its status and headers.
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// Continues immediately. `sent` states whether the client may have received the response.
    pub fn done(self, sent: bool) -> Step {
        let Self { mut exchange, stored, body, .. } = self;
        exchange.informed = sent;
        receive(exchange, stored, body)
    }
}

fn receive(exchange: Box<Exchange>, stored: Box<Stored>, body: Body) -> Step {
    let length = stored.upload.length;
    Receive::of(exchange, stored, length, body, Ending::Created { with_body: true })
}
