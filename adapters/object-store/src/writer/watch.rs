//! Whether another process wants the upload.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tus_service::Upload;

use crate::records::{Inner, lock};

/// Shared between a writer and the future that waits until it is asked.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    asked: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    /// Whether the document states that this writer has bytes.
    owns: bool,
    /// When the document was last seen.
    looked: Instant,
}

impl Default for Watch {
    fn default() -> Self {
        Self { state: Mutex::new(State { owns: false, looked: Instant::now() }), asked: watch::Sender::new(false) }
    }
}

impl Watch {
    pub(super) fn looked(&self, owns: bool, wanted: bool) {
        *lock(&self.state) = State { owns, looked: Instant::now() };
        if owns && wanted {
            self.asked.send_replace(true);
        }
    }

    pub(super) fn owns(&self) -> bool {
        lock(&self.state).owns
    }

    fn next_look(&self, every: Duration) -> Instant {
        lock(&self.state).looked + every
    }
}

/// Completes when another process wants the upload. An owner that changes the document notices it there. One that
/// only waits for bytes checks on its own.
pub(super) async fn asked(store: Arc<Inner>, upload: Upload, watch: Arc<Watch>) {
    let mut asked = watch.asked.subscribe();
    loop {
        let next = watch.next_look(store.settings.owner_looks).max(Instant::now() + Duration::from_millis(1));
        let wait = next.saturating_duration_since(Instant::now());
        if timeout(wait, asked.wait_for(|asked| *asked)).await.is_ok() {
            return;
        }
        if !watch.owns() {
            // It becomes an owner with a hint or a part, and examines the document then.
            sleep_until(Instant::now() + store.settings.owner_looks / 4).await;
            continue;
        }
        if Instant::now() < watch.next_look(store.settings.owner_looks) {
            continue;
        }
        let Ok(seen) = store.fetch(&upload.id).await else {
            watch.looked(true, false);
            continue;
        };
        if let Some(seen) = &seen {
            store.answer(seen).await;
        }
        let wanted = seen.is_none_or(|seen| {
            seen.document.upload.incarnation != upload.incarnation || seen.document.wanted.is_some()
        });
        watch.looked(true, wanted);
    }
}
