//! What no request asks for: expired uploads go, and what a killed process left undone is taken up.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;
use tus_core::{Failure, Kind, Upload, UploadId};

use crate::{Cause, State, service::Inner};

/// Records that are fetched at once.
const PAGE: usize = 64;

/// Runs until the endpoint is gone.
pub(crate) async fn run(service: Weak<Inner>, gone: CancellationToken, interval: Duration) {
    loop {
        match service.upgrade() {
            Some(service) if !service.stopping.is_cancelled() => {
                sweep(&service).await;
                let mut after = None;
                while let Some(page) = next_due(&service, &mut after).await {
                    for upload in page {
                        service.resume(&upload.id).await;
                    }
                }
                if let Err(error) = service.storage.tidy().await {
                    tracing::error!(%error, "what belongs to no upload could not be cleared away");
                }
            }
            _ => return,
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = gone.cancelled() => return,
        }
    }
}

/// Takes up the final uploads that wait for this partial upload, which became complete.
pub(crate) async fn resume_finals_of(service: Arc<Inner>, partial: UploadId) {
    let mut after = None;
    while let Some(page) = next_due(&service, &mut after).await {
        for upload in page {
            if matches!(&upload.kind, Kind::Final(parts) if parts.partials.contains(&partial)) {
                service.resume_when_free(&upload.id).await;
            }
        }
    }
}

/// The next page of uploads that are due; `None` at the end.
async fn next_due(service: &Inner, after: &mut Option<UploadId>) -> Option<Vec<Upload>> {
    match service.storage.list(State::Due, after.as_ref(), PAGE).await {
        Ok(page) => {
            *after = Some(page.last()?.id.clone());
            Some(page)
        }
        Err(error) => {
            tracing::error!(%error, "uploads that are due could not be listed");
            None
        }
    }
}

async fn sweep(service: &Arc<Inner>) {
    let now = SystemTime::now();
    loop {
        let page = match service.storage.expired(now, PAGE).await {
            Ok(page) => page,
            Err(error) => return tracing::error!(%error, "expired uploads could not be listed"),
        };
        let mut removed = 0;
        for id in &page {
            // One that a request is at is not abandoned.
            let Some(_held) = service.locks.try_hold(id) else {
                continue;
            };
            let expired = match service.storage.load(id).await {
                Ok(Some(upload)) => service.remove(&upload, Some(now), Cause::Expired).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match expired {
                Ok(()) => removed += 1,
                Err(error) if matches!(error.failure(), Failure::NotFound | Failure::Conflict) => {}
                Err(error) => tracing::error!(upload = %id, %error, "an expired upload could not be removed"),
            }
        }
        if page.len() < PAGE || removed == 0 {
            return;
        }
    }
}
