//! When and how often a request is retried.

use std::{fmt, sync::Arc, time::Duration};

use super::Error;

/// When and how often a request is retried after a temporary failure.
///
/// The defaults survive 60 s of any temporary failure: 8 retries without progress, after 1, 2, 4, … up to 60 s, each
/// shortened by a random part of up to half of it, take 91 to 183 s.
#[derive(Clone)]
pub struct Retry {
    retries: u32,
    delays: Delays,
    deadline: Option<Duration>,
    judge: Option<Arc<Judge>>,
}

#[derive(Debug, Clone)]
enum Delays {
    Doubling { first: Duration, longest: Duration },
    List(Vec<Duration>),
}

type Judge = dyn Fn(&Error, u32) -> Option<bool> + Send + Sync;

/// The longest `Retry-After` that a client obeys, unless its own longest delay is longer.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

impl Default for Retry {
    fn default() -> Self {
        let delays = Delays::Doubling { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        Self { retries: 8, delays, deadline: None, judge: None }
    }
}

impl Retry {
    /// The number of retries without progress; 8 by default. Progress resets the count: an offset beyond the highest one
    /// that the server has acknowledged.
    pub fn retries(mut self, most: u32) -> Self {
        self.retries = most;
        self
    }

    /// The delay before the first retry, 1 s by default, and the maximum delay, 60 s by default. The delay doubles
    /// with each retry and is shortened by a random part of up to half of it.
    pub fn delay(mut self, first: Duration, longest: Duration) -> Self {
        self.delays = Delays::Doubling { first, longest };
        self
    }

    /// The delay before each retry, exactly; as many retries as delays.
    pub fn delays(mut self, delays: impl IntoIterator<Item = Duration>) -> Self {
        let delays: Vec<_> = delays.into_iter().collect();
        self.retries = u32::try_from(delays.len()).unwrap_or(u32::MAX);
        self.delays = Delays::List(delays);
        self
    }

    /// The time limit for the complete task, even if it makes progress; no limit by default. A task that takes longer
    /// fails with [`Error::Late`].
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Decides which failures are retried, from the error and the number of retries since the last progress. `None`
    /// leaves the decision to the machine, which retries failed connections and the statuses 408, 409, 423, 425, 429,
    /// 460 and 5xx (except 501 and 505), and in tus a 404 or 410 for an upload without `Tus-Resumable`, which may come
    /// from a proxy while the server restarts ([`Error::is_gone`]).
    pub fn judge(mut self, judge: impl Fn(&Error, u32) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(judge));
        self
    }

    /// The chosen [`deadline`](Self::deadline); `None` if there is none.
    pub fn get_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    pub(super) fn most(&self) -> u32 {
        self.retries
    }

    pub(super) fn judged(&self, error: &Error, retries: u32) -> Option<bool> {
        self.judge.as_ref().and_then(|judge| judge(error, retries))
    }

    /// The limit, if `elapsed` exceeds it.
    pub(super) fn is_late(&self, elapsed: Duration) -> Option<Duration> {
        self.deadline.filter(|deadline| elapsed > *deadline)
    }

    /// The delay before the next retry after this many, or the limit that the server's demand exceeds. `jitter` is
    /// from 0 to 1.
    pub(super) fn wait(&self, before: u32, asked: Option<Duration>, jitter: f64) -> Result<Duration, Duration> {
        let (own, longest) = match &self.delays {
            Delays::Doubling { first, longest } => {
                let doubled = first.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX)).min(*longest);
                let seconds = doubled.as_secs_f64() * (1.0 - jitter.clamp(0.0, 1.0) / 2.0);
                (Duration::try_from_secs_f64(seconds).unwrap_or(doubled), *longest)
            }
            Delays::List(delays) => {
                let longest = delays.iter().max().copied().unwrap_or_default();
                let at = usize::try_from(before).unwrap_or(usize::MAX);
                (delays.get(at).or(delays.last()).copied().unwrap_or_default(), longest)
            }
        };
        let limit = LONGEST_ASKED.max(longest);
        match asked {
            Some(asked) if asked > limit => Err(limit),
            // Jitter does not shorten the server's demand.
            Some(asked) => Ok(asked.max(own)),
            None => Ok(own),
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("retries", &self.retries)
            .field("delays", &self.delays)
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
        let waits: Vec<_> = (0..9).map(|before| retry.wait(before, None, 0.0).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retry.wait(1, None, 1.0), Ok(SECOND));
        assert_eq!(retry.wait(100, None, f64::NAN.max(0.5)), Ok(SECOND * 45));
    }

    #[test]
    fn the_defaults_outlast_a_minute_with_any_jitter() {
        let retry = Retry::default();
        // The client asks for the offset immediately after a conflict, so its first delay is 0.
        let least: Duration = (1..retry.most()).map(|before| retry.wait(before, None, 1.0).unwrap()).sum();
        assert!(least > SECOND * 60, "{least:?}");
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_limit() {
        let retry = Retry::default();
        assert_eq!(retry.wait(0, Some(SECOND * 120), 0.5), Ok(SECOND * 120));
        assert_eq!(retry.wait(5, Some(SECOND), 0.0), Ok(SECOND * 32));
        assert_eq!(retry.wait(0, Some(SECOND * 86400), 0.0), Err(LONGEST_ASKED));
        let patient = retry.delay(SECOND, SECOND * 86400);
        assert_eq!(patient.wait(0, Some(SECOND * 86400), 0.0), Ok(SECOND * 86400));
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let retry = Retry::default().delay(Duration::MAX, Duration::MAX);
        for before in [0, 1, 31, 32, u32::MAX] {
            assert_eq!(retry.wait(before, Some(Duration::MAX), 0.0), Ok(Duration::MAX));
            assert!(retry.wait(before, None, 0.5).unwrap() > Duration::MAX / 2);
        }
    }

    #[test]
    fn a_list_of_delays_is_used_exactly() {
        let retry = Retry::default().delays([SECOND, SECOND * 7]);
        assert_eq!(retry.most(), 2);
        assert_eq!([0, 1, 2].map(|before| retry.wait(before, None, 1.0).unwrap().as_secs()), [1, 7, 7]);
        assert_eq!(Retry::default().delays([]).wait(0, None, 0.0), Ok(Duration::ZERO));
    }
}
