//! The client learns of its new upload before the end of its request, so that it can go on if the request breaks.

use http::Response;

use super::{Receive, Step, ask::Body, dialect, ending::Ending, exchange::Exchange};
use crate::Stored;

/// Send an interim response to the client, if the framework can.
///
/// It must be sent before the final response, or not at all. Only clients that asked for one get here.
#[must_use]
#[derive(Debug)]
pub struct Inform {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    body: Body,
    response: Response<()>,
}

impl Inform {
    /// What follows the storing of a new upload's record: its body, and the client is informed before if it can be.
    pub(super) fn before_body(exchange: Box<Exchange>, stored: Box<Stored>, body: Body) -> Step {
        match dialect::interim_creation(&exchange, &stored.upload) {
            // Without content there is nothing to go on with.
            Some(response) if body.length != Some(0) => Step::Inform(Self { exchange, stored, body, response }),
            _ => receive(exchange, stored, body),
        }
    }

    /// The interim response: its status and headers.
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// Continues at once. `sent` says whether the client may have got the response.
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
