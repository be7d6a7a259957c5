//! A new upload: the application's changes, the record, and what follows.

use super::{
    Complete, Completion, Inform, LoadParts, Refusal, Rejection, Step,
    ask::{Body, Creation, beyond, room_until},
    concatenation::total_length,
    dialect,
    ending::Ending,
    exchange::Exchange,
};
use crate::{Dialect, Failure, Incarnation, Kind, NewUpload, Stored, Upload, UploadId, Version, record::Asked};

/// Let the application change or reject a new upload, and choose its id.
#[must_use]
#[derive(Debug)]
pub struct Create {
    exchange: Box<Exchange>,
    asked: Asked,
    creation: Creation,
    parts: Vec<Stored>,
}

impl Create {
    pub(super) fn of(exchange: Box<Exchange>, creation: Creation, parts: Vec<Stored>) -> Step {
        Step::Create(Self { exchange, asked: creation.upload.asked(), creation, parts })
    }

    /// The new upload, which the application may change.
    pub fn upload(&mut self) -> &mut NewUpload {
        &mut self.creation.upload
    }

    /// Continues with the id of the new upload (128 random bits, or the application's choice) and its incarnation
    /// (always 128 random bits).
    pub fn done(self, name: Result<(UploadId, Incarnation), Rejection>) -> Step {
        let Self { exchange, asked, creation: Creation { upload: mut new, body, .. }, parts } = self;
        // Whatever the application changed, this is what was authorized.
        new.keep(asked);
        let (id, incarnation) = match name {
            Ok(name) => name,
            Err(rejection) => return exchange.refuse(Refusal::Rejected(rejection)),
        };
        let dialect = exchange.speech.dialect();
        // The limit is the application's choice.
        let length = check_size(&new, &parts, body.as_ref(), dialect);
        dialect::creation_as_stored(&mut new);
        let mut upload = Upload::new(id, incarnation, new.kind().clone());
        // Parts stay separate until they are concatenated, even empty ones.
        let is_final = matches!(upload.kind, Kind::Final(_));
        let known = length.as_ref().map_or_else(|_| new.length(), |length| *length);
        // In tus, an upload is complete when its offset equals its length. Clients of the draft declare when it is.
        let is_complete = known == Some(0) && !is_final && dialect == Dialect::Tus;
        if is_complete {
            upload.phase = exchange.config.complete_phase(&upload);
        }
        upload.dialect = dialect;
        upload.verbatim = new.verbatim;
        upload.length = known.filter(|_| !is_final);
        upload.expires = exchange.config.expiry(&upload, upload.phase, exchange.now);
        upload.created = exchange.now;
        upload.max_size = new.max_size;
        upload.metadata = new.metadata;
        upload.owner = new.owner;
        upload.private = new.private;
        let upload = Box::new(upload);
        match length {
            Ok(_) => Step::Store(Store { exchange, upload, parts, body }),
            Err(refusal) => Step::Abandon(Abandon { exchange, upload, refusal }),
        }
    }
}

/// Store the record of a new upload, and hold the upload until the exchange ends.
#[must_use]
#[derive(Debug)]
pub struct Store {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    parts: Vec<Stored>,
    body: Option<Body>,
}

impl Store {
    /// The record to store. No record with this id may exist yet.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Continues when the record is stored.
    pub fn done(self, stored: Result<Version, Failure>) -> Step {
        let Self { exchange, upload, parts, body } = self;
        let stored = match stored {
            Ok(version) => Box::new(Stored::new(*upload, version)),
            Err(failure) => return Step::Abandon(Abandon { exchange, upload, refusal: failure.into() }),
        };
        match (&stored.upload.kind, body) {
            (Kind::Final(_), _) if parts.iter().all(|part| part.upload.is_complete()) => {
                let completion = Completion::of_parts(&exchange.config, exchange.now, stored, parts);
                Complete::of(exchange, completion, Ending::Created { with_body: false })
            }
            (Kind::Final(_), _) => {
                LoadParts::to_recheck(exchange, stored, &parts, Ending::Created { with_body: false })
            }
            (_, Some(body)) => Inform::before_body(exchange, stored, body),
            (_, None) => Complete::after(exchange, stored, Ending::Created { with_body: false }),
        }
    }
}

/// Inform the application that an upload that it has just allowed is not created after all.
#[must_use]
#[derive(Debug)]
pub struct Abandon {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    refusal: Refusal,
}

impl Abandon {
    /// The record that was not stored. Another upload may have its id.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Continues when the application has been informed.
    pub fn done(self) -> Step {
        self.exchange.refuse(self.refusal)
    }
}

/// The length of the new upload, if it may be created.
fn check_size(
    new: &NewUpload,
    parts: &[Stored],
    body: Option<&Body>,
    dialect: Dialect,
) -> Result<Option<u64>, Refusal> {
    let length = match new.kind() {
        Kind::Final(_) => total_length(parts)?,
        Kind::Single | Kind::Partial => new.length(),
    };
    // "If the length of the upload exceeds the maximum, [...] the Server MUST respond with the 413
    // Request Entity Too Large status."
    if let (Some(length), Some(limit)) = (length, new.max_size)
        && length > limit
    {
        return Err(Refusal::TooLarge { limit });
    }
    let limit = room_until(length, new.max_size, dialect);
    match body.and_then(|body| body.length) {
        Some(more) if more > limit => Err(beyond(length, limit)),
        _ => Ok(length),
    }
}
