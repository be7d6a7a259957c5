//! Why the store refused an operation, which determines the next step.

use std::{fmt, time::Duration};

use object_store::Error;
use tus_service::{Failure, StorageError};

use crate::failures;

/// Why an operation failed, as reported by the store.
#[derive(Debug)]
pub(crate) enum Refused {
    /// An object with this name exists.
    Exists,
    /// The object has a different version.
    Changed,
    /// There is no such object, multipart upload or part.
    Absent,
    /// Any other reason. The operation may have been done nevertheless, or may be done later.
    Failed(Error),
    /// It did not answer in this time. The same holds.
    Unanswered(Duration),
    /// It refused because of another write or another object (409), which does not show: the write may be on its way, or
    /// the object is gone again.
    Unsettled,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::AlreadyExists { .. } => Self::Exists,
            Error::Precondition { .. } | Error::NotModified { .. } => Self::Changed,
            Error::NotFound { .. } => Self::Absent,
            other => Self::Failed(other),
        }
    }
}

impl Refused {
    /// Whether nobody knows if it was done.
    pub(crate) fn is_unclear(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unanswered(_) | Self::Unsettled)
    }

    /// The same of a request without a condition, or of a write whose object was looked for since, and is absent or still
    /// another one: the store refused it because of something that happens at the same time.
    pub(crate) fn unsettled(self) -> Self {
        match self {
            Self::Exists | Self::Changed => Self::Unsettled,
            other => other,
        }
    }

    /// Of a completion: whether it will never succeed with these parts.
    pub(crate) fn is_of_the_parts(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Failed(error) => failures::refuses_parts(error),
            _ => false,
        }
    }

    /// What a client learns where nobody could do anything about it: whether it may try again.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Unanswered(_) | Self::Unsettled => Failure::Unavailable,
            Self::Failed(error) if failures::passes(error) => Failure::Unavailable,
            _ => Failure::Internal,
        }
    }
}

/// For failures that no caller can handle.
impl From<Refused> for StorageError {
    fn from(refused: Refused) -> Self {
        Self::new(refused.failure(), refused.to_string())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("the object store reports that an object exists"),
            Self::Changed => f.write_str("the object store reports that an object has changed"),
            Self::Absent => f.write_str("the object store reports that an object is missing"),
            Self::Failed(error) => write!(f, "the object store failed: {error}"),
            Self::Unanswered(limit) => write!(f, "the object store did not answer within {} s", limit.as_secs_f32()),
            Self::Unsettled => f.write_str("the object store refused a request because of a conflict with another one"),
        }
    }
}

impl std::error::Error for Refused {}
