//! Who is adding bytes to uploads, and how another process asks them to leave.

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tus_core::{Failure, Incarnation, Stored, Upload, UploadId, server::Access};

use super::Memory;
use crate::StorageError;

#[derive(Default)]
pub(super) struct Holders {
    open: HashMap<UploadId, Vec<Holder>>,
    /// The newest waiting request to write to an upload. Older ones have lost.
    wanted: HashMap<UploadId, u64>,
}

struct Holder {
    number: u64,
    process: u64,
    incarnation: Incarnation,
    leave: CancellationToken,
}

impl Holders {
    pub(super) fn is_held_elsewhere(&self, upload: &Upload, process: u64) -> bool {
        self.elsewhere(upload, process).next().is_some()
    }

    /// Whether a request to write is waiting that is newer than the one that saw this.
    pub(super) fn is_wanted(&self, seen: &Stored) -> bool {
        seen.held_elsewhere && self.wanted.contains_key(&seen.upload.id)
    }

    fn elsewhere<'a>(&'a self, upload: &'a Upload, process: u64) -> impl Iterator<Item = &'a Holder> {
        let holders = self.open.get(&upload.id).into_iter().flatten();
        holders.filter(move |holder| holder.process != process && holder.incarnation == upload.incarnation)
    }
}

/// A writer's entry among those that are adding bytes, until it is dropped.
pub(super) struct Held {
    memory: Memory,
    id: UploadId,
    number: u64,
    leave: CancellationToken,
}

impl Held {
    pub(super) fn new(memory: Memory, upload: &Upload) -> Self {
        let leave = CancellationToken::new();
        let mut state = memory.state();
        let number = state.number();
        let holder = Holder { number, process: memory.process, incarnation: upload.incarnation, leave: leave.clone() };
        state.holders.open.entry(upload.id.clone()).or_default().push(holder);
        drop(state);
        Self { memory, id: upload.id.clone(), number, leave }
    }

    /// Cancelled when the writer is asked to leave.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let open = &mut self.memory.state().holders.open;
        if let Some(holders) = open.get_mut(&self.id) {
            holders.retain(|holder| holder.number != self.number);
            if holders.is_empty() {
                open.remove(&self.id);
            }
        }
        self.memory.store.moves.send_replace(());
    }
}

/// Asks a writer in another process to leave, and waits for it. A request to write waits only until a newer one asks.
pub(super) async fn settle(
    memory: &Memory,
    upload: &Upload,
    access: Access,
    patience: Duration,
) -> Result<Option<Stored>, StorageError> {
    let request = Request::new(memory, upload, access);
    match timeout(patience, request.answer()).await {
        Ok(Answer::Outdone) => Err(Failure::Busy.into()),
        Ok(Answer::Free) | Err(_) => Ok(memory.state().load(&upload.id, memory.process)),
    }
}

/// A request for an upload. Dropping it withdraws it.
struct Request<'a> {
    memory: &'a Memory,
    upload: &'a Upload,
    access: Access,
    number: u64,
}

#[derive(PartialEq, Eq)]
enum Answer {
    /// No other process is adding bytes any more.
    Free,
    /// A newer request gets the upload.
    Outdone,
}

impl<'a> Request<'a> {
    fn new(memory: &'a Memory, upload: &'a Upload, access: Access) -> Self {
        let mut state = memory.state();
        let number = state.number();
        if access == Access::Write {
            state.holders.wanted.insert(upload.id.clone(), number);
        }
        state.holders.elsewhere(upload, memory.process).for_each(|holder| holder.leave.cancel());
        drop(state);
        memory.store.moves.send_replace(());
        Self { memory, upload, access, number }
    }

    async fn answer(&self) -> Answer {
        let mut moves = self.memory.store.moves.subscribe();
        loop {
            if let Some(answer) = self.look() {
                return answer;
            }
            // It fails only after the store was dropped, and this is a reference to it.
            let _ = moves.changed().await;
        }
    }

    fn look(&self) -> Option<Answer> {
        let state = self.memory.state();
        if self.access == Access::Write && state.holders.wanted.get(&self.upload.id) != Some(&self.number) {
            return Some(Answer::Outdone);
        }
        (!state.holders.is_held_elsewhere(self.upload, self.memory.process)).then_some(Answer::Free)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let wanted = &mut self.memory.state().holders.wanted;
        if wanted.get(&self.upload.id) == Some(&self.number) {
            wanted.remove(&self.upload.id);
        }
    }
}
