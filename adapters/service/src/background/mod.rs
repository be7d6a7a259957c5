//! Background work: removes expired uploads and completes what requests or servers left unfinished.

mod wake;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, StreamExt, future};
use tokio_util::sync::CancellationToken;
use tus_core::{
    Failure, UploadId,
    server::{Recovery, recover},
};

pub(crate) use self::wake::wake;
use crate::{Cause, completion, engine::Engine, leases::Lease};

/// Number of uploads processed at once, so that one slow hook does not delay the others.
const AT_ONCE: usize = 16;

/// Runs until the endpoint is gone.
pub(crate) async fn run(engine: Weak<Engine>, gone: CancellationToken, interval: Duration) {
    loop {
        let mut pause = interval;
        match engine.upgrade() {
            Some(engine) if !engine.stopping.is_cancelled() => {
                // A process that claimed an upload may have died since.
                if unless_it_panics(sweep(&engine)).await.is_claimed_elsewhere {
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
        tracing::error!(%error, "orphaned data could not be removed");
    }
}

/// A panic, of a storage say, fails only the work in which it occurs: the background work goes on.
async fn unless_it_panics<T: Default>(work: impl Future<Output = T>) -> T {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("background work panicked");
        T::default()
    })
}

/// The result of a sweep.
#[derive(Default)]
struct Swept {
    /// Whether another process has claimed any of the uploads.
    is_claimed_elsewhere: bool,
}

/// Processes every upload that has background work due.
async fn sweep(engine: &Arc<Engine>) -> Swept {
    let pending = engine.storage.pending(SystemTime::now());
    let found = pending.filter_map(|found| {
        future::ready(found.inspect_err(|error| tracing::error!(%error, "cannot list pending uploads")).ok())
    });
    let looked_after = found.map(|stored| look_after(engine, stored.upload.id)).buffer_unordered(AT_ONCE);
    looked_after
        .fold(Swept::default(), async |swept, one| Swept {
            is_claimed_elsewhere: swept.is_claimed_elsewhere | one.is_claimed_elsewhere,
        })
        .await
}

/// Skips an upload that a request is using: it is not abandoned.
async fn look_after(engine: &Arc<Engine>, id: UploadId) -> Swept {
    match engine.leases.try_hold(&id) {
        Some(lease) if !engine.stopping.is_cancelled() => recover_leased(engine, &id, lease).await,
        _ => Swept::default(),
    }
}

/// Does the background work that is due for an upload.
async fn recover_leased(engine: &Engine, id: &UploadId, _lease: Lease<'_>) -> Swept {
    unless_it_panics(recover_one(engine, id)).await
}

async fn recover_one(engine: &Engine, id: &UploadId) -> Swept {
    // What was found without the lease may be outdated.
    let stored = match engine.storage.load(id).await {
        Ok(Some(stored)) if !stored.held_elsewhere => stored,
        Ok(_) => return Swept::default(),
        Err(error) => {
            tracing::error!(upload = %id, %error, "cannot load an upload for background work");
            return Swept::default();
        }
    };
    match recover(&engine.config, stored, SystemTime::now()) {
        Recovery::Nothing => {}
        Recovery::Remove(stored) => match engine.remove(&stored, Cause::Expired).await {
            Err(error) if !matches!(error.failure(), Failure::NotFound | Failure::Conflict) => {
                tracing::error!(upload = %id, %error, "cannot remove an expired upload");
            }
            _ => {}
        },
        Recovery::Complete(completion) => {
            let ran = completion::run(engine, completion, None).await;
            return Swept { is_claimed_elsewhere: ran.is_claimed_elsewhere };
        }
    }
    Swept::default()
}
