//! Which uploads are listed.

use tus_core::{Phase, Upload};

/// Which uploads are listed: all of them by default.
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
    /// The owner whose uploads pass; `None` for everybody's.
    pub owner: Option<String>,
    /// The phases in which uploads pass; empty for any.
    pub phases: Vec<Phase>,
}

impl UploadFilter {
    /// Only those of this owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only those in this phase, or in another one that was named so.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phases.push(phase);
        self
    }

    /// Whether uploads in this phase pass.
    pub fn has_phase(&self, phase: Phase) -> bool {
        self.phases.is_empty() || self.phases.contains(&phase)
    }

    /// Whether an upload passes.
    pub fn passes(&self, upload: &Upload) -> bool {
        self.has_phase(upload.phase) && (self.owner.is_none() || self.owner == upload.owner)
    }
}
