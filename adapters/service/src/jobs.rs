//! The uploads of which the application is being notified, and how often that has failed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tus_core::Incarnation;

/// The number of hook calls that run at once. The others wait for a permit.
const AT_ONCE: usize = 64;

/// The number of jobs that run or wait. The other uploads stay due, and a sweep finds them.
const MOST: usize = 1024;

/// The number of uploads whose failed attempts are remembered. Beyond that, some counts start again.
const REMEMBERED: usize = 16 * 1024;

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Jobs {
    state: Mutex<State>,
    /// Permits for calls of the hook.
    pub(crate) turns: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    running: HashSet<Incarnation>,
    failed: HashMap<Incarnation, Failed>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    tries: u32,
    /// Whether the hook failed when it was called last, and not the storage.
    by_hook: bool,
    /// When the next attempt is allowed.
    next: Instant,
}

/// The one job for an upload, until it is dropped.
#[derive(Debug)]
pub(crate) struct Job {
    jobs: Arc<Jobs>,
    incarnation: Incarnation,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { state: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Jobs {
    /// Whether a job could start: none is running for the upload, its last failure is long enough ago, and there is
    /// room.
    pub(crate) fn may_begin(&self, incarnation: Incarnation) -> bool {
        self.state().may_begin(incarnation)
    }

    /// Whether the hook failed when it was called last, and the next attempt is still to come or to end.
    pub(crate) fn hook_failed(&self, incarnation: Incarnation) -> bool {
        self.state().failed.get(&incarnation).is_some_and(|failed| failed.by_hook)
    }

    pub(crate) fn is_running(&self, incarnation: Incarnation) -> bool {
        self.state().running.contains(&incarnation)
    }

    pub(crate) fn begin(self: &Arc<Self>, incarnation: Incarnation) -> Option<Job> {
        let mut state = self.state();
        if !state.may_begin(incarnation) {
            return None;
        }
        state.running.insert(incarnation);
        Some(Job { jobs: self.clone(), incarnation })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_begin(&self, incarnation: Incarnation) -> bool {
        let waits = self.failed.get(&incarnation).is_some_and(|failed| failed.next > Instant::now());
        !waits && self.running.len() < MOST && !self.running.contains(&incarnation)
    }
}

impl Job {
    /// The number of this attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.jobs.state().failed.get(&self.incarnation).map_or(0, |failed| failed.tries).saturating_add(1)
    }

    /// The attempt failed, in the hook or in the storage; `None` if the hook was not called. Returns the wait until the
    /// next one. Waits grow from one second to one hour.
    pub(crate) fn failed(&self, by_hook: Option<bool>) -> Duration {
        let mut state = self.jobs.state();
        let before = state.failed.get(&self.incarnation);
        let tries = before.map_or(0, |failed| failed.tries).saturating_add(1);
        let by_hook = by_hook.unwrap_or(before.is_some_and(|failed| failed.by_hook));
        let wait = Duration::from_secs(1).saturating_mul(1 << (tries - 1).min(12)).min(LONGEST);
        if state.failed.len() >= REMEMBERED && !state.failed.contains_key(&self.incarnation) {
            let any = state.failed.keys().next().copied();
            any.map(|any| state.failed.remove(&any));
        }
        state.failed.insert(self.incarnation, Failed { tries, by_hook, next: Instant::now() + wait });
        wait
    }

    /// Nothing remains to be tried.
    pub(crate) fn ended(&self) {
        self.jobs.state().failed.remove(&self.incarnation);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.jobs.state().running.remove(&self.incarnation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(bits: u128) -> Incarnation {
        Incarnation::from_random(bits)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_attempts_are_counted() {
        let jobs = Arc::new(Jobs::default());
        let job = jobs.begin(incarnation(1)).unwrap();
        assert!(jobs.begin(incarnation(1)).is_none() && jobs.begin(incarnation(2)).is_some());
        let mut last = Duration::ZERO;
        for attempt in 1..=20 {
            assert_eq!(job.attempt(), attempt);
            let wait = job.failed(Some(true));
            assert!(wait > last || wait == LONGEST, "{attempt}: {wait:?}");
            last = wait;
        }
        assert_eq!(last, LONGEST);
        drop(job);
        assert!(!jobs.may_begin(incarnation(1)) && jobs.hook_failed(incarnation(1)), "it is too early");
        tokio::time::advance(LONGEST).await;
        let job = jobs.begin(incarnation(1)).unwrap();
        assert_eq!(job.attempt(), 21);
        job.failed(None);
        assert!(jobs.hook_failed(incarnation(1)), "it was not called");
        job.failed(Some(false));
        assert!(!jobs.hook_failed(incarnation(1)), "this time, it was the storage");
        job.ended();
        drop(job);
        assert_eq!(jobs.begin(incarnation(1)).unwrap().attempt(), 1);
    }

    #[tokio::test]
    async fn jobs_and_their_history_are_bounded() {
        let jobs = Arc::new(Jobs::default());
        let running: Vec<_> = (0..MOST as u128).map(|bits| jobs.begin(incarnation(bits)).unwrap()).collect();
        assert!(!jobs.may_begin(incarnation(MOST as u128)));
        drop(running);
        for bits in 0..=REMEMBERED as u128 {
            jobs.begin(incarnation(bits)).unwrap().failed(Some(true));
        }
        assert_eq!(jobs.state().failed.len(), REMEMBERED);
        assert!(jobs.state().running.is_empty());
    }
}
