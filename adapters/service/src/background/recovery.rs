//! The background work for one upload.

use std::{panic::AssertUnwindSafe, sync::Arc, time::SystemTime};

use futures_util::FutureExt;
use tus_core::{
    Failure, Phase, Stored, UploadId,
    server::{Keep, Recovery, recover},
};

use super::notify::notify;
use crate::{
    cause::Cause,
    completion,
    engine::{Engine, failure},
    leases::Lease,
    storage::StorageError,
};

/// The result of processing uploads.
#[derive(Debug, Default)]
pub(super) struct LookedAfter {
    /// Whether another process has claimed any of them.
    pub(super) is_claimed_elsewhere: bool,
}

/// Does the background work that is due for an upload.
pub(super) async fn look_after(engine: &Arc<Engine>, id: &UploadId, lease: Lease<'_>) -> LookedAfter {
    // It adds no bytes: nobody waits for its hooks.
    lease.committed();
    let looked_after = look_after_leased(engine, id).map(|looked_after| {
        looked_after.unwrap_or_else(|error| {
            failure(id, &error);
            LookedAfter::default()
        })
    });
    unless_it_panics(looked_after).await
}

/// Removes an upload if it has expired, and returns whether it did. Other work that is due is left alone.
pub(super) async fn expire(engine: &Engine, id: &UploadId, lease: Lease<'_>) -> Result<bool, StorageError> {
    lease.committed();
    let panicked = || Err(StorageError::new(Failure::Internal, "the removal panicked"));
    let expired = unless_it_panics(async { Some(expire_leased(engine, id).await) }).await.unwrap_or_else(panicked);
    match expired {
        // It is no longer as it was when it expired.
        Err(error) if failure(id, &error).is_overtaken() => Ok(false),
        expired => expired,
    }
}

async fn expire_leased(engine: &Engine, id: &UploadId) -> Result<bool, StorageError> {
    let Some(stored) = found(engine, id).await? else { return Ok(false) };
    match decided(engine, stored).await? {
        Recovery::Keep(keep) => renew(engine, &keep).await.map(|()| false),
        Recovery::Remove(stored) => {
            let removed = remove(engine, &stored).await?;
            if removed == Removed::Yes {
                engine.hooks.terminated(&stored.upload, Cause::Expired).await;
            }
            Ok(removed == Removed::Yes)
        }
        _ => Ok(false),
    }
}

/// The upload, unless another process uses it. A record that was found without the lease may be outdated.
async fn found(engine: &Engine, id: &UploadId) -> Result<Option<Stored>, StorageError> {
    Ok(engine.storage.load(id).await?.filter(|stored| !stored.held_elsewhere))
}

async fn renew(engine: &Engine, keep: &Keep) -> Result<(), StorageError> {
    engine.storage.update(keep.stored(), keep.change()).await.map(drop)
}

/// What became of an upload that was to be removed.
#[derive(PartialEq)]
enum Removed {
    Yes,
    ClaimedElsewhere,
    /// Too many calls of the hook are running. A later sweep removes it.
    Later,
}

impl From<Removed> for LookedAfter {
    fn from(removed: Removed) -> Self {
        Self { is_claimed_elsewhere: removed == Removed::ClaimedElsewhere }
    }
}

async fn remove(engine: &Engine, stored: &Stored) -> Result<Removed, StorageError> {
    // Another process may be working on it without adding bytes: an assembly, a hook, a handler, the verification of a digest.
    let upload = &stored.upload;
    let needs_claim = upload.phase != Phase::Receiving || upload.length == Some(upload.offset);
    if needs_claim && !engine.storage.claim(upload, completion::CLAIM).await? {
        return Ok(Removed::ClaimedElsewhere);
    }
    let deleted = engine.delete(stored, Cause::Expired).await;
    if deleted.is_err() && needs_claim {
        // Whoever has changed it may continue.
        completion::release(engine, upload).await;
    }
    deleted.map(|()| Removed::Yes)
}

/// Removes an expired upload. The hook is called beside the sweep, so that a slow one does not delay other uploads.
async fn remove_in_a_sweep(engine: &Arc<Engine>, stored: Stored) -> Result<Removed, StorageError> {
    // The upload waits for its call in the storage, and not the call in memory.
    let Ok(turn) = engine.terminating.clone().try_acquire_owned() else {
        engine.awaits_calls.notify_one();
        return Ok(Removed::Later);
    };
    let removed = remove(engine, &stored).await?;
    if removed == Removed::Yes {
        let called = engine.clone();
        engine.exchanges.spawn(async move {
            called.hooks.terminated(&stored.upload, Cause::Expired).await;
            drop(turn);
        });
    }
    Ok(removed)
}

async fn look_after_leased(engine: &Arc<Engine>, id: &UploadId) -> Result<LookedAfter, StorageError> {
    let Some(stored) = found(engine, id).await? else { return Ok(LookedAfter::default()) };
    // It is already running, has just succeeded, or failed a short while ago.
    if stored.upload.phase == Phase::Complete && !engine.jobs.may_ask(&stored) {
        return Ok(LookedAfter::default());
    }
    match decided(engine, stored).await? {
        Recovery::Nothing | Recovery::LoadFinals(_) | Recovery::LoadParts(_) => {}
        Recovery::Keep(keep) => renew(engine, &keep).await?,
        Recovery::Remove(stored) => {
            return remove_in_a_sweep(engine, stored).await.map(LookedAfter::from);
        }
        Recovery::Complete(completion) => {
            let ran = completion::run(engine, completion, None).await;
            let mut looked_after = LookedAfter::default();
            if ran.done.lacks_room() {
                looked_after = give_room(engine, id).await?;
            }
            if let Some(job) = ran.done.notify() {
                notify(engine, job);
            }
            looked_after.is_claimed_elsewhere |= ran.is_claimed_elsewhere;
            return Ok(looked_after);
        }
    }
    Ok(LookedAfter::default())
}

/// Removes a final upload that has expired and could not be assembled. Its parts, which use the room that it needs,
/// expire after it.
async fn give_room(engine: &Arc<Engine>, id: &UploadId) -> Result<LookedAfter, StorageError> {
    let is_hopeless =
        |found: &Stored| found.upload.phase == Phase::Assembling && found.upload.is_expired(SystemTime::now());
    match found(engine, id).await?.filter(is_hopeless) {
        Some(stored) => remove_in_a_sweep(engine, stored).await.map(LookedAfter::from),
        None => Ok(LookedAfter::default()),
    }
}

/// What to do, once the related uploads are known.
async fn decided(engine: &Engine, stored: Stored) -> Result<Recovery, StorageError> {
    let now = SystemTime::now();
    let soon = now.checked_add(engine.looks_ahead).unwrap_or(now);
    let mut recovery = recover(&engine.config, stored, now, soon);
    loop {
        recovery = match recovery {
            Recovery::LoadFinals(load) => {
                let finals = finals(engine, load.part()).await?;
                load.done(finals)
            }
            Recovery::LoadParts(load) => {
                let loaded = engine.storage.load_all(load.ids()).await?;
                load.done(loaded)
            }
            decided => return Ok(decided),
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
