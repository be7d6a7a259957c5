//! The background work for one upload.

use std::{panic::AssertUnwindSafe, sync::Arc, time::SystemTime};

use futures_util::FutureExt;
use tus_core::{
    Phase, Stored, UploadId,
    server::{Keep, Recovery, recover},
};

use super::notify::notify;
use crate::{
    Cause, StorageError, completion,
    engine::{Engine, failure, failure_of_many},
    leases::Lease,
};

/// The result of processing uploads.
#[derive(Debug, Default)]
pub(super) struct LookedAfter {
    /// Whether another process has claimed any of them.
    pub(super) is_claimed_elsewhere: bool,
}

/// Does the background work that is due for an upload.
pub(super) async fn look_after(engine: &Arc<Engine>, id: &UploadId, _lease: Lease<'_>) -> LookedAfter {
    unless_it_panics(look_after_leased(engine, id)).await
}

/// Removes an upload if it has expired, and returns whether it did. Other work that is due is left alone.
pub(super) async fn expire(engine: &Engine, id: &UploadId, _lease: Lease<'_>) -> bool {
    let expire = async {
        let Some(stored) = found(engine, id).await else { return false };
        match decided(engine, stored).await {
            Recovery::Keep(keep) => {
                renew(engine, &keep).await;
                false
            }
            Recovery::Remove(stored) => remove(engine, &stored).await == Removed::Yes,
            _ => false,
        }
    };
    unless_it_panics(expire).await
}

/// The upload, unless another process uses it. A record that was found without the lease may be outdated.
async fn found(engine: &Engine, id: &UploadId) -> Option<Stored> {
    match engine.storage.load(id).await {
        Ok(found) => found.filter(|stored| !stored.held_elsewhere),
        Err(error) => {
            failure(id, &error);
            None
        }
    }
}

async fn renew(engine: &Engine, keep: &Keep) {
    if let Err(error) = engine.storage.update(keep.stored(), keep.change()).await {
        failure(&keep.stored().upload.id, &error);
    }
}

/// What became of an upload that was to be removed.
#[derive(PartialEq)]
enum Removed {
    Yes,
    Failed,
    ClaimedElsewhere,
}

async fn remove(engine: &Engine, stored: &Stored) -> Removed {
    // Another process may be working on it without adding bytes: an assembly, a hook, a handler.
    let is_free = match stored.upload.phase {
        Phase::Receiving => Ok(true),
        _ => engine.storage.claim(&stored.upload, completion::CLAIM).await,
    };
    let removed = match is_free {
        Ok(true) => engine.remove(stored, Cause::Expired).await,
        Ok(false) => return Removed::ClaimedElsewhere,
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Removed::Yes,
        Err(error) => {
            failure(&stored.upload.id, &error);
            Removed::Failed
        }
    }
}

async fn look_after_leased(engine: &Arc<Engine>, id: &UploadId) -> LookedAfter {
    let Some(stored) = found(engine, id).await else { return LookedAfter::default() };
    // It is already running, or failed a short while ago.
    if stored.upload.phase == Phase::Complete && !engine.jobs.may_begin(stored.upload.incarnation) {
        return LookedAfter::default();
    }
    match decided(engine, stored).await {
        Recovery::Nothing | Recovery::LoadFinals(_) | Recovery::LoadParts(_) => {}
        Recovery::Keep(keep) => renew(engine, &keep).await,
        Recovery::Remove(stored) => {
            let is_claimed_elsewhere = remove(engine, &stored).await == Removed::ClaimedElsewhere;
            return LookedAfter { is_claimed_elsewhere };
        }
        Recovery::Complete(completion) => {
            let ran = completion::run(engine, completion, None).await;
            if let Some(job) = ran.done.notify() {
                notify(engine, job);
            }
            return LookedAfter { is_claimed_elsewhere: ran.is_claimed_elsewhere };
        }
    }
    LookedAfter::default()
}

/// What to do, once the related uploads are known.
async fn decided(engine: &Engine, stored: Stored) -> Recovery {
    let now = SystemTime::now();
    let soon = now.checked_add(engine.looks_ahead).unwrap_or(now);
    let mut recovery = recover(&engine.config, stored, now, soon);
    loop {
        recovery = match recovery {
            Recovery::LoadFinals(load) => {
                let finals = finals(engine, load.part()).await;
                let finals = finals.map_err(|error| failure(load.part(), &error));
                load.done(finals)
            }
            Recovery::LoadParts(load) => {
                let loaded = engine.storage.load_all(load.ids()).await;
                let loaded = loaded.map_err(|error| failure_of_many(load.ids(), &error));
                load.done(loaded)
            }
            decided => return decided,
        }
    }
}

async fn finals(engine: &Engine, part: &UploadId) -> Result<Vec<Stored>, StorageError> {
    let ids = engine.storage.waiting_for(part, usize::MAX).await?;
    Ok(engine.storage.load_all(&ids).await?.into_iter().flatten().collect())
}

/// A panic, for example of a storage, fails only the work in which it occurs. Other background work continues.
pub(super) async fn unless_it_panics<T: Default>(work: impl Future<Output = T>) -> T {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("background work panicked");
        T::default()
    })
}
