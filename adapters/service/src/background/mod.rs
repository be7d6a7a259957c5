//! Background work: removes expired uploads and completes what requests or servers left unfinished.

mod notify;
mod recovery;
mod wake;

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt, TryStreamExt, future};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tus_core::{Failure, Kind, Phase, Stored, Upload, UploadId};

use self::recovery::{LookedAfter, unless_it_panics};
pub(crate) use self::{
    notify::notify,
    wake::{assembled, wake},
};
use crate::{
    StorageError, completion,
    engine::Engine,
    observe::{self, Due},
};

/// The number of uploads of one class that are processed at once, so that one slow hook does not delay the others.
const AT_ONCE: usize = 16;

/// The number of calls of the hook `terminated` that run at once beside sweeps.
pub(crate) const TERMINATING: u32 = 1024;

/// Runs until the endpoint is dropped. Neither a list of pending uploads nor a removal of orphaned data that never ends
/// delays the other one.
pub(crate) async fn run(engine: Weak<Engine>, gone: CancellationToken, interval: Duration) {
    future::join(sweeps(&engine, &gone, interval), tidies(&engine, &gone, interval)).await;
}

/// Sweeps one after the other. What a sweep has found may still be in progress during the next ones.
async fn sweeps(engine: &Weak<Engine>, gone: &CancellationToken, interval: Duration) {
    let (mut due, turns) = (Due::default(), Turns::new(interval));
    while let Some(engine) = running(engine, gone) {
        let swept = unless_it_panics(sweep(&engine, &turns, &mut due)).await;
        let (calls, awaits_calls) = (engine.terminating.clone(), engine.awaits_calls.clone());
        drop(engine);
        if swept.left_some {
            continue;
        }
        // A process that claimed an upload may have died since.
        let claimed_elsewhere = async {
            turns.claimed_elsewhere.notified().await;
            sleep(completion::CLAIM).await;
        };
        // Each sweep reads the list again: not for a few of them.
        let fewer_calls = async {
            awaits_calls.notified().await;
            let _ = calls.acquire_many(TERMINATING / 2).await;
        };
        tokio::select! {
            () = sleep(interval) => {}
            () = claimed_elsewhere => {}
            () = fewer_calls => {}
            () = gone.cancelled() => return,
        }
    }
}

async fn tidies(engine: &Weak<Engine>, gone: &CancellationToken, interval: Duration) {
    while let Some(engine) = running(engine, gone) {
        unless_it_panics(tidy(&engine)).await;
        drop(engine);
        tokio::select! {
            () = sleep(interval) => {}
            () = gone.cancelled() => return,
        }
    }
}

/// The endpoint, unless it was dropped or is stopping. What it still runs may use it after it was dropped.
fn running(engine: &Weak<Engine>, gone: &CancellationToken) -> Option<Arc<Engine>> {
    engine.upgrade().filter(|engine| !gone.is_cancelled() && !engine.stopping.is_cancelled())
}

async fn tidy(engine: &Engine) {
    if let Err(error) = engine.storage.tidy().await {
        observe::storage_failed(error.failure());
        tracing::error!(%error, "orphaned data could not be removed");
    }
}

/// The turns of uploads that sweeps process. Each class has its own: an assembly may take hours, and delays neither
/// expiry nor hooks.
struct Turns {
    assembling: Turn,
    completing: Turn,
    expiring: Turn,
    /// How long a sweep waits for a turn.
    patience: Duration,
    claimed_elsewhere: Arc<Notify>,
}

type Turn = Arc<Semaphore>;

impl Turns {
    fn new(patience: Duration) -> Self {
        let turn = || Arc::new(Semaphore::new(AT_ONCE));
        let (assembling, completing, expiring) = (turn(), turn(), turn());
        Self { assembling, completing, expiring, patience, claimed_elsewhere: Arc::default() }
    }

    fn of(&self, upload: &Upload) -> &Turn {
        match upload.phase {
            Phase::Assembling => &self.assembling,
            Phase::Complete => &self.completing,
            _ => &self.expiring,
        }
    }
}

/// How a sweep ended.
#[derive(Default)]
struct Swept {
    /// Whether uploads got no turn. The sweep has then waited for an interval.
    left_some: bool,
}

/// Starts what is due for every upload.
async fn sweep(engine: &Arc<Engine>, turns: &Turns, due: &mut Due) -> Swept {
    let mut swept = Swept::default();
    let (mut found_due, mut failing, mut is_complete) = (0, 0, true);
    let now = SystemTime::now();
    // Parts and final uploads are examined before they expire, because other uploads may keep them.
    let mut pending = pin!(pending(engine, now.checked_add(engine.looks_ahead).unwrap_or(now)));
    let patience_ends = Instant::now() + turns.patience;
    while let Some(found) = pending.next().await {
        let upload = match found {
            Ok(stored) => stored.upload,
            Err(error) => {
                listing_failed(&error);
                is_complete = false;
                continue;
            }
        };
        let is_due = upload.is_due();
        found_due += usize::from(is_due);
        failing += usize::from(is_due && engine.jobs.hook_failed(upload.incarnation));
        let is_concerned = upload.kind != Kind::Single || upload.is_expired(now) || is_due;
        // An upload that an earlier sweep or a request uses takes no turn.
        if !is_concerned || engine.leases.is_held(&upload.id) {
            continue;
        }
        // Later, uploads of a class that is slow are left to the next sweep, and the others go on.
        let Ok(Ok(turn)) = timeout_at(patience_ends, turns.of(&upload).clone().acquire_owned()).await else {
            swept.left_some = true;
            continue;
        };
        let engine = engine.clone();
        let elsewhere = turns.claimed_elsewhere.clone();
        tokio::spawn(async move {
            let looked_after = look_after(&engine, upload.id).await;
            if looked_after.is_claimed_elsewhere {
                elsewhere.notify_one();
            }
            drop(turn);
        });
    }
    due.found(found_due, failing, is_complete);
    swept
}

/// Removes the uploads that have expired, and returns their number. An error does not stop what follows it: the first one
/// is returned at the end.
pub(crate) async fn expire(engine: &Arc<Engine>) -> Result<usize, StorageError> {
    let now = SystemTime::now();
    let expired = pending(engine, now).try_filter(|stored| future::ready(stored.upload.is_expired(now)));
    let removed = expired.map(async |stored| {
        let id = stored?.upload.id;
        match engine.leases.try_hold(&id) {
            Some(lease) => recovery::expire(engine, &id, lease).await,
            None => Ok(false),
        }
    });
    let removed = removed.buffer_unordered(AT_ONCE);
    let (count, failed) = removed
        .fold((0, None), async |(count, failed), removed| match removed {
            Ok(removed) => (count + usize::from(removed), failed),
            Err(error) => (count, failed.or(Some(error))),
        })
        .await;
    failed.map_or(Ok(count), Err)
}

/// The uploads that may have work due. A list that panics ends with an error; what it found before is processed
/// nevertheless.
fn pending(engine: &Engine, now: SystemTime) -> impl Stream<Item = Result<Stored, StorageError>> {
    let panicked = |_| Err(StorageError::new(Failure::Internal, "the list of pending uploads panicked"));
    let pending = AssertUnwindSafe(engine.storage.pending(now)).catch_unwind();
    pending.map(move |found| found.unwrap_or_else(panicked))
}

fn listing_failed(error: &StorageError) {
    observe::storage_failed(error.failure());
    tracing::error!(%error, "cannot list pending uploads");
}

/// Skips an upload that a request is using: it is not abandoned.
async fn look_after(engine: &Arc<Engine>, id: UploadId) -> LookedAfter {
    match engine.leases.try_hold(&id) {
        Some(lease) if !engine.stopping.is_cancelled() => recovery::look_after(engine, &id, lease).await,
        _ => LookedAfter::default(),
    }
}
