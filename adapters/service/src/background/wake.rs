//! Completes final uploads that may have all their parts now: one task at a time for each.

use std::sync::Arc;

use tus_core::{UploadId, server::Waiting};

use super::recover_leased;
use crate::engine::Engine;

/// Looks after final uploads, beside the exchange.
pub(crate) fn wake(engine: &Arc<Engine>, waiting: Waiting<'_>) {
    let engine = engine.clone();
    let tasks = engine.exchanges.clone();
    match waiting {
        Waiting::Final(id) => {
            let id = id.clone();
            tasks.spawn(async move { look_after(&engine, id).await });
        }
        Waiting::For(part) => {
            let part = part.clone();
            tasks.spawn(async move {
                match engine.storage.waiting_for(&part).await {
                    Ok(finals) => {
                        for id in finals {
                            look_after(&engine, id).await;
                        }
                    }
                    Err(error) => {
                        tracing::error!(upload = %part, %error, "cannot list the final uploads that wait for a part");
                    }
                }
            });
        }
    }
}

async fn look_after(engine: &Arc<Engine>, id: UploadId) {
    if !engine.waking.begin(&id) {
        return;
    }
    loop {
        let lease = engine.leases.hold_when_free(&id).await;
        let _ = recover_leased(engine, &id, lease).await;
        if engine.waking.end(&id) {
            return;
        }
    }
}
