//! Completes an upload, for a request or in the background.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::request::Parts;
use tokio::time::sleep;
use tus_core::{
    Failure, Upload,
    server::{Completion, Done, PartsNeeded},
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
        Completion::Finish(finish) => finish.upload().clone(),
        _ => return Ran { done: steps(engine, completion, request).await, is_claimed_elsewhere: false },
    };
    // If this process cannot find out, it looks at the upload again later.
    let claimed = engine.storage.claim(&upload, CLAIM).await.unwrap_or_else(|error| {
        failure(&upload.id, &error);
        false
    });
    let done = match claimed {
        true => keeping_the_claim(engine, &upload, steps(engine, completion, request)).await,
        false => steps(engine, elsewhere(completion), request).await,
    };
    Ran { done, is_claimed_elsewhere: !claimed }
}

async fn load(engine: &Engine, parts: PartsNeeded) -> Completion {
    let loaded = engine.storage.load_all(parts.ids()).await;
    let loaded = loaded.map_err(|error| failure_of_many(parts.ids(), &error));
    parts.done(loaded)
}

fn elsewhere(completion: Completion) -> Completion {
    match completion {
        Completion::Assemble(assemble) => assemble.done(Err(Failure::Busy)),
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
                tracing::warn!(upload = %upload.id, "another process has claimed an upload that is being completed here")
            }
            Err(error) => {
                failure(&upload.id, &error);
            }
        }
    }
}

/// Renews the claim for as long as the work runs.
async fn keeping_the_claim(engine: &Engine, upload: &Upload, work: impl Future<Output = Done>) -> Done {
    let done = tokio::select! {
        biased;
        done = work => done,
        never = renew(engine, upload) => match never {},
    };
    // No process looks for an upload without remaining work, so its claim may simply expire.
    if done.upload().is_due()
        && let Err(error) = engine.storage.claim(upload, Duration::ZERO).await
    {
        failure(&upload.id, &error);
    }
    done
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
                }
                assemble.done(assembled)
            }
            Completion::Finish(finish) => {
                let answer = engine.hooks.before_finish(finish.upload(), request).await;
                if let Err(rejection) = &answer {
                    observe::refused_by_hook(finish.upload(), rejection);
                }
                finish.done(answer)
            }
            Completion::Notify(notify) => match engine.hooks.finished(notify.upload()).await {
                true => notify.done(),
                false => notify.failed(),
            },
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
