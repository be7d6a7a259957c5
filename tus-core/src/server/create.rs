//! A new upload: the application's changes, the record, and what follows it.

use super::{
    Finish, Join, Receive, Step, Stored,
    exchange::{Creation, Exchange},
    finish::Ending,
    hold::room_until,
    load::total_length,
    receive::Body,
};
use crate::{Kind, NewUpload, Refusal, Rejection, Upload, UploadId};

/// Let the application change or reject a new upload, and choose its id.
#[must_use]
#[derive(Debug)]
pub struct Create {
    exchange: Box<Exchange>,
    creation: Creation,
    partials: Vec<Upload>,
}

impl Create {
    pub(super) fn of(exchange: Box<Exchange>, creation: Creation, partials: Vec<Upload>) -> Step {
        Step::Create(Self { exchange, creation, partials })
    }

    /// The new upload; the application may change it.
    pub fn upload(&mut self) -> &mut NewUpload {
        &mut self.creation.upload
    }

    /// Goes on with the id of the new upload: 128 random bits, or the application's choice.
    pub fn done(self, id: Result<UploadId, Rejection>) -> Step {
        let Self { exchange, creation: Creation { upload: new, body }, partials } = self;
        let id = match id {
            Ok(id) => id,
            Err(rejection) => return exchange.refuse(Refusal::Rejected(rejection)),
        };
        let length = match check_size(&new, &partials, body.as_ref()) {
            Ok(length) => length,
            Err(refusal) => return exchange.refuse(refusal),
        };
        // Parts stay apart until they are joined, even if there is nothing in them.
        let is_final = matches!(new.kind, Kind::Final(_));
        let complete = length == Some(0) && !is_final;
        let expires = exchange.expiry(&new.kind, complete, exchange.now);
        let upload = Box::new(Upload {
            id,
            kind: new.kind,
            offset: 0,
            length: length.filter(|_| !is_final),
            max_size: new.max_size,
            metadata: new.metadata,
            created: exchange.now,
            expires,
            finished: false,
        });
        Step::Store(Store { exchange, upload, partials, body })
    }
}

/// Store the record of a new upload, and hold the upload until the exchange is over.
#[must_use]
#[derive(Debug)]
pub struct Store {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    partials: Vec<Upload>,
    body: Option<Body>,
}

impl Store {
    /// The record to store. There must be none of that id yet.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Goes on when the record is stored.
    pub fn done(self, stored: Stored) -> Step {
        let Self { exchange, upload, partials, body } = self;
        if let Err(failure) = stored {
            return exchange.refuse(failure.into());
        }
        match (&upload.kind, body) {
            (Kind::Final(_), _) if partials.iter().all(Upload::is_complete) => {
                Join::of(exchange, upload, partials, true)
            }
            (_, Some(body)) => {
                let length = upload.length;
                Receive::of(exchange, upload, length, body, Ending::Created { with_body: true })
            }
            (_, None) => Finish::after(exchange, upload, Ending::Created { with_body: false }),
        }
    }
}

/// The length of the new upload, where it may be created.
fn check_size(new: &NewUpload, partials: &[Upload], body: Option<&Body>) -> Result<Option<u64>, Refusal> {
    let length = match new.kind {
        Kind::Final(_) => total_length(partials)?,
        Kind::Single | Kind::Partial => new.length,
    };
    // "If the length of the upload exceeds the maximum, [...] the Server MUST respond with the 413
    // Request Entity Too Large status."
    if let (Some(length), Some(limit)) = (length, new.max_size)
        && length > limit
    {
        return Err(Refusal::TooLarge { limit });
    }
    let limit = room_until(length, new.max_size);
    match body.and_then(|body| body.length) {
        Some(more) if more > limit => Err(Refusal::TooLarge { limit }),
        _ => Ok(length),
    }
}
