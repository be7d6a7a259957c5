//! The uploads that this storage is adding bytes to, and the writers that must leave.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tus_service::{Access, Incarnation, UploadId};

use crate::asks::{Tick, Wanted};

/// The writers of one storage, including its clones.
#[derive(Debug, Default)]
pub(crate) struct Writers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<UploadId, Vec<Entry>>,
    /// The last number in use.
    numbers: u64,
    /// Uploads that others recently left to this storage, and when it had asked for them. A later upload with the same
    /// id is a different one.
    left: HashMap<Incarnation, Tick>,
    /// Whether somebody checks what others ask for.
    watched: bool,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// Since when it has the right to be there, and when it was opened.
    since: Tick,
    opened: Tick,
    leave: watch::Sender<bool>,
}

impl Writers {
    /// Whether this storage is adding bytes to an upload.
    pub(crate) fn has(&self, id: &UploadId) -> bool {
        self.state().open.contains_key(id)
    }

    /// Records that another process left an upload to this storage, which had asked at that moment: a request that
    /// asks later is newer than a writer that is opened now.
    pub(crate) fn note_left(&self, incarnation: Incarnation, since: Tick) {
        let mut state = self.state();
        state.left.retain(|_, since| since.is_recent());
        state.left.insert(incarnation, since);
    }

    /// Since when a writer that is opened now has the right to be there.
    pub(crate) fn right_since(&self, incarnation: Incarnation) -> Tick {
        let left = self.state().left.remove(&incarnation);
        left.filter(|since| since.is_recent()).unwrap_or_else(Tick::now)
    }

    /// Registers a writer until the returned value is dropped.
    pub(crate) fn enter(self: &Arc<Self>, id: &UploadId, since: Tick) -> Entered {
        let (leave, asked) = watch::channel(false);
        let mut state = self.state();
        state.numbers += 1;
        let number = state.numbers;
        state.open.entry(id.clone()).or_default().push(Entry { number, since, opened: Tick::now(), leave });
        drop(state);
        Entered { writers: self.clone(), id: id.clone(), number, asked }
    }

    /// Asks writers to leave that are older than a request for their uploads. A request to read asks those that were
    /// open when it arrived: it takes the upload from nobody who got it since.
    pub(crate) fn ask(&self, wanted: &[Wanted]) {
        let state = self.state();
        for Wanted { id, since, access } in wanted {
            let is_older = |entry: &&Entry| match access {
                Access::Write => entry.since < *since,
                Access::Read => entry.opened < *since,
            };
            for entry in state.open.get(id).into_iter().flatten().filter(is_older) {
                entry.leave.send_replace(true);
            }
        }
    }

    /// Whether somebody must start to check what others ask for, because nobody does yet.
    pub(crate) fn begin_watch(&self) -> bool {
        !std::mem::replace(&mut self.state().watched, true)
    }

    /// Whether there is still a writer that could be asked. If not, the watch ends.
    pub(crate) fn go_on_watching(&self) -> bool {
        let mut state = self.state();
        state.watched = !state.open.is_empty();
        state.watched
    }

    pub(crate) fn end_watch(&self) {
        self.state().watched = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer's registration.
#[derive(Debug)]
pub(crate) struct Entered {
    writers: Arc<Writers>,
    id: UploadId,
    number: u64,
    asked: watch::Receiver<bool>,
}

impl Entered {
    /// Completes when the writer is asked to leave; never if it has left before.
    pub(crate) fn asked(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut asked = self.asked.clone();
        async move {
            if asked.wait_for(|asked| *asked).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.writers.state();
        if let Some(entries) = state.open.get_mut(&self.id) {
            entries.retain(|entry| entry.number != self.number);
            if entries.is_empty() {
                state.open.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn only_older_writers_are_asked_to_leave() {
        let writers = Arc::new(Writers::default());
        let id: UploadId = "a".parse().unwrap();
        let (older, newer) = (writers.enter(&id, Tick(5)), writers.enter(&id, Tick(7)));
        let other = writers.enter(&"b".parse().unwrap(), Tick(5));
        let wanted = |since| Wanted { id: id.clone(), since, access: Access::Write };
        writers.ask(&[wanted(Tick(5))]);
        assert_eq!(older.asked().now_or_never(), None);
        writers.ask(&[Wanted { access: Access::Read, ..wanted(Tick(6)) }]);
        assert_eq!(older.asked().now_or_never(), None, "it was opened later");
        writers.ask(&[wanted(Tick(6))]);
        assert_eq!(older.asked().now_or_never(), Some(()));
        assert_eq!(newer.asked().now_or_never(), None);
        assert_eq!(other.asked().now_or_never(), None);
        let read = writers.enter(&"c".parse().unwrap(), Tick(5));
        let since = Tick(Tick::now().0 + 1);
        writers.ask(&[Wanted { id: "c".parse().unwrap(), since, access: Access::Read }]);
        assert_eq!(read.asked().now_or_never(), Some(()));
        drop(older);
        assert!(writers.has(&id));
        let asked = newer.asked();
        drop(newer);
        assert!(!writers.has(&id));
        assert_eq!(asked.now_or_never(), None, "it has left already");
    }

    #[test]
    fn a_writer_has_its_right_since_its_request() {
        let writers = Writers::default();
        let [given, another] = [1, 2].map(Incarnation::from_random);
        let asked = Tick(Tick::now().0 - 500);
        writers.note_left(given, asked);
        assert!(writers.right_since(another) > asked, "an upload that has the same id by now");
        assert_eq!(writers.right_since(given), asked);
        assert!(writers.right_since(given) > asked, "once");
    }
}
