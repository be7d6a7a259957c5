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

use crate::{lock::lock, records::Inner};

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
    /// How often the writer itself has seen it.
    turn: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { owns: false, looked: Instant::now(), turn: 0 }),
            asked: watch::Sender::new(false),
        }
    }
}

impl Watch {
    /// The writer has seen or made the document, and met a request that wants the upload from it, or none.
    pub(super) fn looked(&self, owns: bool, wanted: bool) {
        let mut state = lock(&self.state);
        *state = State { owns, looked: Instant::now(), turn: state.turn + 1 };
        if wanted {
            self.asked.send_replace(true);
        }
    }

    /// For a look that begins: whether this writer is the owner, and since which turn.
    fn owned_since(&self) -> Option<u64> {
        let state = lock(&self.state);
        state.owns.then_some(state.turn)
    }

    /// A look that began in this turn has ended. If the writer has changed the document since, it knows more.
    fn looked_since(&self, turn: u64, wanted: bool) {
        let mut state = lock(&self.state);
        if state.turn == turn {
            state.looked = Instant::now();
            if wanted {
                self.asked.send_replace(true);
            }
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
        let Some(turn) = watch.owned_since() else {
            // It becomes an owner with a hint or a part, and examines the document then.
            sleep_until(Instant::now() + store.settings.owner_looks / 4).await;
            continue;
        };
        if Instant::now() < watch.next_look(store.settings.owner_looks) {
            continue;
        }
        let Ok(seen) = store.fetch(&upload.id).await else {
            watch.looked_since(turn, false);
            continue;
        };
        if let Some(seen) = &seen {
            store.answer(seen).await;
        }
        let wanted = seen.is_none_or(|seen| {
            seen.document.upload.incarnation != upload.incarnation || seen.document.wanted.is_some()
        });
        watch.looked_since(turn, wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_began_before_a_change_does_not_make_an_owner() {
        let watch = Watch::default();
        assert_eq!(watch.owned_since(), None);
        watch.looked(true, false);
        let before = watch.owned_since().unwrap();
        // A checkpoint releases the upload while the document is fetched.
        watch.looked(false, false);
        watch.looked_since(before, true);
        assert!(!watch.owns() && !*watch.asked.borrow());
        // Nor does it ask the writer, which owns it again.
        watch.looked(true, false);
        watch.looked_since(before, true);
        assert!(watch.owns() && !*watch.asked.borrow());
        watch.looked_since(watch.owned_since().unwrap(), true);
        assert!(*watch.asked.borrow());
    }
}
