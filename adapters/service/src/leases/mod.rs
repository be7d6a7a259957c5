//! One request at a time changes an upload, and the newest wins.
//!
//! A lease is only a courtesy within one process: it lets an older request commit what it has before the newer one
//! continues. Correctness does not depend on it: the storage's compare-and-set keeps the bytes of two requests from
//! interleaving.

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
pub(crate) struct Leases(Mutex<Table>);

#[derive(Debug)]
struct Table {
    slots: HashMap<UploadId, Slot>,
    /// Requests are numbered in the order in which they arrive.
    next_ticket: u64,
    /// How often a lease has been released, counted per hash bucket of upload ids.
    changes: [u64; CHANGES],
}

/// Large enough that uploads in use at the same time rarely share a bucket.
const CHANGES: usize = 512;

/// The number of leases that an upload had had at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    changes: u64,
    is_held: bool,
}

#[derive(Debug)]
struct Slot {
    ticket: u64,
    /// Fires when the holder should leave.
    leave: CancellationToken,
    /// Fires when the holder has left.
    left: CancellationToken,
    /// Fires when the holder has nothing left to commit, although it may still be running.
    committed: CancellationToken,
    /// The newest waiting request; fires when a newer one arrives.
    waiting: Option<(u64, CancellationToken)>,
}

/// The lease of an upload, released on drop.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    leases: &'a Leases,
    id: UploadId,
    /// The count of changes when the lease began.
    changes: u64,
    leave: CancellationToken,
}

/// Why a lease was not granted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotLeased {
    /// The holder did not leave in time.
    Busy,
    /// A newer request arrived.
    Superseded,
}

impl Leases {
    /// Leases an upload after asking every older request to leave.
    pub(crate) async fn hold(&self, id: &UploadId, patience: Duration) -> Result<Lease<'_>, NotLeased> {
        let mine = CancellationToken::new();
        let ticket = self.ticket();
        let wait = async {
            loop {
                let left = match self.enter(id, ticket, &mine)? {
                    Entered::Leased(lease) => return Ok(lease),
                    Entered::Taken(left) => left,
                };
                tokio::select! {
                    biased;
                    () = left.cancelled() => {}
                    () = mine.cancelled() => return Err(NotLeased::Superseded),
                }
            }
        };
        timeout(patience, wait).await.unwrap_or(Err(NotLeased::Busy))
    }

    /// Leases an upload if it is free. A waiting request has precedence.
    pub(crate) fn try_hold(&self, id: &UploadId) -> Option<Lease<'_>> {
        self.try_or_wait(id).ok()
    }

    /// Leases an upload once it is free, without asking the holder to leave.
    pub(crate) async fn hold_when_free(&self, id: &UploadId) -> Lease<'_> {
        loop {
            match self.try_or_wait(id) {
                Ok(held) => return held,
                Err(left) => left.cancelled().await,
            }
        }
    }

    fn try_or_wait(&self, id: &UploadId) -> Result<Lease<'_>, CancellationToken> {
        let mut table = self.table();
        match table.slots.get(id) {
            Some(slot) => Err(slot.left.clone()),
            // Older than any request.
            None => Ok(self.occupy(&mut table, id, 0, CancellationToken::new())),
        }
    }

    /// The upload's current generation: if two calls return the same one without a holder, no request of this process
    /// changed the upload in between.
    pub(crate) fn generation(&self, id: &UploadId) -> Generation {
        let table = self.table();
        Generation { changes: table.changes[place(id)], is_held: table.slots.contains_key(id) }
    }

    /// Whether anybody holds the upload.
    pub(crate) fn is_held(&self, id: &UploadId) -> bool {
        self.table().slots.contains_key(id)
    }

    /// Asks a holder that has something to commit to leave, and waits until it has committed. Returns whether the upload
    /// has had no holder since that generation.
    pub(crate) async fn settle(&self, id: &UploadId, since: Generation, patience: Duration) -> bool {
        let committed = {
            let table = self.table();
            match table.slots.get(id) {
                // A holder that has left in the meantime has committed, too.
                None => return since == Generation { changes: table.changes[place(id)], is_held: false },
                Some(slot) if slot.committed.is_cancelled() => return false,
                Some(slot) => {
                    slot.leave.cancel();
                    slot.committed.clone()
                }
            }
        };
        // If the holder is too slow, what it has committed so far is the current state.
        let _ = timeout(patience, committed.cancelled()).await;
        false
    }

    fn enter(&self, id: &UploadId, ticket: u64, mine: &CancellationToken) -> Result<Entered<'_>, NotLeased> {
        let mut table = self.table();
        let Some(slot) = table.slots.get_mut(id) else {
            return Ok(Entered::Leased(self.occupy(&mut table, id, ticket, mine.clone())));
        };
        if slot.ticket > ticket {
            return Err(NotLeased::Superseded);
        }
        slot.leave.cancel();
        match &slot.waiting {
            Some((newer, _)) if *newer > ticket => return Err(NotLeased::Superseded),
            Some((older, token)) if *older < ticket => token.cancel(),
            _ => {}
        }
        slot.waiting = Some((ticket, mine.clone()));
        Ok(Entered::Taken(slot.left.clone()))
    }

    fn occupy(&self, table: &mut Table, id: &UploadId, ticket: u64, leave: CancellationToken) -> Lease<'_> {
        let left = CancellationToken::new();
        let committed = left.child_token();
        let changes = table.changes[place(id)];
        let lease = Lease { leases: self, id: id.clone(), changes, leave: leave.clone() };
        table.slots.insert(id.clone(), Slot { ticket, leave, left, committed, waiting: None });
        lease
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
    Leased(Lease<'a>),
    Taken(CancellationToken),
}

impl Lease<'_> {
    /// Fires when the holder should commit what it has and leave.
    pub(crate) fn asked_to_leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Lets readers continue: there is nothing left to commit.
    pub(crate) fn committed(&self) {
        if let Some(slot) = self.leases.table().slots.get(&self.id) {
            slot.committed.cancel();
        }
    }

    /// Lets readers wait again: there will be something to commit.
    pub(crate) fn commits_again(&self) {
        if let Some(slot) = self.leases.table().slots.get_mut(&self.id) {
            slot.committed = slot.left.child_token();
        }
    }

    /// Whether no other request has leased the upload since that generation.
    pub(crate) fn is_first_since(&self, generation: Generation) -> bool {
        generation == Generation { changes: self.changes, is_held: false }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut table = self.leases.table();
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

    /// Polls once, so that this request is queued before the next one.
    async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! { biased; output = future => Some(output), () = std::future::ready(()) => None }
    }

    #[tokio::test]
    async fn the_newest_of_three_wins() {
        let leases = Leases::default();
        let id = id();
        let first = leases.hold(&id, PATIENCE).await.unwrap();
        let mut second = pin!(leases.hold(&id, PATIENCE));
        assert!(poll(&mut second).await.is_none());
        assert!(first.asked_to_leave().is_cancelled());
        let mut third = pin!(leases.hold(&id, PATIENCE));
        assert!(poll(&mut third).await.is_none());
        assert_eq!(second.await.unwrap_err(), NotLeased::Superseded);
        drop(first);
        let third = third.await.unwrap();
        assert!(!third.asked_to_leave().is_cancelled());
    }

    #[tokio::test]
    async fn a_waiting_request_does_not_displace_a_newer_holder() {
        let leases = Leases::default();
        let id = id();
        let first = leases.hold(&id, PATIENCE).await.unwrap();
        let mut second = pin!(leases.hold(&id, PATIENCE));
        assert!(poll(&mut second).await.is_none());
        drop(first);
        let third = leases.hold(&id, PATIENCE).await.unwrap();
        assert_eq!(second.await.unwrap_err(), NotLeased::Superseded);
        assert!(!third.asked_to_leave().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_does_not_leave_keeps_its_lease() {
        let leases = Leases::default();
        let id = id();
        let _first = leases.hold(&id, PATIENCE).await.unwrap();
        assert_eq!(leases.hold(&id, PATIENCE).await.unwrap_err(), NotLeased::Busy);
        assert!(!leases.settle(&id, leases.generation(&id), PATIENCE).await);
        assert!(leases.try_hold(&id).is_none());
    }

    #[tokio::test]
    async fn a_reader_waits_only_for_the_commit() {
        let leases = Leases::default();
        let id = id();
        let held = leases.hold(&id, PATIENCE).await.unwrap();
        {
            let mut reader = pin!(leases.settle(&id, leases.generation(&id), Duration::MAX));
            assert!(poll(&mut reader).await.is_none());
            held.committed();
            assert!(!reader.await);
            held.commits_again();
            let mut reader = pin!(leases.settle(&id, leases.generation(&id), Duration::MAX));
            assert!(poll(&mut reader).await.is_none());
            held.committed();
            assert!(!reader.await);
        }
        let mut next = pin!(leases.hold_when_free(&id));
        assert!(poll(&mut next).await.is_none());
        drop(held);
        next.await;
    }

    #[tokio::test]
    async fn background_work_does_not_overtake_a_waiting_request() {
        let leases = Leases::default();
        let id = id();
        let first = leases.hold(&id, PATIENCE).await.unwrap();
        let mut waiting = pin!(leases.hold(&id, PATIENCE));
        assert!(poll(&mut waiting).await.is_none());
        drop(first);
        let housekeeping = leases.try_hold(&id).unwrap();
        assert!(poll(&mut waiting).await.is_none());
        drop(housekeeping);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_free_upload_leaves_no_slot() {
        let leases = Leases::default();
        let before = leases.generation(&id());
        drop(leases.hold(&id(), PATIENCE).await.unwrap());
        assert!(!leases.settle(&id(), before, PATIENCE).await, "another holder came and left");
        let now = leases.generation(&id());
        assert!(leases.settle(&id(), now, PATIENCE).await);
        assert!(leases.try_hold(&id()).unwrap().is_first_since(now));
        assert!(!leases.try_hold(&id()).unwrap().is_first_since(now));
        assert!(leases.table().slots.is_empty());
    }
}
