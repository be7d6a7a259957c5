//! The body of a request: how much of it may be stored, and what counts when it ends.

use std::time::SystemTime;

use http::HeaderMap;

use super::{Commit, Finish, Step, Terminate, Trailers, exchange::Exchange, finish::Ending, hold::room_until, tus};
use crate::{Failure, Refusal, Upload, checksum::Verify};

/// Read the body and hand it to the storage; only now may it be polled.
///
/// Bytes count once they are committed. Those of a body with a checksum count all together or not at
/// all, so that there is no checkpoint within it.
#[must_use]
#[derive(Debug)]
pub struct Receive {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    /// The length of the upload, where it is known or declared by this request.
    length: Option<u64>,
    body: Body,
    received: u64,
    ending: Ending,
}

/// What a request's head tells of its body.
#[derive(Debug)]
pub(super) struct Body {
    /// Bytes, by `Content-Length`.
    pub(super) length: Option<u64>,
    pub(super) verify: Verify,
}

/// How a body ended.
#[derive(Debug)]
pub enum End {
    /// At its end, with the trailers that followed it.
    Complete(Option<HeaderMap>),
    /// Before its end.
    Interrupted(Interruption),
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The connection broke.
    Disconnected,
    /// No byte came for too long.
    TimedOut,
    /// A newer request goes on with the upload.
    Superseded,
    /// The server is about to stop.
    ShuttingDown,
    /// The storage failed when it had taken `stored` bytes of this body.
    Failed {
        /// How it failed.
        failure: Failure,
        /// Bytes of this body that it took.
        stored: u64,
    },
}

impl Receive {
    pub(super) fn of(
        exchange: Box<Exchange>,
        upload: Box<Upload>,
        length: Option<u64>,
        body: Body,
        ending: Ending,
    ) -> Step {
        Step::Receive(Self { exchange, upload, length, body, received: 0, ending })
    }

    /// The upload that the body is added to, at its offset.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Whether the body has a checksum, so that [`Receive::data`] has work to do.
    pub fn is_verified(&self) -> bool {
        !matches!(self.body.verify, Verify::Nothing)
    }

    /// Takes the next bytes of the body, of any number. They may go to the storage at the same time, since they count only
    /// once they are committed.
    ///
    /// # Errors
    ///
    /// The step that is next, instead of storing them, where they reach beyond the end of the upload.
    pub fn data(mut self, bytes: &[u8]) -> Result<Self, Box<Step>> {
        let limit = room_until(self.length, self.upload.max_size);
        let room = limit.saturating_sub(self.upload.offset).saturating_sub(self.received);
        let more = bytes.len() as u64;
        if more > room {
            return Err(Box::new(self.forget(Refusal::TooLarge { limit })));
        }
        self.body.verify.update(bytes);
        self.received += more;
        Ok(self)
    }

    /// The record that a checkpoint may commit now, with all bytes so far. `None` where they don't
    /// count yet.
    pub fn checkpoint(&self, now: SystemTime) -> Option<Upload> {
        let counts = !self.is_verified() && self.received > 0;
        // The last commit is the body's end: who sends too much must not have made the upload whole.
        Some(*self.advanced(self.received, now)).filter(|upload| counts && !upload.is_complete())
    }

    /// The record as it would be with all bytes so far: how far the upload is, committed or not.
    pub fn progress(&self) -> Upload {
        *self.advanced(self.received, self.exchange.now)
    }

    /// Goes on when the body has ended.
    pub fn end(mut self, end: End, now: SystemTime) -> Step {
        match end {
            End::Complete(_) if self.body.length.is_some_and(|length| self.received < length) => {
                self.interrupted(Interruption::Disconnected, now)
            }
            End::Complete(trailers) => {
                let verify = std::mem::replace(&mut self.body.verify, Verify::Nothing);
                match check(verify, trailers) {
                    Ok(()) => {
                        let received = self.received;
                        self.commit(received, now)
                    }
                    Err(refusal) => self.forget(refusal),
                }
            }
            End::Interrupted(why) => self.interrupted(why, now),
        }
    }

    fn interrupted(mut self, why: Interruption, now: SystemTime) -> Step {
        let stored = match why {
            Interruption::Failed { stored, .. } => stored.min(self.received),
            _ => self.received,
        };
        let kept = if self.is_verified() { 0 } else { stored };
        // A client that is told where its new upload is, and how far it got, can go on: that beats an error.
        // So does the truth where the last byte came before the interruption.
        let whole = self.length == Some(self.upload.offset + kept);
        if matches!(self.ending, Ending::Appended) && !whole {
            self.ending = Ending::Broken(why.refusal(self.upload.offset + kept));
        }
        self.commit(kept, now)
    }

    fn commit(self, kept: u64, now: SystemTime) -> Step {
        let upload = self.advanced(kept, now);
        if upload == self.upload {
            return Finish::after(self.exchange, upload, self.ending);
        }
        Commit::of(self.exchange, upload, self.ending)
    }

    /// The bytes since the last commit never existed; neither did an upload that was created for them.
    fn forget(self, refusal: Refusal) -> Step {
        match self.ending {
            Ending::Created { .. } => Terminate::undo(self.exchange, self.upload, refusal),
            _ => self.exchange.refuse(refusal),
        }
    }

    fn advanced(&self, received: u64, now: SystemTime) -> Box<Upload> {
        let mut upload = self.upload.clone();
        upload.offset += received;
        upload.length = self.length;
        upload.expires = self.exchange.expiry(&upload.kind, upload.is_complete(), now);
        upload
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
fn check(verify: Verify, trailers: Trailers) -> Result<(), Refusal> {
    let trailing = tus::trailing_checksum(trailers.as_ref())?;
    let matches = match (verify, trailing) {
        (Verify::Nothing, None) => true,
        (Verify::Header(sent, hasher), None) => hasher.finish() == sent,
        (Verify::Trailer(hashers), Some(sent)) => hashers.into_iter().any(|hasher| hasher.finish() == sent),
        (Verify::Trailer(_), None) => {
            return Err(Refusal::Contradiction("the trailer upload-checksum was announced and did not come"));
        }
        (_, Some(_)) => {
            return Err(Refusal::Contradiction(
                "the trailer upload-checksum must be announced by `trailer: upload-checksum`, and not be a header as well",
            ));
        }
    };
    if matches { Ok(()) } else { Err(Refusal::ChecksumMismatch) }
}
