//! Adaptive blocking: where to make calls that mostly take microseconds, and now and then wait for a disk.
//!
//! The page cache answers at once, and moving a call to another thread costs more than the answer. So such a call is made
//! in place, on the application's own worker thread, while those before it were quick. Once one was slow, they move to
//! threads that may block, until many in a row were quick again. At most one is in place at a time.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tus_service::StorageError;

use crate::{
    files::blocking,
    turn::{InPlace, TURN, Turn},
};

/// Calls that took no longer, in a row.
#[derive(Debug)]
pub(crate) struct Pace {
    quick: AtomicU32,
    turn: &'static Turn,
}

/// What a call takes that did not wait, at most; a thread that is not given its turn may take this long, too.
const QUICK: Duration = Duration::from_millis(10);

/// So many quick calls in a row say that the next one will be.
const ENOUGH: u32 = 64;

impl Default for Pace {
    fn default() -> Self {
        Self { quick: AtomicU32::new(ENOUGH), turn: &TURN }
    }
}

impl Pace {
    /// Runs `operation`: in place if it can be expected to be quick and no other call is, and else where it may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        if let Some(turn) = self.turn() {
            let result = self.time(operation);
            drop(turn);
            return result;
        }
        let (result, took) = blocking(|| Ok(timed(operation))).await?;
        self.took(took);
        result
    }

    /// The right to make a call in place, until it is dropped.
    pub(crate) fn turn(&self) -> Option<InPlace> {
        if self.quick.load(Ordering::Relaxed) < ENOUGH { None } else { self.turn.take() }
    }

    /// Runs `operation` here.
    pub(crate) fn time<T>(&self, operation: impl FnOnce() -> T) -> T {
        let (result, took) = timed(operation);
        self.took(took);
        result
    }

    fn took(&self, time: Duration) {
        if time > QUICK {
            self.quick.store(0, Ordering::Relaxed);
        } else if self.quick.load(Ordering::Relaxed) < ENOUGH {
            self.quick.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn timed<T>(operation: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = operation();
    (result, began.elapsed())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// One that shares its turn with nobody.
    fn pace() -> Pace {
        let turn = Box::leak(Box::new(Turn::new()));
        Pace { turn, ..Pace::default() }
    }

    async fn is_in_place(pace: &Pace) -> bool {
        let here = thread::current().id();
        pace.run(move || Ok(thread::current().id() == here)).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn slow_calls_move_to_blocking_threads_until_many_were_quick() {
        let pace = pace();
        assert!(is_in_place(&pace).await);
        pace.took(QUICK + Duration::from_nanos(1));
        let mut away = 0;
        while !is_in_place(&pace).await {
            away += 1;
        }
        // On a busy machine, some of them are not quick.
        assert!(away >= ENOUGH, "{away}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_call_at_a_time_is_in_place() {
        let pace = pace();
        let other = Pace { turn: pace.turn, ..Pace::default() };
        let turn = pace.turn().unwrap();
        assert!(!is_in_place(&pace).await && !is_in_place(&other).await);
        drop(turn);
        for pace in [&pace, &other] {
            // On a busy machine, they may not have been quick.
            pace.quick.store(ENOUGH, Ordering::Relaxed);
            assert!(is_in_place(pace).await);
        }
    }
}
