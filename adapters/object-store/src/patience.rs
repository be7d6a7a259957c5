//! How long requests to the store may take. A store that does not answer must hold nobody up for long: neither clients, nor
//! a server that is to stop.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::{self, Either};
use tokio::{
    sync::AcquireError,
    time::{Instant, timeout, timeout_at},
};
use tus_service::{Failure, StorageError};

use crate::{lock::lock, refused::Refused};

/// The slowest line that is waited for: what all requests of the process that share it move, in bytes a second.
const BYTES_A_SECOND: u64 = 1024 * 1024;

/// What a request may take longer for each object or part that it names.
const EACH: Duration = Duration::from_millis(10);

/// What the completion of a multipart upload may take longer: S3 may process it for several minutes.
const COMPLETION: Duration = Duration::from_secs(4 * 60);

/// By how much less time small requests get after one that was not answered.
const SHORTER: u32 = 5;

/// The longest limit: as good as none.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Patience {
    /// For a request that moves next to nothing.
    limit: Duration,
    /// After a request that was not answered, until this time or an answer: the small requests that follow it in the same work
    /// are not waited for as long, or one after the other would take minutes.
    silent_until: Mutex<Option<Instant>>,
    /// The bytes of all requests that are on their way.
    moving: AtomicU64,
}

/// What a request moves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weight {
    Small,
    /// Over the line of this process.
    Bytes(u64),
    /// So many bytes inside the store.
    Copy(u64),
    /// So many objects or parts.
    Many(usize),
    /// A multipart upload of so many parts becomes an object.
    Completion(usize),
}

fn moving(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND)
}

/// Bytes that are on their way.
struct Moving<'a>(&'a AtomicU64, u64);

impl<'a> Moving<'a> {
    fn new(all: &'a AtomicU64, weight: Weight) -> Self {
        let bytes = if let Weight::Bytes(bytes) = weight { bytes } else { 0 };
        all.fetch_add(bytes, Relaxed);
        Self(all, bytes)
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

impl Weight {
    /// Whether it moves or makes so little that a store answers at once.
    fn is_small(self) -> bool {
        match self {
            Self::Small | Self::Many(_) => true,
            Self::Bytes(bytes) => bytes < BYTES_A_SECOND,
            Self::Copy(_) | Self::Completion(_) => false,
        }
    }
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit: limit.min(YEAR), silent_until: Mutex::new(None), moving: AtomicU64::new(0) }
    }

    fn is_silent(&self) -> bool {
        lock(&self.silent_until).is_some_and(|until| Instant::now() < until)
    }

    /// How long a request may take if so many bytes are on their way.
    pub(crate) fn of_bytes(&self, bytes: u64) -> Duration {
        self.limit.saturating_add(moving(bytes)).min(YEAR)
    }

    /// How long a request may take that shares the line with what is on its way now.
    fn for_one(&self, weight: Weight, is_silent: bool) -> Duration {
        let each = |count| EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let more = match weight {
            Weight::Small => Duration::ZERO,
            Weight::Bytes(_) => moving(self.moving.load(Relaxed)),
            Weight::Copy(bytes) => moving(bytes),
            Weight::Many(count) => each(count),
            Weight::Completion(count) => COMPLETION.saturating_add(each(count)),
        };
        let limit = if is_silent && weight.is_small() { self.limit / SHORTER } else { self.limit };
        limit.saturating_add(more)
    }

    /// The answer of a small request that changes nothing. If there is none in half of the time, it is sent once more
    /// beside the first one: the connection may be dead, and the client of the store waits for as long as this.
    pub(crate) async fn read<T, F>(&self, request: impl Fn() -> F) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, Refused>>,
    {
        let half = self.for_one(Weight::Small, self.is_silent()) / 2;
        let twice = async {
            let mut first = std::pin::pin!(request());
            if let Ok(answer) = timeout(half, &mut first).await {
                return answer;
            }
            match future::select(first, std::pin::pin!(request())).await {
                Either::Left((Err(refused), second)) if refused.is_unclear() => second.await,
                Either::Right((Err(refused), first)) if refused.is_unclear() => first.await,
                Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
            }
        };
        self.with(Weight::Small, twice).await
    }

    /// Memory that other requests have. It is waited for as long as for what is on its way, which frees it.
    pub(crate) async fn for_memory<T>(
        &self,
        memory: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, StorageError> {
        match self.in_time(Weight::Bytes(0), false, memory).await {
            Ok(memory) => memory.map_err(|error| StorageError::new(Failure::Internal, error)),
            Err(limit) => {
                let seconds = limit.as_secs_f32();
                let reason = format!("no memory has become free within {seconds} s: a larger budget may help");
                Err(StorageError::new(Failure::Unavailable, reason))
            }
        }
    }

    /// The answer of a request, unless it takes too long. It may be done all the same, or be done yet.
    pub(crate) async fn with<T>(
        &self,
        weight: Weight,
        request: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let _moving = Moving::new(&self.moving, weight);
        let is_silent = self.is_silent();
        match self.in_time(weight, is_silent, request).await {
            Ok(answer) => {
                // Also one that says no. What failed was not answered.
                if !matches!(answer, Err(Refused::Failed(_))) {
                    *lock(&self.silent_until) = None;
                }
                answer
            }
            Err(limit) => {
                // In silence it says nothing new: else a store that is slow would never be waited for again.
                if !is_silent {
                    *lock(&self.silent_until) = Some(Instant::now() + self.limit);
                }
                Err(Refused::Unanswered(limit))
            }
        }
    }

    /// What comes of this, or the limit that it has exceeded.
    async fn in_time<T>(&self, weight: Weight, is_silent: bool, work: impl Future<Output = T>) -> Result<T, Duration> {
        let began = Instant::now();
        let mut limit = self.for_one(weight, is_silent);
        let mut work = std::pin::pin!(work);
        loop {
            let until = began.checked_add(limit).unwrap_or_else(|| began + YEAR);
            if let Ok(done) = timeout_at(until, &mut work).await {
                return Ok(done);
            }
            // What has begun since shares the line, too.
            let longer = self.for_one(weight, is_silent);
            if longer <= limit {
                return Err(limit);
            }
            limit = longer;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);
    const MIB: u64 = 1 << 20;

    async fn given_up_after(patience: &Patience, weight: Weight) -> u64 {
        let began = Instant::now();
        let answer = patience.with(weight, pending::<Result<(), Refused>>()).await;
        assert!(matches!(answer, Err(Refused::Unanswered(_))));
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_of_centuries_is_a_year() {
        let patience = Patience::new(Duration::MAX);
        assert_eq!(given_up_after(&patience, Weight::Small).await, YEAR.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_after_one_that_was_not_answered_are_given_up_sooner_for_a_while() {
        let patience = Patience::new(LIMIT);
        assert_eq!(given_up_after(&patience, Weight::Small).await, 15);
        // In all of it no more than twice as long.
        for _ in 0..5 {
            assert_eq!(given_up_after(&patience, Weight::Small).await, 3);
        }
        assert_eq!(given_up_after(&patience, Weight::Small).await, 15, "a slow store is waited for again");
        patience.with(Weight::Small, ready(Err::<(), _>(Refused::Absent))).await.unwrap_err();
        assert_eq!(given_up_after(&patience, Weight::Small).await, 15, "it had answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_request_in_silence_is_waited_for_and_does_not_prolong_it() {
        for weight in [Weight::Bytes(16 * MIB), Weight::Copy(16 * MIB)] {
            let patience = Patience::new(LIMIT);
            assert_eq!(given_up_after(&patience, Weight::Small).await, 15);
            assert_eq!(given_up_after(&patience, weight).await, 15 + 16);
            assert_eq!(given_up_after(&patience, Weight::Small).await, 15);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_more_may_take_longer() {
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Bytes(8 * MIB)).await, 15 + 8);
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Many(10_000)).await, 15 + 100);
        assert_eq!(given_up_after(&Patience::new(LIMIT), Weight::Completion(10_000)).await, 15 + 240 + 100);
        assert!(Patience::new(LIMIT).for_one(Weight::Copy(u64::MAX), false) > LIMIT);
    }

    /// Four parts over 1.2 MiB a second: each takes 27 s, however many there were before.
    #[tokio::test(start_paused = true)]
    async fn parts_that_share_a_slow_line_are_all_waited_for() {
        let patience = Patience::new(LIMIT);
        for _ in 0..3 {
            let part = |n| {
                let patience = &patience;
                async move {
                    sleep(Duration::from_millis(100) * n).await;
                    let slow = async {
                        sleep(Duration::from_secs(27)).await;
                        Ok(())
                    };
                    patience.with(Weight::Bytes(8 * MIB), slow).await
                }
            };
            for answer in join_all((0..4).map(part)).await {
                answer.unwrap();
            }
        }
        assert_eq!(given_up_after(&patience, Weight::Bytes(8 * MIB)).await, 15 + 8, "nothing else is on its way");
    }
}
