//! Completes an upload, for a request or in the background.

use std::{convert::Infallible, panic::resume_unwind, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::request::Parts;
use tokio::{task::spawn_blocking, time::sleep};
use tus_core::{
    Change, Failure, Phase, Stored, Upload,
    server::{Completion, Done, FinishReply, PartsNeeded, Verify},
};

use crate::{
    engine::{Engine, failure, failure_of_many},
    observe,
};

/// How long a claim reserves an upload's background work for this process, and how often the claim is renewed.
pub(crate) const CLAIM: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(5);

/// How a completion ended.
pub(crate) struct Ran {
    pub(crate) done: Done,
    /// Whether another process has claimed the upload, so that this one left work undone.
    pub(crate) is_claimed_elsewhere: bool,
}

/// Runs a completion to its end; `request` is the head of the request that waits for it, if any.
pub(crate) async fn run(engine: &Engine, completion: Completion, request: Option<&Arc<Parts>>) -> Ran {
    let completion = match completion {
        Completion::LoadParts(parts) => load(engine, parts).await,
        other => other,
    };
    let upload = match &completion {
        Completion::Assemble(assemble) => assemble.stored().upload.clone(),
        Completion::Verify(verify) => verify.stored().upload.clone(),
        Completion::Finish(finish) => finish.stored().upload.clone(),
        _ => return Ran { done: steps(engine, completion, request).await, is_claimed_elsewhere: false },
    };
    // If the claim fails, this process looks at the upload again later.
    let claimed = engine.storage.claim(&upload, CLAIM).await.unwrap_or_else(|error| {
        failure(&upload.id, &error);
        false
    });
    if !claimed {
        return Ran { done: steps(engine, elsewhere(completion), request).await, is_claimed_elsewhere: true };
    }
    let done = keeping_the_claim(engine, &upload, steps(engine, completion, request)).await;
    // A remaining job keeps the claim. No process looks for an upload without remaining work, so its claim may simply
    // expire. One that could not be verified is still receiving: a client may repeat its request, or it expires.
    let remains = done.upload().is_due() || done.upload().phase == Phase::Receiving;
    if remains && done.notify().is_none() {
        release(engine, &upload).await;
    }
    Ran { done, is_claimed_elsewhere: false }
}

/// Reads all bytes of an upload back and computes their digest.
async fn verify(engine: &Engine, mut verify: Verify) -> Completion {
    let _turn = engine.assembling.acquire().await;
    let (stored, length) = (verify.stored(), verify.stored().upload.offset);
    let id = stored.upload.id.clone();
    let version = match engine.storage.make_readable(stored).await {
        Ok(version) => version,
        Err(error) => return verify.done(Err(failure(&id, &error))),
    };
    verify.has_version(version);
    let mut pieces = match engine.storage.read(verify.stored(), 0..length).await {
        Ok(pieces) => pieces,
        Err(error) => return verify.done(Err(failure(&id, &error))),
    };
    loop {
        match pieces.try_next().await {
            Ok(Some(piece)) => verify = digested(verify, piece).await,
            Ok(None) => return verify.done(Ok(())),
            Err(error) => return verify.done(Err(failure(&id, &error))),
        }
    }
}

/// On a blocking thread, because it takes as long as reading.
async fn digested(mut verify: Verify, piece: Bytes) -> Verify {
    let digested = spawn_blocking(move || {
        verify.data(&piece);
        verify
    });
    digested.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

async fn load(engine: &Engine, parts: PartsNeeded) -> Completion {
    let loaded = engine.storage.load_all(parts.ids()).await;
    let loaded = loaded.map_err(|error| failure_of_many(parts.ids(), &error));
    parts.done(loaded)
}

fn elsewhere(completion: Completion) -> Completion {
    match completion {
        Completion::Assemble(assemble) => assemble.done(Err(Failure::Busy)),
        Completion::Verify(verify) => verify.done(Err(Failure::Busy)),
        Completion::Finish(finish) => finish.claimed_elsewhere(),
        other => other,
    }
}

/// Renews a claim. It is polled beside the work, which may hold what the storage needs for it.
async fn renew(engine: &Engine, upload: &Upload) -> Infallible {
    loop {
        sleep(RENEWAL).await;
        match engine.storage.claim(upload, CLAIM).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(upload = %upload.id, "another process has claimed the upload that is being completed here, or the upload is gone")
            }
            Err(error) => {
                failure(&upload.id, &error);
            }
        }
    }
}

/// Renews the claim while the work runs.
pub(crate) async fn keeping_the_claim<T>(engine: &Engine, upload: &Upload, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = renew(engine, upload) => match never {},
    }
}

/// Releases a claim.
pub(crate) async fn release(engine: &Engine, upload: &Upload) {
    if let Err(error) = engine.storage.claim(upload, Duration::ZERO).await {
        failure(&upload.id, &error);
    }
}

/// Lets the parts of an assembled upload expire, beside the response.
fn release_parts(engine: &Engine, parts: Vec<(Stored, Change)>) {
    if parts.is_empty() {
        return;
    }
    let storage = engine.storage.clone();
    engine.exchanges.spawn(async move {
        // A part that was changed or removed in the meantime is left alone.
        if let Err(error) = storage.update_all(&parts).await {
            let ids: Vec<_> = parts.iter().map(|(part, _)| part.upload.id.clone()).collect();
            failure_of_many(&ids, &error);
        }
    });
}

async fn steps(engine: &Engine, mut completion: Completion, request: Option<&Arc<Parts>>) -> Done {
    loop {
        completion = match completion {
            Completion::LoadParts(parts) => load(engine, parts).await,
            Completion::Assemble(assemble) => {
                let _turn = engine.assembling.acquire().await;
                let stored = assemble.stored();
                let assembled = engine.storage.assemble(stored, assemble.parts(), assemble.change()).await;
                let assembled = assembled.map_err(|error| failure(&stored.upload.id, &error));
                if assembled.is_ok() {
                    observe::changed(&stored.upload, assemble.change());
                    release_parts(engine, assemble.release());
                }
                assemble.done(assembled)
            }
            Completion::Verify(verify) => self::verify(engine, verify).await,
            Completion::Finish(finish) => {
                let answer = match engine.jobs.is_approved(finish.stored()) {
                    // The application has approved it already: the client repeats its last request, or the record was
                    // loaded before the application was notified.
                    true => Ok(FinishReply::default()),
                    false => engine.hooks.before_finish(&finish.stored().upload, request).await,
                };
                if let Err(rejection) = &answer {
                    let upload = &finish.stored().upload;
                    observe::refused_by_hook(upload, rejection);
                    if request.is_none() {
                        engine.jobs.rejected(upload.incarnation);
                    }
                }
                finish.done(answer)
            }
            Completion::Record(record) => {
                let stored = record.stored();
                let recorded = engine.storage.update(stored, record.change()).await;
                let recorded = recorded.map_err(|error| failure(&stored.upload.id, &error));
                if recorded.is_ok() {
                    observe::changed(&stored.upload, record.change());
                }
                record.done(recorded)
            }
            Completion::Done(done) => return done,
        };
    }
}
