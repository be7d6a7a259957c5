//! Notifies the application of complete uploads, beside requests: one process at a time per upload, several uploads
//! at once, repeatedly until it succeeds.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;
use tus_core::server::Notify;

use crate::{
    completion::{CLAIM, keeping_the_claim, release},
    engine::{Engine, failure},
    jobs::Job,
    observe,
};

/// The longest wait of a job for its next attempt. If the attempt is later, a sweep starts another job.
const WAITS: Duration = Duration::from_secs(30);

/// Starts the job, unless it runs already or there is no room; the upload then stays due.
pub(crate) fn notify(engine: &Arc<Engine>, notify: Notify) {
    if let Some(job) = engine.jobs.begin(notify.stored()) {
        engine.exchanges.spawn(run(Arc::downgrade(engine), job, notify));
    }
}

async fn run(engine: Weak<Engine>, job: Job, notify: Notify) {
    let upload = &notify.stored().upload;
    loop {
        // The endpoint may be dropped during this wait.
        let Some(engine) = engine.upgrade() else { return };
        let tried = tokio::select! {
            biased;
            () = engine.abandoning.cancelled() => return,
            tried = attempt(&engine, &job, &notify) => tried,
        };
        let by_hook = match tried {
            Tried::Notified => return job.notified(notify.stored()),
            Tried::Overtaken => return job.overtaken(),
            Tried::Elsewhere => return,
            Tried::Failed { by_hook } => by_hook,
        };
        let (wait, stopping) = (job.failed(by_hook), engine.stopping.clone());
        if wait > WAITS || stopping.is_cancelled() {
            return release(&engine, upload).await;
        }
        if let Err(error) = engine.storage.claim(upload, wait + CLAIM).await {
            failure(&upload.id, &error);
        }
        drop(engine);
        tokio::select! {
            () = stopping.cancelled() => {}
            () = sleep(wait) => {}
        }
    }
}

enum Tried {
    /// The application was notified, and that is recorded.
    Notified,
    /// The upload was changed by others or is gone. If work remains for it, a sweep finds it.
    Overtaken,
    /// Another process does it, or this one is stopping.
    Elsewhere,
    /// In the hook or in the storage; `None` if the hook was not called.
    Failed { by_hook: Option<bool> },
}

async fn attempt(engine: &Engine, job: &Job, notify: &Notify) -> Tried {
    let upload = &notify.stored().upload;
    let mut waited = job.attempt() > 1;
    let turn = match engine.jobs.turns.try_acquire() {
        Ok(turn) if !engine.stopping.is_cancelled() => Some(turn),
        _ => {
            waited = true;
            tokio::select! {
                biased;
                () = engine.stopping.cancelled() => None,
                turn = engine.jobs.turns.acquire() => turn.ok(),
            }
        }
    };
    let Some(_turn) = turn else {
        release(engine, upload).await;
        return Tried::Elsewhere;
    };
    match engine.storage.claim(upload, CLAIM).await {
        Ok(true) => {}
        Ok(false) => return Tried::Elsewhere,
        Err(error) => {
            failure(&upload.id, &error);
            return Tried::Failed { by_hook: None };
        }
    }
    // While it waited, another process may have notified the application, or the upload may have lost bytes and be
    // complete again. Its claim then protects whoever completed it.
    if waited {
        match engine.storage.load(&upload.id).await {
            Ok(Some(now)) if now.is_same_upload(upload) && now.version == notify.stored().version => {}
            Ok(_) => return Tried::Overtaken,
            Err(error) => {
                failure(&upload.id, &error);
                return Tried::Failed { by_hook: None };
            }
        }
    }
    let called = engine.hooks.finished(upload, job.attempt());
    if !keeping_the_claim(engine, upload, called).await {
        return Tried::Failed { by_hook: Some(true) };
    }
    let change = notify.change(&engine.config, SystemTime::now());
    match engine.storage.update(notify.stored(), &change).await {
        Ok(_) => {
            observe::changed(upload, &change);
            Tried::Notified
        }
        Err(error) if error.failure().is_overtaken() => Tried::Overtaken,
        Err(error) => {
            failure(&upload.id, &error);
            Tried::Failed { by_hook: Some(false) }
        }
    }
}
