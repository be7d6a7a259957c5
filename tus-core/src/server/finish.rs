//! The application learns that an upload is whole, and the response to the request that made it so.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::{Step, exchange::Exchange, tus::Outcome};
use crate::{Kind, Refusal, Rejection, Upload};

/// Tell the application that the upload is whole, and record that it was told.
///
/// It is told at least once: where the record of it is lost, it is told again. The upload's id is the
/// same each time, and so is the key by which a repeat is recognised.
#[must_use]
#[derive(Debug)]
pub struct Finish {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    ending: Ending,
}

/// What the application adds to the response of the request that made an upload whole.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Headers to add.
    pub headers: HeaderMap,
    /// A body; with one, `204 No Content` becomes `200 OK`.
    pub body: Bytes,
}

/// What the client is told in the end.
#[derive(Debug)]
pub(super) enum Ending {
    Appended,
    Created {
        with_body: bool,
    },
    /// The body broke off.
    Broken(Refusal),
    /// There is no client.
    Silence,
}

impl Finish {
    /// What follows when an upload's record was stored: the application is told if the upload is whole.
    pub(super) fn after(exchange: Box<Exchange>, upload: Box<Upload>, ending: Ending) -> Step {
        // "The Server SHOULD NOT process these partial uploads until they are concatenated to form a
        // final upload."
        let untold = upload.is_complete() && !upload.finished && upload.kind != Kind::Partial;
        if untold {
            return Step::Finish(Self { exchange, upload, ending });
        }
        exchange.respond(ending.outcome(&upload))
    }

    pub(super) fn told_later(exchange: Box<Exchange>, upload: Box<Upload>) -> Step {
        Self::after(exchange, upload, Ending::Silence)
    }

    /// The upload that is whole.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Goes on with what the application adds to the response.
    pub fn done(self, answer: Result<Reply, Rejection>) -> Step {
        let Self { mut exchange, upload, ending } = self;
        exchange.expires = upload.expires;
        match answer {
            Ok(reply) => exchange.respond_with(ending.outcome(&upload), reply),
            // The upload is there all the same, and its client may ask again.
            Err(rejection) if matches!(ending, Ending::Created { .. }) => {
                let location = exchange.endpoint.url(&upload.id);
                let rejection = rejection.header(http::header::LOCATION, location);
                exchange.refuse(Refusal::Rejected(rejection))
            }
            Err(rejection) => exchange.refuse(Refusal::Rejected(rejection)),
        }
    }
}

impl Ending {
    pub(super) fn outcome(self, upload: &Upload) -> Outcome<'_> {
        match self {
            Self::Appended => Outcome::Appended(upload),
            Self::Created { with_body } => Outcome::Created(upload, with_body),
            Self::Broken(refusal) => Outcome::Refused(refusal, upload.expires),
            Self::Silence => Outcome::Silence,
        }
    }
}

impl Reply {
    pub(super) fn add_to(self, response: &mut Response<Bytes>) {
        response.headers_mut().extend(self.headers);
        if self.body.is_empty() {
            return;
        }
        if response.status() == StatusCode::NO_CONTENT {
            *response.status_mut() = StatusCode::OK;
        }
        *response.body_mut() = self.body;
    }
}
