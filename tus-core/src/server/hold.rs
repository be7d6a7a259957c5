//! A request takes over an upload from older requests and is checked against the upload's state.

use super::{
    LoadParts, Open, Receive, Refusal, Step, Veto,
    ask::{Action, Append, Body, Completes, beyond, room_until},
    dialect,
    ending::Ending,
    exchange::{Exchange, check_present},
    outcome::Outcome,
};
use crate::{Dialect, Failure, Kind, Phase, Stored, Upload};

/// Whether other requests may change the upload in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They may, but must first commit what they have received.
    Read,
    /// They may not, until the exchange ends.
    Write,
}

/// Ask older requests on this upload to leave, in this process and in others. Hold the upload if [`Hold::access`] is
/// `Write`, and fetch its record again.
///
/// An older request commits what it has and leaves (R40). If one in this process does not leave within a limited
/// time, a writer gets [`Failure::Busy`]; if one in another process does not
/// ([`held_elsewhere`](Stored::held_elsewhere)), the storage decides what happens to the writer. A reader continues
/// with what is committed.
#[must_use]
#[derive(Debug)]
pub struct Hold {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    action: Action,
}

impl Hold {
    pub(super) fn of(mut exchange: Box<Exchange>, stored: Box<Stored>, action: Action) -> Step {
        if let Err(refusal) = dialect::admit(&exchange, &stored.upload, &action) {
            return exchange.refuse(refusal);
        }
        match action {
            Action::Download(conditions) => Open::of(exchange, stored, &conditions),
            // No request adds bytes to an upload that accepts none, so there is none to wait for.
            Action::Inspect if stored.upload.phase != Phase::Receiving => inspect(exchange, stored),
            action => {
                // "This header [Upload-Expires] MUST be included in every PATCH response if the upload is going to
                // expire."
                if let Action::Append(_) = action {
                    exchange.expires = stored.upload.expires;
                }
                Step::Hold(Self { exchange, stored, action })
            }
        }
    }

    /// The upload as it was authorized.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Whether other requests may continue in the meantime.
    pub fn access(&self) -> Access {
        match self.action {
            Action::Inspect | Action::Download(_) => Access::Read,
            Action::Append(_) | Action::Terminate => Access::Write,
        }
    }

    /// Continues with the current record. A reader that found no request to wait for may pass its own record.
    pub fn done(self, held: Result<Option<Stored>, Failure>) -> Step {
        let Self { exchange, mut stored, action } = self;
        match held {
            Ok(Some(now)) if now.is_same_upload(&stored.upload) => *stored = now,
            // The authorization is for one incarnation. A later one is neither touched nor revealed.
            Ok(_) => return exchange.refuse(Refusal::NotFound),
            Err(failure) => return exchange.refuse(failure),
        }
        if let Err(refusal) = check_present(&stored.upload, &action, exchange.now) {
            return exchange.refuse(refusal);
        }
        match action {
            Action::Inspect => inspect(exchange, stored),
            Action::Append(append) => begin_append(exchange, stored, append),
            Action::Terminate => Veto::of(exchange, stored),
            Action::Download(conditions) => Open::of(exchange, stored, &conditions),
        }
    }
}

fn inspect(exchange: Box<Exchange>, stored: Box<Stored>) -> Step {
    match &stored.upload.kind {
        // "The Upload-Length header MUST be included if the length of the final resource can be
        // calculated at the time of the request."
        Kind::Final(_) if !stored.upload.is_complete() => LoadParts::to_inspect(exchange, stored),
        _ => exchange.respond(Outcome::Found(&stored.upload, stored.upload.length)),
    }
}

fn begin_append(mut exchange: Box<Exchange>, stored: Box<Stored>, append: Append) -> Step {
    exchange.expires = stored.upload.expires;
    exchange.at = Some(stored.upload.offset);
    match check_append(&stored.upload, &append) {
        Ok(length) => Receive::of(exchange, stored, length, append.body, Ending::Appended),
        Err(refusal) => exchange.refuse(refusal),
    }
}

/// The length of the upload from now on, if the bytes may be added.
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
    let Body { completes, length: content, .. } = &append.body;
    let (completes, content) = (*completes, *content);
    // The response may have been lost: "The server can choose to replay the final response to the client if the
    // request to append to the completed upload is valid." Content of unknown length is examined as it arrives.
    let is_empty = content.is_none_or(|bytes| bytes == 0) && completes == Completes::AtEnd;
    if upload.dialect != Dialect::Tus && upload.phase != Phase::Receiving && !is_empty {
        return Err(Refusal::AlreadyComplete);
    }
    let declared = match (append.length, content.filter(|_| completes == Completes::AtEnd)) {
        // "If the request includes the Upload-Complete field value set to true, [...] the representation's length is
        // then the sum of the current offset and the request content's length". "If indicators (1) and (2) are both
        // present in the same request, their indicated lengths MUST match."
        (declared, Some(content)) => {
            let sum = append.offset.saturating_add(content);
            if declared.is_some_and(|declared| declared != sum) {
                return Err(Refusal::LengthMismatch { sent: sum });
            }
            Some(sum)
        }
        (declared, None) => declared,
    };
    let length = match (upload.length, declared) {
        // "Once set the length MUST NOT be changed."
        (Some(known), Some(sent)) if known != sent => return Err(Refusal::LengthMismatch { sent }),
        (None, Some(sent)) if sent < upload.offset => return Err(Refusal::LengthTooSmall { sent }),
        (known, sent) => known.or(sent),
    };
    if let (Some(length), Some(limit)) = (length, upload.max_size)
        && upload.length.is_none()
        && length > limit
    {
        return Err(Refusal::TooLarge { limit });
    }
    let limit = room_until(length, upload.max_size, upload.dialect);
    match append.body.length {
        Some(more) if more > limit.saturating_sub(upload.offset) => Err(beyond(length, limit)),
        _ => Ok(length),
    }
}
