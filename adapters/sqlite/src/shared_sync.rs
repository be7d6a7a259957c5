//! One sync for all that wait for one (fsync coalescing).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Mutex;

/// A sync that several tasks may share: one that starts after they arrived is as good as their own.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    /// The number of syncs that have been started.
    begun: AtomicU64,
    /// The number of the last successful sync.
    turn: Mutex<u64>,
}

impl SharedSync {
    /// Returns after a successful sync that started after the call.
    pub(crate) async fn run<E>(&self, sync: impl AsyncFnOnce() -> Result<(), E>) -> Result<(), E> {
        let before = self.begun.load(SeqCst);
        let mut last = self.turn.lock().await;
        if *last > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, SeqCst) + 1;
        sync().await?;
        *last = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use futures_util::{FutureExt, join, poll};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn callers_during_a_sync_share_the_next_one() {
        let (shared, count, go) = (SharedSync::default(), Cell::new(0), Notify::new());
        let sync = async || {
            count.set(count.get() + 1);
            go.notified().await;
            Ok::<_, ()>(())
        };
        let mut first = std::pin::pin!(shared.run(sync));
        assert!(poll!(&mut first).is_pending());
        let mut later: Vec<_> = (0..3).map(|_| Box::pin(shared.run(sync))).collect();
        for waiting in &mut later {
            assert!(poll!(waiting).is_pending());
        }
        go.notify_one();
        first.await.unwrap();
        assert_eq!(count.get(), 1, "the first sync started before the others arrived and does not count for them");
        let others = async {
            for waiting in later {
                waiting.await.unwrap();
            }
        };
        join!(others, async { go.notify_one() });
        assert_eq!(count.get(), 2);
    }

    #[tokio::test]
    async fn a_failed_or_dropped_sync_counts_for_nobody_else() {
        let shared = SharedSync::default();
        let mut given_up = Box::pin(shared.run(async || pending::<Result<(), ()>>().await));
        assert!(poll!(&mut given_up).is_pending());
        let mut failing = Box::pin(shared.run(async || Err(())));
        assert!(poll!(&mut failing).is_pending());
        let mut last = Box::pin(shared.run(async || Ok::<_, ()>(())));
        assert!(poll!(&mut last).is_pending());
        drop(given_up);
        assert_eq!(failing.await, Err(()));
        assert_eq!(last.now_or_never(), Some(Ok(())));
    }
}
