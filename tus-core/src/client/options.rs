//! What the caller decides once.

use std::{fmt, sync::Arc, time::Duration};

use super::Error;
use crate::Algorithm;

/// How uploads are sent.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) chunk_size: Option<u64>,
    pub(super) verification: Verification,
    pub(super) retry: Retry,
    pub(super) override_method: bool,
    pub(super) data_in_creation: bool,
    pub(super) renews_credentials: bool,
    pub(super) stop_at: Option<u64>,
}

/// Whether requests carry a checksum of their bytes (tus 1.0.0, "Checksum").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// No.
    Off,
    /// With this algorithm, where the server is known to offer it.
    IfOffered(Algorithm),
    /// With this algorithm, or not at all.
    Required(Algorithm),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            chunk_size: Some(DEFAULT_CHUNK),
            verification: Verification::IfOffered(Algorithm::Sha1),
            retry: Retry::default(),
            override_method: false,
            data_in_creation: false,
            renews_credentials: false,
            stop_at: None,
        }
    }
}

/// Bytes of a request where nothing else is said; also what is read ahead of a source whose length is not known.
pub(super) const DEFAULT_CHUNK: u64 = 1024 * 1024;

impl Options {
    /// Bytes of one request at most, 1 MiB by default; `None` for all in one request.
    ///
    /// # Errors
    ///
    /// When it is 0.
    pub fn chunk_size(mut self, bytes: Option<u64>) -> Result<Self, Error> {
        if bytes == Some(0) {
            return Err(Error::Invalid("the chunk size is 0, and must be at least a byte".into()));
        }
        self.chunk_size = bytes;
        Ok(self)
    }

    /// Whether requests carry a checksum: by default SHA-1, where the server offers it.
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// When and how often a request is tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sends PATCH and DELETE as POST with `X-HTTP-Method-Override`, for networks that know neither. Off by default.
    pub fn override_method(mut self, on: bool) -> Self {
        self.override_method = on;
        self
    }

    /// Sends the first bytes with the request that creates the upload, where the server offers that. Off by default.
    pub fn data_in_creation(mut self, on: bool) -> Self {
        self.data_in_creation = on;
        self
    }

    /// The driver gets new credentials for each request: one that was answered by `401` is sent once more. Off by
    /// default.
    pub fn renews_credentials(mut self, on: bool) -> Self {
        self.renews_credentials = on;
        self
    }

    /// Sends no byte past this one, counted from the start of the upload, and leaves the upload unfinished there.
    pub fn stop_at(mut self, offset: Option<u64>) -> Self {
        self.stop_at = offset;
        self
    }
}

/// When and how often a request is tried again that failed for a reason which may pass.
#[derive(Clone)]
pub struct Retry {
    pub(super) retries: u32,
    pub(super) delay: Duration,
    pub(super) longest: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) judge: Option<Arc<Judge>>,
}

type Judge = dyn Fn(&Error) -> Option<bool> + Send + Sync;

/// The longest time for which a server may send a client away by `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 3,
            delay: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            deadline: None,
            judge: None,
        }
    }
}

impl Retry {
    /// How often a request is tried again without any progress; 3 by default. Progress sets the count back.
    pub fn retries(mut self, most: u32) -> Self {
        self.retries = most;
        self
    }

    /// How long is waited before the first retry, 1 s by default, and at most, 60 s by default. It doubles from one
    /// retry to the next, and a random part of up to half of it is taken off.
    pub fn delay(mut self, first: Duration, longest: Duration) -> Self {
        (self.delay, self.longest) = (first, longest);
        self
    }

    /// How long all of it may take; no limit by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Decides what is tried again: `None` leaves it to the machine, which retries failed connections and the
    /// statuses 408, 409, 423, 429, 460 and 5xx.
    pub fn judge(mut self, judge: impl Fn(&Error) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// How long to wait before the retry after so many others. `jitter` is from 0 to 1.
    pub(super) fn wait(&self, before: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.delay.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX));
        let most = doubled.min(self.longest);
        let jittered = most.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        // What the server asks for is no matter of chance.
        asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("retries", &self.retries)
            .field("delay", &self.delay)
            .field("longest", &self.longest)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_jitter_takes_up_to_half() {
        let retry = Retry::default();
        let waits: Vec<_> = (0..9).map(|before| retry.wait(before, None, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retry.wait(1, None, 1.0), SECOND);
        assert_eq!(retry.wait(100, None, f64::NAN.max(0.5)), SECOND * 45);
    }

    #[test]
    fn a_server_may_ask_for_more_but_not_for_ever() {
        let retry = Retry::default();
        assert_eq!(retry.wait(0, Some(SECOND * 120), 0.5), SECOND * 120);
        assert_eq!(retry.wait(5, Some(SECOND), 0.0), SECOND * 32);
        assert_eq!(retry.wait(0, Some(Duration::MAX), 0.0), LONGEST_ASKED);
    }

    #[test]
    fn a_chunk_has_at_least_a_byte() {
        assert!(Options::default().chunk_size(Some(0)).is_err());
        assert!(Options::default().chunk_size(Some(1)).is_ok());
    }
}
