//! The final uploads that are being processed because their parts may be complete.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use tus_core::UploadId;

/// The final uploads that are being processed.
#[derive(Debug, Default)]
pub(crate) struct Waking(Mutex<HashMap<UploadId, Task>>);

#[derive(Debug, Default)]
struct Task {
    /// Whether another part has become complete since.
    again: bool,
    /// Fires when the task ends.
    ended: CancellationToken,
}

impl Waking {
    /// Whether a task for this upload must be started. A running task does another round instead.
    pub(crate) fn begin(&self, id: &UploadId) -> bool {
        let mut waking = self.table();
        match waking.get_mut(id) {
            Some(task) => {
                task.again = true;
                false
            }
            None => waking.insert(id.clone(), Task::default()).is_none(),
        }
    }

    /// Whether the task for this upload is over.
    pub(crate) fn end(&self, id: &UploadId) -> bool {
        let mut waking = self.table();
        match waking.get_mut(id) {
            Some(task) if task.again => {
                task.again = false;
                false
            }
            _ => {
                if let Some(task) = waking.remove(id) {
                    task.ended.cancel();
                }
                true
            }
        }
    }

    /// Fires when no task for this upload is running.
    pub(crate) fn ended(&self, id: &UploadId) -> CancellationToken {
        let over = || {
            let over = CancellationToken::new();
            over.cancel();
            over
        };
        self.table().get(id).map_or_else(over, |task| task.ended.clone())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_at_a_time_processes_an_upload_and_repeats() {
        let (waking, id) = (Waking::default(), "a".parse().unwrap());
        assert!(waking.ended(&id).is_cancelled());
        assert!(waking.begin(&id));
        let ended = waking.ended(&id);
        assert!(!waking.begin(&id) && !waking.begin(&id));
        assert!(!waking.end(&id), "another part became complete");
        assert!(!ended.is_cancelled());
        assert!(waking.end(&id) && ended.is_cancelled());
        assert!(waking.begin(&id));
    }
}
