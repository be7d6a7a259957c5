//! A thread for calls that usually take microseconds, and sometimes wait for a disk.
//!
//! A disk may hang in any call, so no call runs on the application's own workers. Passing each to a pool costs more
//! than the call, because the pool wakes a thread for it. This thread makes one call after another and sleeps only
//! when none waits: under load, nobody is woken.
//!
//! A slow call delays nobody: calls that arrive during it go to the pool, and those that wait behind it are moved
//! there. The pool is the application's, too: calls of this crate use an eighth of it, however long a disk hangs.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit, oneshot},
    task::{JoinHandle, spawn_blocking},
};
use tus_service::StorageError;

/// How long a call may take before others bypass it.
const LONG: Duration = Duration::from_millis(2);

/// The most calls that wait. Beyond that, one thread is not enough.
const WAITING: usize = 32;

/// The most calls on the pool at once, which has 512 threads by default.
const ON_POOL: usize = 64;

/// How often calls that wait behind a slow one are looked for.
const LOOK: Duration = Duration::from_millis(10);

/// After this many checks without a call, the watcher sleeps until there is one.
const IDLE: u32 = 100;

/// Turns of calls on the pool that concern other disks than that of the uploads.
static ELSEWHERE: Semaphore = Semaphore::const_new(16);

/// All storages of a process share it.
static LANE: Lane = Lane::new();

/// Runs `operation`, which is usually quick, where it may block.
pub(crate) async fn quick<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let (sender, receiver) = oneshot::channel();
    LANE.call(Box::new(move || drop(sender.send(operation())))).await;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("a call of the storage panicked").into()))
}

/// Runs `operation`, which may take long, where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    ended(LANE.on_pool(operation).await).await
}

/// The same for an operation on another disk than that of the uploads, which may hang by itself.
pub(crate) async fn blocking_elsewhere<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    ended(on_pool(&ELSEWHERE, operation).await).await
}

async fn ended<T>(call: JoinHandle<Result<T, StorageError>>) -> Result<T, StorageError> {
    call.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

/// Starts a call on the pool when it is its turn.
async fn on_pool<T: Send + 'static>(
    turns: &'static Semaphore,
    call: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    // It is never closed.
    let turn = turns.acquire().await.ok();
    spawn_blocking(move || with(turn, call))
}

type Call = Box<dyn FnOnce() + Send>;

struct Lane {
    state: Mutex<State>,
    /// Signals that a call waits.
    bell: Condvar,
    /// Signals that calls must be watched.
    watch_bell: Condvar,
    is_started: OnceLock<bool>,
    pool: Semaphore,
}

struct State {
    waiting: VecDeque<(Handle, Call)>,
    /// When the running call started.
    running: Option<Instant>,
    is_asleep: bool,
    watch_is_asleep: bool,
}

impl State {
    fn runs_long(&self) -> bool {
        self.running.is_some_and(|since| since.elapsed() >= LONG)
    }
}

impl Lane {
    const fn new() -> Self {
        let state = State { waiting: VecDeque::new(), running: None, is_asleep: false, watch_is_asleep: false };
        Self {
            state: Mutex::new(state),
            bell: Condvar::new(),
            watch_bell: Condvar::new(),
            is_started: OnceLock::new(),
            pool: Semaphore::const_new(ON_POOL),
        }
    }

    /// Lets the thread make a call, or the pool if the thread is slow.
    async fn call(&'static self, call: Call) {
        if let Some(call) = self.enqueue(call) {
            drop(self.on_pool(call).await);
        }
    }

    async fn on_pool<T: Send + 'static>(&'static self, call: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        on_pool(&self.pool, call).await
    }

    /// Gives a call to the thread, or gives it back if the thread is slow.
    fn enqueue(&'static self, call: Call) -> Option<Call> {
        let pool = Handle::current();
        let is_started = *self.is_started.get_or_init(|| self.start());
        let mut state = self.state();
        if !is_started || state.waiting.len() >= WAITING || state.runs_long() {
            return Some(call);
        }
        state.waiting.push_back((pool, call));
        let wakes = std::mem::take(&mut state.is_asleep);
        let wakes_watch = std::mem::take(&mut state.watch_is_asleep);
        // Released first: the woken thread would wait for it.
        drop(state);
        if wakes {
            self.bell.notify_one();
        }
        if wakes_watch {
            self.watch_bell.notify_one();
        }
        None
    }

    fn start(&'static self) -> bool {
        let start =
            |name: &str, run: fn(&'static Self)| thread::Builder::new().name(name.into()).spawn(move || run(self));
        let started = start("tus-sqlite-watch", Self::watch).and_then(|_| start("tus-sqlite-calls", Self::run));
        if let Err(error) = &started {
            tracing::warn!(%error, "no thread can be started for quick calls: the runtime's pool for blocking calls is used instead");
        }
        started.is_ok()
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            let Some((_, call)) = state.waiting.pop_front() else {
                state.is_asleep = true;
                while state.is_asleep {
                    state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                continue;
            };
            state.running = Some(Instant::now());
            drop(state);
            // If it panics, the caller's receiver reports that there is no result.
            let _ = catch_unwind(AssertUnwindSafe(call));
            state = self.state();
            state.running = None;
        }
    }

    /// Moves calls that wait behind a slow one to the pool.
    fn watch(&'static self) {
        let mut idle = 0;
        loop {
            thread::sleep(LOOK);
            let mut state = self.state();
            idle = if state.is_asleep { idle + 1 } else { 0 };
            if idle >= IDLE {
                state.watch_is_asleep = true;
                while state.watch_is_asleep {
                    state = self.watch_bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                idle = 0;
            } else if state.runs_long() {
                let mut waiting = std::mem::take(&mut state.waiting);
                drop(state);
                while let Ok(turn) = self.pool.try_acquire()
                    && let Some((pool, call)) = waiting.pop_front()
                {
                    // It panics if the system has no thread, and keeps the call. The others wait for the next check.
                    let started = || pool.spawn_blocking(move || with(Some(turn), call));
                    if catch_unwind(AssertUnwindSafe(started)).is_err() {
                        break;
                    }
                }
                let mut state = self.state();
                waiting.append(&mut state.waiting);
                state.waiting = waiting;
                // The slow call may have ended in the meantime.
                if !state.waiting.is_empty() && std::mem::take(&mut state.is_asleep) {
                    self.bell.notify_one();
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a call and then ends its turn.
fn with<T>(turn: Option<SemaphorePermit<'_>>, call: impl FnOnce() -> T) -> T {
    let result = call();
    drop(turn);
    result
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn lane() -> &'static Lane {
        Box::leak(Box::new(Lane::new()))
    }

    /// Returns the name of the thread that makes a call.
    async fn place(lane: &'static Lane) -> Option<String> {
        let (sender, receiver) = oneshot::channel();
        lane.call(Box::new(move || drop(sender.send(thread::current().name().map(str::to_owned))))).await;
        receiver.await.unwrap()
    }

    /// Lets the thread make a call that returns when the result is dropped.
    async fn hang(lane: &'static Lane) -> mpsc::Sender<()> {
        let (go_on, hangs) = mpsc::channel();
        let (began, begins) = oneshot::channel();
        lane.call(Box::new(move || {
            began.send(()).unwrap();
            let _ = hangs.recv();
        }))
        .await;
        begins.await.unwrap();
        go_on
    }

    #[tokio::test]
    async fn a_quick_call_runs_on_the_thread() {
        assert_eq!(place(lane()).await.as_deref(), Some("tus-sqlite-calls"));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_hanging_call() {
        let lane = lane();
        let go_on = hang(lane).await;
        // Some of them arrive early and are moved; the others notice that it takes long.
        for _ in 0..100 {
            assert_ne!(place(lane).await.as_deref(), Some("tus-sqlite-calls"));
        }
        drop(go_on);
        while place(lane).await.as_deref() != Some("tus-sqlite-calls") {}
    }

    #[tokio::test]
    async fn excess_calls_go_to_the_pool() {
        let lane = lane();
        let go_on = hang(lane).await;
        let calls: Vec<_> = (0..2 * WAITING).map(|_| place(lane)).collect();
        let places = futures_util::future::join_all(calls).await;
        assert!(places.iter().all(|place| place.as_deref() != Some("tus-sqlite-calls")));
        assert!(lane.state().waiting.is_empty());
        drop(go_on);
    }

    /// The application has calls of its own that need another disk, or none.
    #[tokio::test]
    async fn a_hanging_disk_leaves_most_of_the_pool_to_the_application() {
        let lane = lane();
        let (go_on, hangs) = mpsc::channel::<()>();
        let hangs = std::sync::Arc::new(Mutex::new(hangs));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..600 {
            let hangs = hangs.clone();
            calls.spawn(async move {
                let (sender, receiver) = oneshot::channel::<()>();
                let hang = move || {
                    let _ = hangs.lock().unwrap().recv();
                    drop(sender);
                };
                lane.call(Box::new(hang)).await;
                let _ = receiver.await;
            });
        }
        while lane.pool.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        spawn_blocking(|| ()).await.unwrap();
        drop(go_on);
        while calls.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn a_panicking_call_affects_only_itself() {
        let panics = quick(|| -> Result<(), _> { panic!("a defect") });
        assert!(panics.await.is_err());
        assert_eq!(quick(|| Ok(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_watch_survives_a_pool_without_threads() {
        let lane = lane();
        let go_on = hang(lane).await;
        // No system has memory for such a stack.
        let poor = tokio::runtime::Builder::new_current_thread().thread_stack_size(1 << 60).build().unwrap();
        lane.state().waiting.push_back((poor.handle().clone(), Box::new(|| {})));
        let (sender, receiver) = oneshot::channel();
        let call = move || drop(sender.send(thread::current().name().map(str::to_owned)));
        lane.state().waiting.push_back((Handle::current(), Box::new(call)));
        let place = tokio::time::timeout(Duration::from_secs(60), receiver).await.unwrap().unwrap();
        assert_ne!(place.as_deref(), Some("tus-sqlite-calls"));
        drop(go_on);
        poor.shutdown_background();
    }

    #[tokio::test]
    async fn the_watch_sleeps_when_nothing_happens_and_wakes_up() {
        let lane = lane();
        place(lane).await;
        let began = Instant::now();
        while !lane.state().watch_is_asleep {
            assert!(began.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(LOOK).await;
        }
        place(lane).await;
        assert!(!lane.state().watch_is_asleep);
    }
}
