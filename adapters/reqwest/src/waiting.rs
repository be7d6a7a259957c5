//! Waits before retries, as a caller sees them.

use std::{fmt, time::Duration};

use tus_core::client::{Error, Task, Wait};

/// A wait before a retry.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// Its duration.
    pub duration: Duration,
    /// The number of the retry since the last progress, starting at 1; 0 if nothing has failed but the server is not
    /// done ([`Error::Pending`]).
    pub retry: u32,
    /// Why the last request failed.
    pub reason: &'a Error,
}

type Callback = dyn Fn(&Waiting<'_>) + Send + Sync;

/// Where waits are reported.
#[derive(Default)]
pub(crate) struct OnWait(pub(crate) Option<Box<Callback>>);

impl OnWait {
    pub(crate) fn report<T: Task>(&self, wait: &Wait<T>) {
        let waiting = Waiting { duration: wait.duration(), retry: wait.retries(), reason: wait.reason() };
        tracing::debug!(
            reason = %waiting.reason, wait = ?waiting.duration, retry = waiting.retry,
            "a request failed and will be retried"
        );
        self.0.iter().for_each(|report| report(&waiting));
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a function" } else { "nothing" })
    }
}
