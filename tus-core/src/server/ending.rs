//! How an exchange that adds bytes ends.

use super::{Refusal, outcome::Outcome};
use crate::Upload;

/// What the client learns at the end.
#[derive(Debug)]
pub(super) enum Ending {
    Appended,
    Created {
        with_body: bool,
    },
    /// The body broke off.
    Broken(Refusal),
}

impl Ending {
    pub(super) fn is_creation(&self) -> bool {
        matches!(self, Self::Created { .. })
    }

    pub(super) fn outcome(self, upload: &Upload) -> Outcome<'_> {
        match self {
            Self::Appended => Outcome::Appended(upload),
            Self::Created { with_body } => Outcome::Created(upload, with_body),
            Self::Broken(refusal) => Outcome::Refused(refusal, upload.expires),
        }
    }
}
