//! The uploads of which the application is being notified, and how often that has failed.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tus_core::{Incarnation, Stored, Version};

/// The number of hook calls that run at once. The others wait for a permit.
const AT_ONCE: usize = 64;

/// The number of jobs that run or wait. The other uploads stay due, and a sweep finds them.
const MOST: usize = 1024;

/// The number of uploads whose failed attempts are remembered. Beyond that, some counts start again.
const REMEMBERED: usize = 16 * 1024;

/// The number of notified uploads that are remembered: more than are notified while a request or a sweep holds a record.
const NOTIFIED: usize = 1024;

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
    /// With the version of the record that the application has approved.
    running: HashMap<Incarnation, Version>,
    failed: HashMap<Incarnation, Failed>,
    /// The uploads in `failed`, by the end of their waits.
    waiting: BTreeSet<(Instant, u128)>,
    /// The records of the uploads of which the application was notified last, in the version before that was recorded.
    /// They may have been loaded before.
    notified: VecDeque<(Incarnation, Version)>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// How often the application could not be notified.
    tries: u32,
    /// Whether the hook failed when it was called last, and not the storage.
    by_hook: bool,
    /// When the next attempt is allowed.
    next: Instant,
    /// How often it has rejected the upload in a sweep.
    rejections: u32,
    /// When a sweep may ask again.
    ask_again: Instant,
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
    /// Whether a sweep may complete the upload: a job could start, and the application has not rejected the upload a short
    /// while ago.
    pub(crate) fn may_ask(&self, stored: &Stored) -> bool {
        let state = self.state();
        let failed = state.failed.get(&stored.upload.incarnation);
        state.may_begin(stored) && failed.is_none_or(|failed| failed.ask_again <= Instant::now())
    }

    /// Whether the hook failed when it was called last, and the next attempt is still to come or to end.
    pub(crate) fn hook_failed(&self, incarnation: Incarnation) -> bool {
        self.state().failed.get(&incarnation).is_some_and(|failed| failed.by_hook)
    }

    /// Whether a job is running for the upload in this version, or has just succeeded: the application has approved it.
    pub(crate) fn is_approved(&self, stored: &Stored) -> bool {
        self.state().is_approved(stored)
    }

    /// Begins the job for an upload that the application has approved.
    pub(crate) fn begin(self: &Arc<Self>, stored: &Stored) -> Option<Job> {
        let incarnation = stored.upload.incarnation;
        let mut state = self.state();
        // The approval ends the wait after rejections, even if there is no room: a sweep may continue at once.
        if state.failed.contains_key(&incarnation) {
            state.change(incarnation, |failed| (failed.rejections, failed.ask_again) = (0, Instant::now()));
        }
        if !state.may_begin(stored) {
            return None;
        }
        state.running.insert(incarnation, stored.version.clone());
        Some(Job { jobs: self.clone(), incarnation })
    }

    /// The application has rejected an upload in a sweep. Sweeps ask again after a wait that grows from one second to one
    /// hour, and that an approval ends; a client may ask at any time.
    pub(crate) fn rejected(&self, incarnation: Incarnation) {
        self.state().change(incarnation, |failed| {
            failed.rejections = failed.rejections.saturating_add(1);
            failed.ask_again = Instant::now() + wait_after(failed.rejections);
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait after so many failures, from 1: it grows from one second to one hour.
fn wait_after(failures: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << (failures - 1).min(12)).min(LONGEST)
}

impl Failed {
    fn waits_until(&self) -> Instant {
        self.next.max(self.ask_again)
    }
}

impl State {
    /// Changes what is remembered of an upload. If too many are remembered, another one is forgotten: the one whose wait
    /// ends first, since it may be gone if that was long ago. An upload whose job is running is kept.
    fn change<T>(&mut self, incarnation: Incarnation, change: impl FnOnce(&mut Failed) -> T) -> T {
        let now = Instant::now();
        let nothing = Failed { tries: 0, by_hook: false, next: now, rejections: 0, ask_again: now };
        let mut failed = self.forget(incarnation).unwrap_or(nothing);
        let changed = change(&mut failed);
        if self.failed.len() >= REMEMBERED {
            let mut waiting = self.waiting.iter().map(|(_, bits)| Incarnation::from_random(*bits));
            let unused = waiting.find(|other| !self.running.contains_key(other));
            unused.map(|unused| self.forget(unused));
        }
        self.waiting.insert((failed.waits_until(), incarnation.to_bits()));
        self.failed.insert(incarnation, failed);
        changed
    }

    fn forget(&mut self, incarnation: Incarnation) -> Option<Failed> {
        let failed = self.failed.remove(&incarnation)?;
        self.waiting.remove(&(failed.waits_until(), incarnation.to_bits()));
        Some(failed)
    }

    fn is_approved(&self, stored: &Stored) -> bool {
        let (incarnation, version) = (stored.upload.incarnation, &stored.version);
        self.running.get(&incarnation) == Some(version)
            || self.notified.iter().any(|(other, before)| *other == incarnation && before == version)
    }

    fn may_begin(&self, stored: &Stored) -> bool {
        let waits = self.failed.get(&stored.upload.incarnation).is_some_and(|failed| failed.next > Instant::now());
        let runs = self.running.contains_key(&stored.upload.incarnation);
        !waits && !runs && self.running.len() < MOST && !self.is_approved(stored)
    }
}

impl Job {
    /// The number of this attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.jobs.state().failed.get(&self.incarnation).map_or(0, |failed| failed.tries).saturating_add(1)
    }

    /// The attempt failed, in the hook or in the storage; `None` if the hook was not called. Returns the wait until the
    /// next one.
    pub(crate) fn failed(&self, by_hook: Option<bool>) -> Duration {
        self.jobs.state().change(self.incarnation, |failed| {
            failed.tries = failed.tries.saturating_add(1);
            failed.by_hook = by_hook.unwrap_or(failed.by_hook);
            let wait = wait_after(failed.tries);
            failed.next = Instant::now() + wait;
            wait
        })
    }

    /// The application was notified of the upload in this version, and the storage has recorded it.
    pub(crate) fn notified(&self, stored: &Stored) {
        let mut state = self.jobs.state();
        state.forget(self.incarnation);
        if state.notified.len() == NOTIFIED {
            state.notified.pop_front();
        }
        state.notified.push_back((self.incarnation, stored.version.clone()));
    }

    /// The upload was changed by others or is gone: this job has nothing left to try.
    pub(crate) fn overtaken(&self) {
        self.jobs.state().forget(self.incarnation);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.jobs.state().running.remove(&self.incarnation);
    }
}

#[cfg(test)]
mod tests {
    use tus_core::{Kind, Upload};

    use super::*;

    fn stored(bits: u128) -> Stored {
        let upload = Upload::new("a".parse().unwrap(), Incarnation::from_random(bits), Kind::Single);
        Stored::new(upload, Version::from(1))
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_attempts_are_counted() {
        let jobs = Arc::new(Jobs::default());
        let upload = stored(1);
        let job = jobs.begin(&upload).unwrap();
        assert!(jobs.begin(&upload).is_none() && jobs.begin(&stored(2)).is_some());
        let mut last = Duration::ZERO;
        for attempt in 1..=20 {
            assert_eq!(job.attempt(), attempt);
            let wait = job.failed(Some(true));
            assert!(wait > last || wait == LONGEST, "{attempt}: {wait:?}");
            last = wait;
        }
        assert_eq!(last, LONGEST);
        drop(job);
        assert!(!jobs.may_ask(&upload) && jobs.hook_failed(upload.upload.incarnation), "it is too early");
        tokio::time::advance(LONGEST).await;
        let job = jobs.begin(&upload).unwrap();
        assert_eq!(job.attempt(), 21);
        job.failed(None);
        assert!(jobs.hook_failed(upload.upload.incarnation), "it was not called");
        job.failed(Some(false));
        assert!(!jobs.hook_failed(upload.upload.incarnation), "this time, it was the storage");
        job.overtaken();
        drop(job);
        assert_eq!(jobs.begin(&upload).unwrap().attempt(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_approval_ends_the_wait_after_rejections() {
        let jobs = Arc::new(Jobs::default());
        let upload = stored(1);
        let reject = || (0..20).for_each(|_| jobs.rejected(upload.upload.incarnation));
        reject();
        assert!(!jobs.may_ask(&upload));
        drop(jobs.begin(&upload).unwrap());
        assert!(jobs.may_ask(&upload));
        jobs.rejected(upload.upload.incarnation);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(jobs.may_ask(&upload), "the waits grow from the start again");

        reject();
        let others: Vec<_> = (0..MOST as u128).map(|bits| jobs.begin(&stored(2 + bits)).unwrap()).collect();
        assert!(jobs.begin(&upload).is_none(), "there is no room");
        drop(others);
        assert!(jobs.may_ask(&upload), "a sweep may start what did not begin");
    }

    /// An upload that lost bytes afterwards, and has received them again, is another version.
    #[test]
    fn an_outdated_record_starts_no_job() {
        let jobs = Arc::new(Jobs::default());
        let upload = stored(1);
        assert!(!jobs.is_approved(&upload));
        let job = jobs.begin(&upload).unwrap();
        assert!(jobs.is_approved(&upload));
        let mut again = upload.clone();
        again.version = Version::from(7);
        assert!(!jobs.is_approved(&again) && jobs.begin(&again).is_none(), "one job at a time");
        job.notified(&upload);
        drop(job);
        assert!(jobs.is_approved(&upload) && jobs.begin(&upload).is_none());
        assert!(!jobs.is_approved(&again) && jobs.begin(&again).is_some());
    }

    #[tokio::test]
    async fn jobs_and_their_history_are_bounded() {
        let jobs = Arc::new(Jobs::default());
        let running: Vec<_> = (0..MOST as u128).map(|bits| jobs.begin(&stored(bits)).unwrap()).collect();
        assert!(!jobs.may_ask(&stored(MOST as u128)));
        drop(running);
        for bits in 0..=REMEMBERED as u128 {
            jobs.begin(&stored(bits)).unwrap().failed(Some(true));
        }
        let later = REMEMBERED as u128 + 1;
        for upload in (0..=NOTIFIED as u128).map(|bits| stored(later + bits)) {
            jobs.begin(&upload).unwrap().notified(&upload);
        }
        let state = jobs.state();
        assert_eq!((state.failed.len(), state.notified.len()), (REMEMBERED, NOTIFIED));
        assert!(state.running.is_empty() && state.waiting.len() == REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn the_history_of_what_may_be_gone_is_forgotten_first() {
        const RUNNING: u128 = 100;
        let jobs = Arc::new(Jobs::default());
        let begin = |bits| jobs.begin(&stored(bits)).unwrap();
        let running: Vec<_> = (0..RUNNING).map(begin).collect();
        for job in &running {
            job.failed(Some(true));
        }
        begin(RUNNING).failed(Some(true));
        tokio::time::advance(Duration::from_secs(2)).await;
        for bits in RUNNING + 1..=REMEMBERED as u128 {
            begin(bits).failed(Some(true));
        }
        let forgotten = |bits: &u128| !jobs.hook_failed(Incarnation::from_random(*bits));
        let forgotten: Vec<_> = (0..=REMEMBERED as u128).filter(forgotten).collect();
        assert_eq!(forgotten, [RUNNING], "the others run or wait");
    }
}
