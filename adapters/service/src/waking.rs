//! Which final uploads are being looked after because a part became complete.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tus_core::UploadId;

/// The final uploads that are being looked after, and whether another part became complete meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Waking(Mutex<HashMap<UploadId, bool>>);

impl Waking {
    /// Whether a task for this upload has to begin; one that runs goes round again.
    pub(crate) fn begin(&self, id: &UploadId) -> bool {
        let mut waking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waking.get_mut(id) {
            Some(again) => {
                *again = true;
                false
            }
            None => waking.insert(id.clone(), false).is_none(),
        }
    }

    /// Whether the task for this upload is over.
    pub(crate) fn end(&self, id: &UploadId) -> bool {
        let mut waking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waking.get_mut(id) {
            Some(again) if *again => {
                *again = false;
                false
            }
            _ => {
                waking.remove(id);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_at_a_time_looks_after_an_upload_and_goes_round_again() {
        let (waking, id) = (Waking::default(), "a".parse().unwrap());
        assert!(waking.begin(&id));
        assert!(!waking.begin(&id) && !waking.begin(&id));
        assert!(!waking.end(&id), "a part became complete meanwhile");
        assert!(waking.end(&id));
        assert!(waking.begin(&id));
    }
}
