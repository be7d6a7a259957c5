//! How long requests to the store may take. A store that does not answer must hold nobody up for long: neither clients, nor
//! a server that is to stop.

use std::{sync::Mutex, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{bucket::Refused, records::lock};

/// What a request may take longer for each byte that it moves (a second for a MiB), and for each object or part that it names.
const BYTES_A_SECOND: u64 = 1024 * 1024;
const EACH: Duration = Duration::from_millis(10);

/// What the completion of a multipart upload may take longer: S3 may process it for several minutes.
const COMPLETION: Duration = Duration::from_secs(4 * 60);

/// By how much less time requests get after one that was not answered.
const SHORTER: u32 = 5;

#[derive(Debug)]
pub(crate) struct Patience {
    /// For a request that moves next to nothing.
    limit: Duration,
    /// After a request that was not answered, until this time or an answer: the requests that follow it in the same work are not
    /// waited for as long, or one after the other would take minutes.
    silent_until: Mutex<Option<Instant>>,
}

/// What a request moves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weight {
    Small,
    Bytes(u64),
    /// So many objects or parts.
    Many(usize),
    /// A multipart upload of so many parts becomes an object.
    Completion(usize),
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, silent_until: Mutex::new(None) }
    }

    /// How long a request may take that begins now.
    fn for_one(&self, weight: Weight) -> Duration {
        let each = |count| EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let more = match weight {
            Weight::Small => Duration::ZERO,
            Weight::Bytes(bytes) => Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND),
            Weight::Many(count) => each(count),
            Weight::Completion(count) => COMPLETION.saturating_add(each(count)),
        };
        let is_silent = lock(&self.silent_until).is_some_and(|until| Instant::now() < until);
        let limit = if is_silent { self.limit / SHORTER } else { self.limit };
        limit.saturating_add(more)
    }

    /// The answer of a request, unless it takes too long. It may be done all the same, or be done yet.
    pub(crate) async fn with<T>(
        &self,
        weight: Weight,
        request: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let limit = self.for_one(weight);
        match timeout(limit, request).await {
            Ok(answer) => {
                // Also one that says no. What failed was not answered.
                if !matches!(answer, Err(Refused::Failed(_))) {
                    *lock(&self.silent_until) = None;
                }
                answer
            }
            Err(_) => {
                // A short time that is over says nothing new: else a store that is slow would never be waited for again.
                if limit >= self.limit {
                    *lock(&self.silent_until) = Some(Instant::now() + self.limit);
                }
                Err(Refused::Unanswered(limit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    async fn given_up_after(patience: &Patience, weight: Weight) -> Duration {
        let began = Instant::now();
        let answer = patience.with(weight, pending::<Result<(), Refused>>()).await;
        assert!(matches!(answer, Err(Refused::Unanswered(_))));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_after_one_that_was_not_answered_are_given_up_sooner_for_a_while() {
        let patience = Patience::new(LIMIT);
        let near = |duration: Duration, seconds: u64| duration.as_secs() == seconds;
        assert!(near(given_up_after(&patience, Weight::Small).await, 15));
        // In all of it no more than twice as long.
        for _ in 0..5 {
            assert!(near(given_up_after(&patience, Weight::Small).await, 3));
        }
        assert!(near(given_up_after(&patience, Weight::Small).await, 15), "a slow store is waited for again");
        patience.with(Weight::Small, ready(Err::<(), _>(Refused::Absent))).await.unwrap_err();
        assert!(near(given_up_after(&patience, Weight::Small).await, 15), "it had answered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_more_may_take_longer() {
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Bytes(8 << 20)).await.as_secs(), 15 + 8);
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Many(10_000)).await.as_secs(), 15 + 100);
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Completion(10_000)).await.as_secs(), 15 + 240 + 100);
        assert!(Patience::new(LIMIT).for_one(Weight::Bytes(u64::MAX)) > LIMIT);
    }
}
