//! Background work: removes expired uploads and completes what requests or servers left unfinished.

mod notify;
mod recovery;
mod wake;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt, TryStreamExt, future};
use tokio_util::sync::CancellationToken;
use tus_core::{Failure, Kind, Stored, UploadId};

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

/// The number of uploads processed at once, so that one slow hook does not delay the others.
const AT_ONCE: usize = 16;

/// Runs until the endpoint is dropped.
pub(crate) async fn run(engine: Weak<Engine>, gone: CancellationToken, interval: Duration) {
    let mut due = Due::default();
    loop {
        let mut pause = interval;
        match engine.upgrade() {
            Some(engine) if !engine.stopping.is_cancelled() => {
                // A process that claimed an upload may have died since.
                if unless_it_panics(sweep(&engine, &mut due)).await.is_claimed_elsewhere {
                    pause = pause.min(completion::CLAIM);
                }
                unless_it_panics(tidy(&engine)).await;
            }
            _ => return,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gone.cancelled() => return,
        }
    }
}

async fn tidy(engine: &Engine) {
    if let Err(error) = engine.storage.tidy().await {
        observe::storage_failed(error.failure());
        tracing::error!(%error, "orphaned data could not be removed");
    }
}

/// Processes every upload that has background work due.
async fn sweep(engine: &Arc<Engine>, due: &mut Due) -> LookedAfter {
    let (mut found_due, mut failing, mut is_complete) = (0, 0, true);
    let now = SystemTime::now();
    // Parts and final uploads are examined before they expire, because other uploads may keep them.
    let pending = pending(engine, now.checked_add(engine.looks_ahead).unwrap_or(now));
    let is_concerned = |stored: &Stored| {
        let upload = &stored.upload;
        upload.kind != Kind::Single || upload.is_expired(now) || upload.is_due()
    };
    let found = pending.filter_map(|found| {
        is_complete &= found.is_ok();
        future::ready(found.map_err(|error| listing_failed(&error)).ok())
    });
    let found = found.filter(|stored| future::ready(is_concerned(stored)));
    let found = found.inspect(|stored| {
        found_due += usize::from(stored.upload.is_due());
        failing += usize::from(stored.upload.is_due() && engine.jobs.hook_failed(stored.upload.incarnation));
    });
    let looked_after = found.map(|stored| look_after(engine, stored.upload.id)).buffer_unordered(AT_ONCE);
    let swept = looked_after.fold(LookedAfter::default(), async |swept, one| LookedAfter {
        is_claimed_elsewhere: swept.is_claimed_elsewhere | one.is_claimed_elsewhere,
    });
    let swept = swept.await;
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
