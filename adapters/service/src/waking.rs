//! The final uploads that are being processed because their parts may be complete.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tus_core::UploadId;

/// The final uploads that are being processed.
#[derive(Debug, Default)]
pub(crate) struct Waking(Mutex<HashMap<UploadId, Task>>);

#[derive(Debug)]
struct Task {
    /// Whether another part has become complete since.
    again: bool,
    ended: watch::Sender<Option<Ended>>,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether another process had claimed the upload.
    pub(crate) is_claimed_elsewhere: bool,
}

/// Waits for the end of a task.
#[derive(Debug)]
pub(crate) struct Ending(watch::Receiver<Option<Ended>>);

impl Waking {
    /// The end of the task for this upload, and whether that task must be started. A running task does another round
    /// instead.
    pub(crate) fn begin(&self, id: &UploadId) -> (Ending, bool) {
        let mut waking = self.table();
        if let Some(task) = waking.get_mut(id) {
            task.again = true;
            return (Ending(task.ended.subscribe()), false);
        }
        let (ended, ending) = watch::channel(None);
        waking.insert(id.clone(), Task { again: false, ended });
        (Ending(ending), true)
    }

    /// Whether the task for this upload is over, after a round that ended like this.
    pub(crate) fn end(&self, id: &UploadId, ended: Ended) -> bool {
        let mut waking = self.table();
        match waking.get_mut(id) {
            Some(task) if task.again => {
                task.again = false;
                false
            }
            _ => {
                if let Some(task) = waking.remove(id) {
                    task.ended.send_replace(Some(ended));
                }
                true
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<UploadId, Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// How the task ended; `None` if it ended without a result.
    pub(crate) async fn ended(mut self) -> Option<Ended> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|ended| *ended)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_task_at_a_time_processes_an_upload_and_repeats() {
        let (waking, id) = (Waking::default(), "a".parse().unwrap());
        let [here, elsewhere] = [false, true].map(|is_claimed_elsewhere| Ended { is_claimed_elsewhere });
        let (first, starts) = waking.begin(&id);
        assert!(starts);
        let (second, starts) = waking.begin(&id);
        assert!(!starts && !waking.begin(&id).1);
        assert!(!waking.end(&id, here), "another part became complete");
        assert!(first.ended().now_or_never().is_none());
        assert!(waking.end(&id, elsewhere));
        assert_eq!(second.ended().now_or_never(), Some(Some(elsewhere)));
        assert!(waking.begin(&id).1);
    }
}
