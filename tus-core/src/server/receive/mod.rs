//! The body of a request: how much of it may be stored, and how much is kept when it ends.

mod commit;

use std::time::SystemTime;

use http::{HeaderMap, Response};

pub use self::commit::Commit;
use self::commit::{After, Received};
use super::{
    Complete, Invalidate, Refusal, Step, Terminate,
    ask::{Body, Completes, beyond, room_until},
    dialect,
    ending::Ending,
    exchange::Exchange,
    verify::Verify,
};
use crate::{Change, Dialect, Failure, Phase, Stored, Upload};

/// Read the body and pass it to the storage; it must not be polled earlier.
///
/// Bytes count when they are committed. Bytes covered by a checksum count all together or not at all, so checkpoints
/// within such a body cover none of them.
#[must_use]
#[derive(Debug)]
pub struct Receive {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    /// The length of the upload, if it is known or declared by this request.
    length: Option<u64>,
    body: Body,
    received: u64,
    /// The number of bytes that a checkpoint may commit.
    counted: u64,
    /// When the upload expires as of the last checkpoint.
    expires: Option<SystemTime>,
    ending: Ending,
}

/// How a body ended.
#[derive(Debug)]
pub enum End {
    /// At its end, with the trailers that followed.
    Complete(Option<HeaderMap>),
    /// Before its end.
    Interrupted(Interruption),
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interruption {
    /// The connection broke.
    Disconnected,
    /// No bytes arrived for too long.
    TimedOut,
    /// A newer request takes over the upload.
    Superseded,
    /// The server is about to stop.
    ShuttingDown,
    /// The storage failed after it had accepted `stored` bytes of this body.
    Failed {
        /// How it failed.
        failure: Failure,
        /// The bytes of this body that it accepted.
        stored: u64,
    },
}

/// What follows a body.
#[must_use]
#[derive(Debug)]
pub enum Ended {
    /// Make the bytes durable. Only the end of a body leads here.
    Commit(Commit),
    /// There are no bytes to make durable.
    Step(Box<Step>),
}

impl Receive {
    pub(super) fn of(
        mut exchange: Box<Exchange>,
        stored: Box<Stored>,
        length: Option<u64>,
        body: Body,
        ending: Ending,
    ) -> Step {
        exchange.at = None;
        let expires = stored.upload.expires;
        Step::Receive(Self { exchange, stored, length, body, received: 0, counted: 0, expires, ending })
    }

    /// The upload to which the body is added, at its offset.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Whether the body has a checksum, so that [`Receive::data`] has work to do.
    pub fn is_verified(&self) -> bool {
        !matches!(self.body.verify, Verify::Nothing)
    }

    /// Adds any number of further bytes of the body. They may be passed to the storage at the same time, because they
    /// belong to the upload only after they are committed.
    ///
    /// # Errors
    ///
    /// The next step, if the bytes reach beyond the end of the upload and must not be stored.
    pub fn data(mut self, bytes: &[u8]) -> Result<Self, Box<Step>> {
        let more = bytes.len() as u64;
        let upload = &self.stored.upload;
        let limit = room_until(self.length, upload.max_size, upload.dialect);
        let room = limit.saturating_sub(upload.offset).saturating_sub(self.received);
        // The smaller of the two decides, in whatever pieces the bytes come; the upload's room if they are equal. A limit
        // of 0 refuses bytes without a media type, even if there is no room.
        let allowed = |limit: u64| limit.saturating_sub(self.received);
        let exceeded = |limit: &u64| more > allowed(*limit) && (*limit == 0 || allowed(*limit) < room);
        if let Some(limit) = self.body.limit.filter(exceeded) {
            return Err(Box::new(self.forget(Refusal::BodyTooLarge { limit })));
        }
        if more > room {
            let refusal = beyond(self.length, limit);
            return Err(Box::new(self.exceeded(refusal)));
        }
        self.body.verify.update(bytes);
        self.received += more;
        Ok(self)
    }

    /// What a checkpoint may commit now: all bytes so far. If these do not count yet, what the last checkpoint could
    /// commit, or the record as it is before the first one; possibly with a later expiry. A checkpoint never completes the
    /// upload, and its offset never decreases.
    pub fn checkpoint(&mut self, now: SystemTime) -> Change {
        // The last commit is at the end of the body: a client that sends too much must not complete the upload.
        if !self.is_verified() && self.advanced(self.received, now, false).phase == Phase::Receiving {
            self.counted = self.received;
        }
        match self.counted {
            0 => self.renewed(now),
            counted => self.advanced(counted, now, false),
        }
    }

    /// The unchanged record, except for its expiry: an upload that receives bytes that do not count yet does not expire.
    /// When half of its time has passed, it gets the full time again.
    fn renewed(&mut self, now: SystemTime) -> Change {
        let upload = &self.stored.upload;
        let again = self.exchange.config.expiry(upload, upload.phase, now);
        if self.received > 0
            && upload.phase == Phase::Receiving
            && let (Some(expires), Some(again)) = (self.expires, again)
        {
            let left = expires.duration_since(now).unwrap_or_default();
            if again.duration_since(now).is_ok_and(|all| left < all / 2) {
                self.expires = Some(again);
            }
        }
        let mut change = Change::of(upload);
        change.expires = self.expires;
        change
    }

    /// The record with all bytes so far, committed or not: the progress of the upload.
    pub fn progress(&self) -> Upload {
        let mut upload = self.stored.upload.clone();
        self.advanced(self.received, self.exchange.now, false).apply(&mut upload);
        upload
    }

    /// An interim response that reports the upload as durable up to this offset. Send it if the framework can. `None`
    /// for clients that do not support it.
    pub fn interim(&self, committed: u64) -> Option<Response<()>> {
        dialect::interim_offset(&self.exchange, committed)
    }

    /// Continues when the body has ended.
    pub fn end(mut self, end: End, now: SystemTime) -> Ended {
        match end {
            End::Complete(_) if self.body.length.is_some_and(|length| self.received < length) => {
                self.interrupted(Interruption::Disconnected, now)
            }
            End::Complete(trailers) => {
                let verify = std::mem::replace(&mut self.body.verify, Verify::Nothing);
                match check(&self.exchange, verify, trailers.as_ref()) {
                    Ok(()) => {
                        let received = self.received;
                        self.commit(received, now, true)
                    }
                    Err(refusal) => Ended::Step(Box::new(self.forget(refusal))),
                }
            }
            End::Interrupted(why) => self.interrupted(why, now),
        }
    }

    fn interrupted(mut self, why: Interruption, now: SystemTime) -> Ended {
        let stored = match why {
            Interruption::Failed { stored, .. } => stored.min(self.received),
            _ => self.received,
        };
        let kept = if self.is_verified() { 0 } else { stored };
        let is_busy = matches!(why, Interruption::Failed { failure: Failure::Busy, .. });
        // A client that learns the URL and offset of its new upload can resume, which is better than an error. The
        // same holds if the last byte arrived before the interruption.
        let offset = self.stored.upload.offset + kept;
        let is_at_length = self.body.completes == Completes::AtLength && self.length == Some(offset);
        // Content of declared length is complete when that many bytes have arrived.
        let is_draft = self.stored.upload.dialect != Dialect::Tus;
        let is_all = is_at_length || is_draft && !self.is_verified() && self.body.length == Some(kept);
        let is_conflict = matches!(why, Interruption::Failed { failure: Failure::Conflict, .. });
        if is_conflict && kept == 0 && self.ending.is_creation() {
            // Another request has changed the upload, and its client knows the offset.
            return Ended::Step(Box::new(self.exchange.refuse(Failure::Conflict)));
        }
        let fails = !self.ending.is_creation() || self.exchange.informed && self.body.fails_if_cut;
        if fails && !is_all {
            self.ending = Ending::Broken(why.refusal(offset));
        }
        // A request that did not get the upload has nothing to commit, and does not know the offset.
        if is_busy && kept == 0 {
            if let Ending::Created { with_body } = &mut self.ending {
                *with_body = false;
            }
            return Ended::Step(Box::new(Complete::after(self.exchange, self.stored, self.ending)));
        }
        self.commit(kept, now, is_all)
    }

    /// `at_end` states whether the complete body has arrived.
    fn commit(mut self, kept: u64, now: SystemTime, at_end: bool) -> Ended {
        let upload = &self.stored.upload;
        let completes = at_end && self.body.completes == Completes::AtEnd && upload.phase == Phase::Receiving;
        let sent = upload.offset + kept;
        if completes && self.length.is_some_and(|length| length != sent) {
            // "their indicated lengths MUST match": more content was declared. What arrived is correct so far.
            let refusal = Refusal::LengthMismatch { sent };
            if self.may_be_undone() {
                return Ended::Step(Box::new(self.forget(refusal)));
            }
            self.ending = Ending::Broken(refusal);
            return self.commit(kept, now, false);
        }
        let mut change = self.advanced(kept, now, completes);
        let is_complete = change.phase != upload.phase;
        let kept = || dialect::repr_digest(&self.exchange.config, upload);
        let repr_digest = is_complete.then(|| self.body.repr_digest.take().or_else(kept)).flatten();
        if repr_digest.is_some() {
            // The upload is complete after the digest has been verified. Until then, it expires as before. A request that
            // is repeated meanwhile changes nothing, so that it does not disturb the verification.
            change.phase = Phase::Receiving;
            change.expires = match (change.offset, change.length) == (upload.offset, upload.length) {
                true => upload.expires,
                false => self.exchange.config.expiry(upload, change.phase, now),
            };
        }
        let ending = After { ending: self.ending, repr_digest };
        if change == Change::of(&self.stored.upload) {
            self.exchange.at = Some(change.offset);
            return Ended::Step(Box::new(ending.follow(self.exchange, self.stored, now)));
        }
        Ended::Commit(Commit::of(Received::new(self.exchange, self.stored, change, ending, now)))
    }

    /// There are too many bytes.
    fn exceeded(self, refusal: Refusal) -> Step {
        let upload = &self.stored.upload;
        if upload.phase != Phase::Receiving && upload.dialect != Dialect::Tus {
            return self.exchange.refuse(Refusal::AlreadyComplete);
        }
        // "the server MUST prevent the offset from exceeding the representation's length by rejecting the request once
        // the offset exceeds the length, marking the upload resource invalid and rejecting any further interaction".
        let is_invalid = self.body.invalidates && matches!(refusal, Refusal::BeyondLength { .. });
        match is_invalid && !self.may_be_undone() {
            true => Invalidate::of(self.exchange, self.stored, refusal),
            false => self.forget(refusal),
        }
    }

    /// Discards the bytes since the last commit, and the upload if it was created for them.
    fn forget(mut self, refusal: Refusal) -> Step {
        if self.may_be_undone() {
            return Terminate::undo(self.exchange, self.stored, refusal);
        }
        if self.counted == 0 {
            self.exchange.at = Some(self.stored.upload.offset);
        }
        self.exchange.refuse(refusal)
    }

    /// Whether this request created the upload, and its client does not know that yet.
    fn may_be_undone(&self) -> bool {
        self.ending.is_creation() && !self.exchange.informed
    }

    /// The record with this many bytes of the body. `completes` states whether they are the end of the body and of
    /// the upload.
    fn advanced(&self, received: u64, now: SystemTime, completes: bool) -> Change {
        let (upload, config) = (&self.stored.upload, &self.exchange.config);
        let mut change = Change::of(upload);
        change.offset += received;
        change.length = self.length;
        if completes {
            change.length = Some(change.offset);
        }
        // In tus, an upload is complete when its offset equals its length.
        let is_at_length = self.body.completes == Completes::AtLength && change.length == Some(change.offset);
        if upload.phase == Phase::Receiving && (completes || is_at_length) {
            change.phase = config.complete_phase(upload);
        }
        // Empty requests do not extend the life of an upload.
        let advances = received > 0 || change.length != upload.length || change.phase != upload.phase;
        if upload.phase == Phase::Receiving && advances {
            change.expires = config.expiry(upload, change.phase, now);
        }
        change
    }
}

impl Interruption {
    fn refusal(self, offset: u64) -> Refusal {
        match self {
            Self::Disconnected => Refusal::BrokenOff { offset },
            Self::TimedOut => Refusal::TimedOut { offset },
            Self::Superseded => Refusal::Superseded,
            Self::ShuttingDown => Refusal::ShuttingDown,
            Self::Failed { failure, .. } => failure.into(),
        }
    }
}

/// "Once the entire request has been received, the Server MUST verify the uploaded chunk against
/// the provided checksum using the specified algorithm."
fn check(exchange: &Exchange, verify: Verify, trailers: Option<&HeaderMap>) -> Result<(), Refusal> {
    let announced = matches!(verify, Verify::Trailer(_));
    let trailing = dialect::trailing_checksum(exchange, announced, trailers)?;
    let matches = match (verify, trailing) {
        (Verify::Nothing, _) => true,
        (Verify::Header(sent, hasher), _) => hasher.finish() == sent,
        (Verify::Trailer(hashers), sent) => hashers.into_iter().any(|hasher| Some(hasher.finish()) == sent),
    };
    if matches { Ok(()) } else { Err(Refusal::ChecksumMismatch) }
}
