//! Completes final uploads that may have all of their parts now: one task at a time for each.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep_until, timeout_at};
use tus_core::{Failure, Phase, Stored, UploadId, server::Waiting};

use super::recovery;
use crate::{
    engine::{Engine, failure},
    waking::{Ended, Ending},
};

/// The number of final uploads that are processed because of one part: clients usually have one. The next sweep finds
/// the others.
const WOKEN: usize = 2;

/// How long a request waits for a final upload to be assembled.
const PATIENCE: Duration = Duration::from_secs(1);

/// The first wait for another process that assembles a final upload. Each further one is twice as long, because a load
/// may cost a request to a store.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Processes final uploads, beside the exchange.
pub(crate) fn wake(engine: &Arc<Engine>, waiting: Waiting<'_>) {
    if !engine.background {
        return;
    }
    match waiting {
        Waiting::Final(id) => drop(begin(engine, id)),
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

/// The record of a final upload that can be assembled, once it is. Waits briefly for this process or for another one that
/// assembles it.
pub(crate) async fn assembled(engine: &Arc<Engine>, id: &UploadId) -> Result<Option<Stored>, Failure> {
    let patience_ends = Instant::now() + PATIENCE;
    let is_elsewhere = match engine.background {
        true => {
            let ended = timeout_at(patience_ends, begin(engine, id).ended()).await;
            ended.ok().flatten().is_some_and(|ended| ended.is_claimed_elsewhere)
        }
        false => true,
    };
    let mut wait = FIRST_WAIT;
    loop {
        let now = engine.storage.load(id).await.map_err(|error| failure(id, &error));
        let waits = matches!(&now, Ok(Some(stored)) if stored.upload.phase == Phase::Assembling);
        if !is_elsewhere || !waits || Instant::now() >= patience_ends {
            return now;
        }
        sleep_until(patience_ends.min(Instant::now() + wait)).await;
        wait *= 2;
    }
}

fn begin(engine: &Arc<Engine>, id: &UploadId) -> Ending {
    let (ending, starts) = engine.waking.begin(id);
    if starts {
        let (engine, id) = (engine.clone(), id.clone());
        engine.exchanges.clone().spawn(async move { look_after_in_turn(&engine, &id).await });
    }
    ending
}

async fn look_after(engine: &Arc<Engine>, id: &UploadId) {
    let (_, starts) = engine.waking.begin(id);
    if starts {
        look_after_in_turn(engine, id).await;
    }
}

async fn look_after_in_turn(engine: &Arc<Engine>, id: &UploadId) {
    loop {
        let lease = engine.leases.hold_when_free(id).await;
        let looked_after = recovery::look_after(engine, id, lease).await;
        if engine.waking.end(id, Ended { is_claimed_elsewhere: looked_after.is_claimed_elsewhere }) {
            return;
        }
    }
}
