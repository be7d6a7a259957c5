//! Where to do what mostly takes microseconds, and now and then waits for a disk.
//!
//! The page cache answers at once, and a thread to wait in costs more than the answer. So such calls are made where they
//! are needed, as long as they are quick; once one was not, they are made where waiting harms nobody, until many
//! in a row were quick again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tus_service::StorageError;

use crate::files::blocking;

/// Calls that took no longer, in a row.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU32);

/// What a call takes that did not wait, at most; a thread that is not given its turn may take this long, too.
const QUICK: Duration = Duration::from_millis(10);

/// So many quick calls in a row say that the next one will be.
const ENOUGH: u32 = 64;

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU32::new(ENOUGH))
    }
}

impl Pace {
    /// Runs `operation`: here if it can be expected to be quick, and else where it may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        if self.is_quick() {
            return self.time(operation);
        }
        let (result, took) = blocking(|| Ok(timed(operation))).await?;
        self.took(took);
        result
    }

    /// Runs `operation` here.
    pub(crate) fn time<T>(&self, operation: impl FnOnce() -> T) -> T {
        let (result, took) = timed(operation);
        self.took(took);
        result
    }

    /// Whether the next call can be expected to be quick.
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENOUGH
    }

    fn took(&self, time: Duration) {
        if time > QUICK {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_quick() {
            self.0.fetch_add(1, Ordering::Relaxed);
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

    #[tokio::test]
    async fn who_was_slow_is_sent_away_until_he_was_quick_for_long() {
        let pace = Pace::default();
        let here = thread::current().id();
        let is_here = async || pace.run(move || Ok(thread::current().id() == here)).await.unwrap();
        assert!(is_here().await);
        pace.took(QUICK + Duration::from_nanos(1));
        for _ in 0..ENOUGH {
            assert!(!is_here().await);
        }
        assert!(is_here().await);
    }
}
