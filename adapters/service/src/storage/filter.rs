//! Which uploads are listed.

use tus_core::{Phase, Upload};

/// Which uploads are listed: all of them by default.
///
/// ```
/// use tus_service::{UploadFilter, Phase};
///
/// let unfinished = UploadFilter::default().phase(Phase::Receiving).phase(Phase::Assembling);
/// let of_anna = UploadFilter::default().owner("anna");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadFilter {
    owner: Option<String>,
    phases: Vec<Phase>,
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

    /// The owner whose uploads pass; `None` for everybody's.
    pub fn by_owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Whether uploads in this phase pass.
    pub fn has_phase(&self, phase: Phase) -> bool {
        self.phases.is_empty() || self.phases.contains(&phase)
    }

    /// Whether an upload passes.
    pub fn passes(&self, upload: &Upload) -> bool {
        self.has_phase(upload.phase) && self.by_owner().is_none_or(|owner| upload.owner.as_deref() == Some(owner))
    }
}
