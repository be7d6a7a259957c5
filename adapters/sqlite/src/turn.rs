//! The right to make a call in place, on a worker thread of the application.
//!
//! A disk may hang at any call, without a slow one before. So one call at a time is in place, in the process, and only
//! where the runtime has other workers, which serve the application meanwhile. Whichever of tokio's workers sleeps first waits
//! for sockets and timers on behalf of all. If that one is woken to make the call, the others may not notice, and
//! sleep on. So a thread looks whether the call is over soon, and if it is not, wakes another worker.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::{self, Thread},
    time::Duration,
};

use tokio::runtime::Handle;

/// How long a call may take before another worker is woken.
const PATIENCE: Duration = Duration::from_millis(10);

/// The thread sleeps after so many looks without a call.
const IDLE: u32 = 100;

/// All storages of a process share its workers.
pub(crate) static TURN: Turn = Turn::new();

#[derive(Debug)]
pub(crate) struct Turn {
    taken: AtomicBool,
    /// Calls that were made.
    calls: AtomicU64,
    /// Where the call is in place.
    runtime: Mutex<Option<Handle>>,
    /// Looks after the call; `None` where it cannot be started.
    watch: OnceLock<Option<Thread>>,
    is_asleep: AtomicBool,
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            runtime: Mutex::new(None),
            watch: OnceLock::new(),
            is_asleep: AtomicBool::new(false),
        }
    }

    /// Takes the turn, unless it is taken. A runtime of one thread, as each of actix-web's, makes no call in place.
    pub(crate) fn take(&'static self) -> Option<InPlace> {
        let runtime = Handle::try_current().ok().filter(|runtime| runtime.metrics().num_workers() > 1)?;
        let watch = self.watch.get_or_init(|| self.start_watch()).as_ref()?;
        if self.taken.swap(true, SeqCst) {
            return None;
        }
        self.calls.fetch_add(1, SeqCst);
        *self.runtime() = Some(runtime);
        if self.is_asleep.load(SeqCst) {
            self.is_asleep.store(false, SeqCst);
            watch.unpark();
        }
        Some(InPlace(self))
    }

    fn start_watch(&'static self) -> Option<Thread> {
        let started = thread::Builder::new().name("tus-sqlite-watch".into()).spawn(|| self.watch());
        let started =
            started.inspect_err(|error| tracing::warn!(%error, "no call is made in place: no thread can be started"));
        Some(started.ok()?.thread().clone())
    }

    fn watch(&self) {
        let mut idle = 0;
        loop {
            let before = self.calls.load(Relaxed);
            thread::sleep(PATIENCE);
            let is_taken = self.taken.load(SeqCst);
            let is_same = self.calls.load(SeqCst) == before;
            if is_taken && is_same {
                // A worker that was woken looks after sockets and timers before it sleeps again.
                if let Some(runtime) = &*self.runtime() {
                    drop(runtime.spawn(async {}));
                }
            }
            idle = if is_taken || !is_same { 0 } else { idle + 1 };
            if idle >= IDLE {
                idle = 0;
                self.is_asleep.store(true, SeqCst);
                // A call that began before that did not see it.
                while self.is_asleep.load(SeqCst) && !self.taken.load(SeqCst) {
                    thread::park();
                }
                self.is_asleep.store(false, SeqCst);
            }
        }
    }

    fn runtime(&self) -> MutexGuard<'_, Option<Handle>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is in place.
#[derive(Debug)]
pub(crate) struct InPlace(&'static Turn);

impl Drop for InPlace {
    fn drop(&mut self) {
        *self.0.runtime() = None;
        self.0.taken.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{self, RecvTimeoutError},
        time::Instant,
    };

    use super::*;

    fn turn() -> &'static Turn {
        Box::leak(Box::new(Turn::new()))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn timers_run_while_a_call_hangs() {
        let turn = turn();
        for round in 0..20 {
            let (fired, hears) = mpsc::channel();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                let _ = fired.send(());
            });
            let hanging = tokio::spawn(async move {
                let _in_place = turn.take().unwrap();
                hears.recv_timeout(Duration::from_secs(30))
            });
            assert_ne!(hanging.await.unwrap(), Err(RecvTimeoutError::Timeout), "in round {round}");
            timer.await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_watch_sleeps_when_nothing_happens_and_wakes_up() {
        let turn = turn();
        drop(turn.take().unwrap());
        let began = Instant::now();
        while !turn.is_asleep.load(SeqCst) {
            assert!(began.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(PATIENCE).await;
        }
        drop(turn.take().unwrap());
        assert!(!turn.is_asleep.load(SeqCst));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_makes_no_call_in_place() {
        assert!(turn().take().is_none());
    }

    #[test]
    fn without_a_runtime_no_call_is_in_place() {
        assert!(turn().take().is_none());
    }
}
