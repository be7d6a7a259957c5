//! An upload is taken over from older requests, and what the request asks for is compared to where
//! it stands.

use super::{
    Deliver, LoadPartials, Operation, Receive, Step, Terminate,
    deliver::Conditions,
    exchange::{Append, Exchange, present},
    finish::Ending,
    tus::Outcome,
};
use crate::{Failure, Kind, MAX_LENGTH, Refusal, Upload, header::UPLOAD_LENGTH};

/// Whether other requests may change the upload meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They may; only what they have received so far is to be committed first.
    Read,
    /// They may not, until the exchange is over.
    Write,
}

/// Ask older requests on this upload to leave, hold it where [`Hold::access`] is `Write`, and fetch
/// its record again.
///
/// An older request commits what it has and leaves (R40). Where it doesn't within a bounded time, a
/// reader goes on with what is committed, and a writer is [`Failure::Busy`].
#[must_use]
#[derive(Debug)]
pub struct Hold {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    then: Then,
}

/// What the request wants with the upload.
#[derive(Debug)]
pub(super) enum Then {
    Inspect,
    Append(Append),
    Terminate,
    Download(Conditions),
}

impl Then {
    /// What the application is asked about.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Inspect => Operation::Inspect,
            Self::Append(_) => Operation::Append,
            Self::Terminate => Operation::Terminate,
            Self::Download(_) => Operation::Download,
        }
    }

    pub(super) fn access(&self) -> Access {
        match self {
            Self::Inspect | Self::Download(_) => Access::Read,
            Self::Append(_) | Self::Terminate => Access::Write,
        }
    }
}

impl Hold {
    pub(super) fn of(exchange: Box<Exchange>, upload: Box<Upload>, then: Then) -> Step {
        // No request adds bytes to these: there is nobody to wait for.
        let settled = upload.is_complete() || matches!(upload.kind, Kind::Final(_));
        match then {
            Then::Download(conditions) => Deliver::of(exchange, upload, &conditions),
            Then::Inspect if settled => inspect(exchange, upload),
            then => Step::Hold(Self { exchange, upload, then }),
        }
    }

    /// The upload as it was when it was authorized.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Whether others may go on meanwhile.
    pub fn access(&self) -> Access {
        self.then.access()
    }

    /// Goes on with the record as it is now. A reader that found nobody to wait for may pass the
    /// record that it has.
    pub fn done(self, held: Result<Option<Upload>, Failure>) -> Step {
        let Self { exchange, mut upload, then } = self;
        match held.map_err(Refusal::from).and_then(|upload| present(upload, exchange.now)) {
            Ok(now) => *upload = now,
            Err(refusal) => return exchange.refuse(refusal),
        }
        match then {
            Then::Inspect => inspect(exchange, upload),
            Then::Append(append) => begin_append(exchange, upload, append),
            Then::Terminate => Terminate::asked(exchange, upload),
            Then::Download(conditions) => Deliver::of(exchange, upload, &conditions),
        }
    }
}

fn inspect(exchange: Box<Exchange>, upload: Box<Upload>) -> Step {
    match &upload.kind {
        // "The Upload-Length header MUST be included if the length of the final resource can be
        // calculated at the time of the request."
        Kind::Final(parts) if !upload.is_complete() => {
            let ids = parts.partials.clone();
            LoadPartials::to_inspect(exchange, upload, ids)
        }
        _ => exchange.respond(Outcome::Found(&upload, upload.length)),
    }
}

fn begin_append(mut exchange: Box<Exchange>, upload: Box<Upload>, append: Append) -> Step {
    // "This header [Upload-Expires] MUST be included in every PATCH response if the upload is going to expire."
    exchange.expires = upload.expires;
    match check_append(&upload, &append) {
        Ok(length) => Receive::of(exchange, upload, length, append.body, Ending::Appended),
        Err(refusal) => exchange.refuse(refusal),
    }
}

/// The length that the upload has from now on, where the bytes may be added.
fn check_append(upload: &Upload, append: &Append) -> Result<Option<u64>, Refusal> {
    // "The Server MUST respond with the 403 Forbidden status to PATCH requests against a final
    // upload URL and MUST NOT modify the final or its partial uploads."
    if matches!(upload.kind, Kind::Final(_)) {
        return Err(Refusal::FinalTakesNoBytes);
    }
    // "If the offsets do not match, the Server MUST respond with the 409 Conflict status without
    // modifying the upload resource."
    if append.offset != upload.offset {
        return Err(Refusal::OffsetMismatch { sent: append.offset, actual: upload.offset });
    }
    let length = match (upload.length, append.length) {
        (Some(known), Some(sent)) if known != sent => {
            // "Once set the length MUST NOT be changed."
            return Err(Refusal::invalid(&UPLOAD_LENGTH, &sent.into(), "the length that was set before"));
        }
        (None, Some(sent)) if sent < upload.offset => {
            return Err(Refusal::invalid(&UPLOAD_LENGTH, &sent.into(), "at least the bytes that are there"));
        }
        (known, sent) => known.or(sent),
    };
    if let (Some(length), Some(limit)) = (length, upload.max_size)
        && upload.length.is_none()
        && length > limit
    {
        return Err(Refusal::TooLarge { limit });
    }
    let limit = room_until(length, upload.max_size);
    match append.body.length {
        Some(more) if more > limit.saturating_sub(upload.offset) => Err(Refusal::TooLarge { limit }),
        _ => Ok(length),
    }
}

/// How far the bytes of an upload may reach.
pub(super) fn room_until(length: Option<u64>, max_size: Option<u64>) -> u64 {
    length.or(max_size).unwrap_or(MAX_LENGTH).min(MAX_LENGTH)
}
