//! Settings of the caller.

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
#[non_exhaustive]
pub enum Verification {
    /// No.
    Off,
    /// With this algorithm, if the server is known to offer it.
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

/// The default size of a request in bytes; also what is read ahead from a source of unknown length.
pub(super) const DEFAULT_CHUNK: u64 = 1024 * 1024;

impl Options {
    /// The maximum size of a request in bytes, 1 MiB by default; `None` sends everything in one request.
    ///
    /// # Errors
    ///
    /// When it is 0.
    pub fn chunk_size(mut self, bytes: Option<u64>) -> Result<Self, Error> {
        if bytes == Some(0) {
            return Err(Error::Invalid("the chunk size is 0, but must be at least 1 byte".into()));
        }
        self.chunk_size = bytes;
        Ok(self)
    }

    /// Whether requests carry a checksum: by default SHA-1, if the server offers it.
    pub fn verification(mut self, verification: Verification) -> Self {
        self.verification = verification;
        self
    }

    /// When and how often a request is retried.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sends PATCH and DELETE as POST with `X-HTTP-Method-Override`, for networks that block these methods. Off by
    /// default.
    pub fn override_method(mut self, on: bool) -> Self {
        self.override_method = on;
        self
    }

    /// Sends the first bytes with the request that creates the upload, if the server offers that. Off by default.
    pub fn data_in_creation(mut self, on: bool) -> Self {
        self.data_in_creation = on;
        self
    }

    /// The driver gets new credentials for each request, so a request answered by `401` is sent once more. Off by
    /// default.
    pub fn renews_credentials(mut self, on: bool) -> Self {
        self.renews_credentials = on;
        self
    }

    /// Stops at this offset of the upload and leaves it unfinished there.
    pub fn stop_at(mut self, offset: Option<u64>) -> Self {
        self.stop_at = offset;
        self
    }
}

/// When and how often a request is retried after a temporary failure.
#[derive(Clone)]
pub struct Retry {
    pub(super) retries: u32,
    pub(super) delay: Duration,
    pub(super) longest: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) judge: Option<Arc<Judge>>,
}

type Judge = dyn Fn(&Error) -> Option<bool> + Send + Sync;

/// The longest `Retry-After` that a client obeys.
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
    /// The number of retries without progress; 3 by default. Progress resets the count.
    pub fn retries(mut self, most: u32) -> Self {
        self.retries = most;
        self
    }

    /// The delay before the first retry, 1 s by default, and the maximum delay, 60 s by default. It doubles with each
    /// retry, less a random part of up to half of it.
    pub fn delay(mut self, first: Duration, longest: Duration) -> Self {
        (self.delay, self.longest) = (first, longest);
        self
    }

    /// The time limit for everything; no limit by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Decides what is retried: `None` leaves it to the machine, which retries failed connections and the statuses 408,
    /// 409, 423, 429, 460 and 5xx.
    pub fn judge(mut self, judge: impl Fn(&Error) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// The delay before the next retry after this many. `jitter` is from 0 to 1.
    pub(super) fn wait(&self, before: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.delay.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX));
        let most = doubled.min(self.longest);
        let jittered = most.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        // Jitter does not shorten what the server asks for.
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
    fn delays_double_up_to_the_maximum_and_jitter_removes_up_to_half() {
        let retry = Retry::default();
        let waits: Vec<_> = (0..9).map(|before| retry.wait(before, None, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retry.wait(1, None, 1.0), SECOND);
        assert_eq!(retry.wait(100, None, f64::NAN.max(0.5)), SECOND * 45);
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_limit() {
        let retry = Retry::default();
        assert_eq!(retry.wait(0, Some(SECOND * 120), 0.5), SECOND * 120);
        assert_eq!(retry.wait(5, Some(SECOND), 0.0), SECOND * 32);
        assert_eq!(retry.wait(0, Some(Duration::MAX), 0.0), LONGEST_ASKED);
    }

    #[test]
    fn a_chunk_has_at_least_one_byte() {
        assert!(Options::default().chunk_size(Some(0)).is_err());
        assert!(Options::default().chunk_size(Some(1)).is_ok());
    }
}
