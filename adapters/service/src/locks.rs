//! One request at a time changes an upload, and the newest wins.
//!
//! A lock here is politeness within one process: it lets an older request commit what it has before the
//! newer goes on. That no bytes interleave does not rest on it, but on the storage's compare-and-set.

#[cfg(not(all(test, shuttle)))]
use std::sync::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::PoisonError,
    time::Duration,
};

#[cfg(all(test, shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tus_core::UploadId;

#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<Table>);

#[derive(Debug)]
struct Table {
    slots: HashMap<UploadId, Slot>,
    /// Requests are numbered as they come.
    next_ticket: u64,
    /// How often a holder has left, for all uploads that share a number by their hash.
    changes: [u64; CHANGES],
}

/// So many that uploads which are busy at the same time seldom share one.
const CHANGES: usize = 512;

/// What an upload's holders had done at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    changes: u64,
    is_held: bool,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    /// Fires when the holder is to leave.
    leave: CancellationToken,
    /// Fires when the holder has left.
    left: CancellationToken,
    /// Fires when the holder has committed what it had, although it may be at other things still.
    committed: CancellationToken,
    /// The newest request that waits; fires when a newer one came.
    waiting: Option<(u64, CancellationToken)>,
}

/// An upload that is held. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    locks: &'a Locks,
    id: UploadId,
    /// What others had done before.
    changes: u64,
    leave: CancellationToken,
    committed: CancellationToken,
}

/// Why an upload is not held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// The holder did not leave in time.
    Busy,
    /// A newer request came.
    Superseded,
}

impl Locks {
    /// Holds an upload, for which every older request is asked to leave.
    pub(crate) async fn hold(&self, id: &UploadId, patience: Duration) -> Result<Held<'_>, NotHeld> {
        let mine = CancellationToken::new();
        let ticket = self.ticket();
        let wait = async {
            loop {
                let left = match self.enter(id, ticket, &mine)? {
                    Entered::Held(held) => return Ok(held),
                    Entered::Taken(left) => left,
                };
                tokio::select! {
                    biased;
                    () = left.cancelled() => {}
                    () = mine.cancelled() => return Err(NotHeld::Superseded),
                }
            }
        };
        timeout(patience, wait).await.unwrap_or(Err(NotHeld::Busy))
    }

    /// Holds an upload if nobody does. A request that waits for it has precedence.
    pub(crate) fn try_hold(&self, id: &UploadId) -> Option<Held<'_>> {
        self.try_or_wait(id).ok()
    }

    /// Holds an upload when nobody does any more, without asking anybody to leave.
    pub(crate) async fn hold_when_free(&self, id: &UploadId) -> Held<'_> {
        loop {
            match self.try_or_wait(id) {
                Ok(held) => return held,
                Err(left) => left.cancelled().await,
            }
        }
    }

    fn try_or_wait(&self, id: &UploadId) -> Result<Held<'_>, CancellationToken> {
        let mut table = self.table();
        match table.slots.get(id) {
            Some(slot) => Err(slot.left.clone()),
            // Older than any request.
            None => Ok(self.occupy(&mut table, id, 0, CancellationToken::new())),
        }
    }

    /// What the upload's holders have done so far: who has the same answer twice, and no holder, knows that none of
    /// them changed it in between.
    pub(crate) fn moment(&self, id: &UploadId) -> Moment {
        let table = self.table();
        Moment { changes: table.changes[place(id)], is_held: table.slots.contains_key(id) }
    }

    /// Asks the holder to leave and waits until what it has is committed. Whether there was none, nor anybody else since
    /// that moment.
    pub(crate) async fn clear(&self, id: &UploadId, since: Moment, patience: Duration) -> bool {
        let committed = {
            let table = self.table();
            match table.slots.get(id) {
                // Somebody who was there and has left meanwhile has committed, too.
                None => return since == Moment { changes: table.changes[place(id)], is_held: false },
                Some(slot) => {
                    slot.leave.cancel();
                    slot.committed.clone()
                }
            }
        };
        // One that does not do so in time keeps what it has committed: that is the truth meanwhile.
        let _ = timeout(patience, committed.cancelled()).await;
        false
    }

    fn enter(&self, id: &UploadId, ticket: u64, mine: &CancellationToken) -> Result<Entered<'_>, NotHeld> {
        let mut table = self.table();
        let Some(slot) = table.slots.get_mut(id) else {
            return Ok(Entered::Held(self.occupy(&mut table, id, ticket, mine.clone())));
        };
        if slot.ticket > ticket {
            return Err(NotHeld::Superseded);
        }
        slot.leave.cancel();
        match &slot.waiting {
            Some((newer, _)) if *newer > ticket => return Err(NotHeld::Superseded),
            Some((older, token)) if *older < ticket => token.cancel(),
            _ => {}
        }
        slot.waiting = Some((ticket, mine.clone()));
        Ok(Entered::Taken(slot.left.clone()))
    }

    fn occupy(&self, table: &mut Table, id: &UploadId, ticket: u64, leave: CancellationToken) -> Held<'_> {
        let left = CancellationToken::new();
        let committed = left.child_token();
        let changes = table.changes[place(id)];
        let held = Held { locks: self, id: id.clone(), changes, leave: leave.clone(), committed: committed.clone() };
        table.slots.insert(id.clone(), Slot { ticket, leave, left, committed, waiting: None });
        held
    }

    fn ticket(&self) -> u64 {
        let mut table = self.table();
        table.next_ticket += 1;
        table.next_ticket
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: HashMap::new(), next_ticket: 0, changes: [0; CHANGES] }
    }
}

fn place(id: &UploadId) -> usize {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as usize % CHANGES
}

enum Entered<'a> {
    Held(Held<'a>),
    Taken(CancellationToken),
}

impl Held<'_> {
    /// Fires when the holder is to commit what it has and leave.
    pub(crate) fn asked_to_leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Lets those who only want to read go on.
    pub(crate) fn committed(&self) {
        self.committed.cancel();
    }

    /// Whether nobody else has held the upload since that moment.
    pub(crate) fn is_first_since(&self, moment: Moment) -> bool {
        moment == Moment { changes: self.changes, is_held: false }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut table = self.locks.table();
        table.changes[place(&self.id)] += 1;
        if let Some(slot) = table.slots.remove(&self.id) {
            slot.left.cancel();
        }
    }
}

#[cfg(test)]
#[cfg(shuttle)]
mod orders;

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use std::{future::Future, pin::pin};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn id() -> UploadId {
        "a".parse().unwrap()
    }

    /// Polls once, so that a request has come before the next one does.
    async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
    }

    #[tokio::test]
    async fn the_newest_of_three_wins() {
        let locks = Locks::default();
        let id = id();
        let first = locks.hold(&id, PATIENCE).await.unwrap();
        let mut second = pin!(locks.hold(&id, PATIENCE));
        assert!(poll(&mut second).await.is_none());
        assert!(first.asked_to_leave().is_cancelled());
        let mut third = pin!(locks.hold(&id, PATIENCE));
        assert!(poll(&mut third).await.is_none());
        assert_eq!(second.await.unwrap_err(), NotHeld::Superseded);
        drop(first);
        let third = third.await.unwrap();
        assert!(!third.asked_to_leave().is_cancelled());
    }

    #[tokio::test]
    async fn a_waiting_request_does_not_push_out_a_newer_holder() {
        let locks = Locks::default();
        let id = id();
        let first = locks.hold(&id, PATIENCE).await.unwrap();
        let mut second = pin!(locks.hold(&id, PATIENCE));
        assert!(poll(&mut second).await.is_none());
        drop(first);
        let third = locks.hold(&id, PATIENCE).await.unwrap();
        assert_eq!(second.await.unwrap_err(), NotHeld::Superseded);
        assert!(!third.asked_to_leave().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_stays_is_left_alone() {
        let locks = Locks::default();
        let id = id();
        let _first = locks.hold(&id, PATIENCE).await.unwrap();
        assert_eq!(locks.hold(&id, PATIENCE).await.unwrap_err(), NotHeld::Busy);
        assert!(!locks.clear(&id, locks.moment(&id), PATIENCE).await);
        assert!(locks.try_hold(&id).is_none());
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_commit_and_not_for_what_follows() {
        let locks = Locks::default();
        let id = id();
        let held = locks.hold(&id, PATIENCE).await.unwrap();
        {
            let mut reader = pin!(locks.clear(&id, locks.moment(&id), Duration::MAX));
            assert!(poll(&mut reader).await.is_none());
            held.committed();
            assert!(!reader.await);
        }
        let mut next = pin!(locks.hold_when_free(&id));
        assert!(poll(&mut next).await.is_none());
        drop(held);
        next.await;
    }

    #[tokio::test]
    async fn housekeeping_does_not_overtake_a_request_that_waits() {
        let locks = Locks::default();
        let id = id();
        let first = locks.hold(&id, PATIENCE).await.unwrap();
        let mut waiting = pin!(locks.hold(&id, PATIENCE));
        assert!(poll(&mut waiting).await.is_none());
        drop(first);
        let housekeeping = locks.try_hold(&id).unwrap();
        assert!(poll(&mut waiting).await.is_none());
        drop(housekeeping);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_an_upload_that_is_free() {
        let locks = Locks::default();
        let before = locks.moment(&id());
        drop(locks.hold(&id(), PATIENCE).await.unwrap());
        assert!(!locks.clear(&id(), before, PATIENCE).await, "somebody came and left");
        let now = locks.moment(&id());
        assert!(locks.clear(&id(), now, PATIENCE).await);
        assert!(locks.try_hold(&id()).unwrap().is_first_since(now));
        assert!(!locks.try_hold(&id()).unwrap().is_first_since(now));
        assert!(locks.table().slots.is_empty());
    }
}
