//! A filter for lists of uploads.

use tus_core::{Phase, Upload};

/// A filter for lists of uploads; it matches all of them by default.
///
/// ```
/// use tus_service::{Phase, UploadFilter};
///
/// let unfinished = UploadFilter::default().phase(Phase::Receiving).phase(Phase::Assembling);
/// let of_anna = UploadFilter::default().owner("anna");
/// assert_eq!(of_anna.owner.as_deref(), Some("anna"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadFilter {
    /// The owner whose uploads match; `None` for all owners.
    pub owner: Option<String>,
    /// The phases in which uploads match; empty for any.
    pub phases: Vec<Phase>,
}

impl UploadFilter {
    /// Only those of this owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only uploads in this phase, in addition to phases that were added before.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phases.push(phase);
        self
    }

    /// Whether uploads in this phase match.
    pub fn has_phase(&self, phase: Phase) -> bool {
        self.phases.is_empty() || self.phases.contains(&phase)
    }

    /// Whether an upload matches.
    pub fn passes(&self, upload: &Upload) -> bool {
        self.has_phase(upload.phase) && (self.owner.is_none() || self.owner == upload.owner)
    }
}
