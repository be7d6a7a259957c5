//! All reasons to reject a request. Each dialect maps them to a status and a text.

use super::{
    Rejection,
    dialect::{draft::problem::Problem, tus::fault::Fault},
};
use crate::{Failure, UploadId};

/// Why a request is rejected.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The request is malformed, or needs an extension that is not offered.
    Fault(Fault),
    /// The same for a request of the IETF's draft.
    Problem(Problem),
    /// The upload was created in the other dialect and is available only in that one.
    OtherDialect,
    /// There is no such upload.
    NotFound,
    /// The upload has expired.
    Expired,
    /// The upload lost bytes or got too many, and cannot be resumed.
    Invalid,
    /// The upload is not complete, or the application has not been notified yet. The application is never notified of
    /// parts.
    NotFinished,
    /// A download asks for bytes that do not exist.
    RangeNotSatisfiable { length: u64 },
    /// A download is for another file than this one.
    AnotherFile,
    /// The request's offset differs from the upload's.
    OffsetMismatch { sent: u64, actual: u64 },
    /// The request declares a length that differs from the declared one.
    LengthMismatch { sent: u64 },
    /// The request declares a length smaller than the bytes already stored.
    LengthTooSmall { sent: u64 },
    /// The upload, or what the request adds to it, is too large.
    TooLarge { limit: u64 },
    /// The upload would get more bytes than its length.
    BeyondLength { length: u64 },
    /// The body exceeds the limit for one request.
    BodyTooLarge { limit: u64 },
    /// The body is smaller than one request must be.
    BodyTooSmall { limit: u64 },
    /// The upload is complete, and the request would add to it.
    AlreadyComplete,
    /// Bytes cannot be added to a final upload.
    FinalTakesNoBytes,
    /// A final upload names a part that does not exist, or no longer exists.
    PartNotFound(UploadId),
    /// A final upload names an upload that is not a part.
    NotPart(UploadId),
    /// A final upload names a part that is not complete, and this server does not wait for it.
    PartIncomplete(UploadId),
    /// The body does not match its checksum.
    ChecksumMismatch,
    /// The complete upload does not match its digest, and never will.
    ReprDigestMismatch,
    /// No bytes arrived for too long.
    TimedOut { offset: u64 },
    /// The body broke off.
    BrokenOff { offset: u64 },
    /// Another request continues this upload.
    Superseded,
    /// The server is about to stop.
    ShuttingDown,
    /// The storage failed.
    Storage(Failure),
    /// The application rejected the request.
    Rejected(Rejection),
    /// The application's handler has not responded to the upload. It is called again when the client asks again.
    Unanswered,
    /// The application's handler has responded to the upload, but its response is no longer stored.
    NotKept,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Storage(failure)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
