//! Completes final uploads that may have all of their parts now: one task at a time for each.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tus_core::{UploadId, server::Waiting};

use super::recovery;
use crate::engine::{Engine, failure};

/// The number of final uploads that are processed because of one part: clients usually have one. The next sweep finds
/// the others.
const WOKEN: usize = 2;

/// How long a request waits for a final upload to be assembled.
const PATIENCE: Duration = Duration::from_secs(1);

/// Processes final uploads, beside the exchange.
pub(crate) fn wake(engine: &Arc<Engine>, waiting: Waiting<'_>) {
    if !engine.background {
        return;
    }
    match waiting {
        Waiting::Final(id) => begin(engine, id),
        Waiting::For(part) => {
            let (engine, part) = (engine.clone(), part.clone());
            engine.exchanges.clone().spawn(async move {
                match engine.storage.waiting_for(&part, WOKEN).await {
                    Ok(finals) => {
                        stream::iter(&finals).for_each_concurrent(WOKEN, |id| look_after(&engine, id)).await;
                    }
                    Err(error) => drop(failure(&part, &error)),
                }
            });
        }
    }
}

/// Waits briefly until a final upload has been processed.
pub(crate) async fn assembled(engine: &Arc<Engine>, id: &UploadId) {
    if engine.background {
        begin(engine, id);
    }
    let ended = engine.waking.ended(id);
    let _ = timeout(PATIENCE, ended.cancelled()).await;
}

fn begin(engine: &Arc<Engine>, id: &UploadId) {
    if engine.waking.begin(id) {
        let (engine, id) = (engine.clone(), id.clone());
        engine.exchanges.clone().spawn(async move { look_after_in_turn(&engine, &id).await });
    }
}

async fn look_after(engine: &Arc<Engine>, id: &UploadId) {
    if engine.waking.begin(id) {
        look_after_in_turn(engine, id).await;
    }
}

async fn look_after_in_turn(engine: &Arc<Engine>, id: &UploadId) {
    loop {
        let lease = engine.leases.hold_when_free(id).await;
        let _ = recovery::look_after(engine, id, lease).await;
        if engine.waking.end(id) {
            return;
        }
    }
}
