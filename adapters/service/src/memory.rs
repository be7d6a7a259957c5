//! Uploads in memory: for tests, and as the simplest storage.

mod index;
mod moving;
mod reading;
mod takeover;
mod writer;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use tokio::sync::watch;
use tus_core::{Change, Failure, Kind, Phase, Stored, Upload, UploadId, Version, server::Access};

use self::{
    index::{Expiry, Index, Place, beyond},
    reading::Reading,
    takeover::Holders,
    writer::MemoryWriter,
};
use crate::{ByteStream, Storage, StorageError, StoredStream, UploadFilter, Writer};

/// A storage in memory. Its uploads end with the process. Clones share their uploads.
///
/// [`Memory::another_process`] behaves like a storage in another process. It shows how a service takes over an
/// upload, without a second process.
///
/// ```
/// use tus_service::{Memory, Tus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let memory = Memory::new();
/// let tus = Tus::builder(memory.clone()).build();
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    store: Arc<Store>,
    process: u64,
}

#[derive(Default)]
struct Store {
    state: Mutex<State>,
    /// Somebody left an upload, or asked for one.
    moves: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<UploadId, Entry>,
    index: Index,
    holders: Holders,
    claims: HashMap<UploadId, Claim>,
    /// The last number in use. Each number is used once, for a version, a process, a writer or a request.
    numbers: u64,
}

struct Entry {
    upload: Upload,
    version: Version,
    /// Exactly the committed bytes. A reader keeps a clone, and with it the bytes as they were.
    bytes: Arc<Vec<Bytes>>,
    /// Whether they were moved to a file, so that there are none here.
    is_moved: bool,
}

struct Claim {
    process: u64,
    /// `None` if the time is beyond what the clock can represent.
    until: Option<Instant>,
}

impl Memory {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// A storage on the same store that behaves like another process: it makes claims of its own, and must ask for an
    /// upload that this one is adding bytes to ([`Storage::settle`]).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use tus_service::{Incarnation, Kind, Memory, Storage, Upload, UploadId};
    ///
    /// let one = Memory::new();
    /// let two = one.another_process();
    /// let upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
    /// one.create(&upload).await?;
    /// assert!(one.claim(&upload, Duration::from_secs(60)).await?);
    /// assert!(!two.claim(&upload, Duration::from_secs(60)).await?);
    /// # Ok::<(), tus_service::StorageError>(())
    /// # }).unwrap();
    /// ```
    pub fn another_process(&self) -> Self {
        Self { store: self.store.clone(), process: self.state().number() }
    }

    /// A stream that looks up its next record when it is polled, after the place of the last one.
    fn one_by_one<'a, P: Place + 'a>(
        &'a self,
        after: Option<P>,
        next: impl for<'s> Fn(&'s State, Option<&P>) -> Option<&'s Entry> + Send + 'a,
    ) -> StoredStream<'a> {
        let find = move |after: Option<P>| {
            let state = self.state();
            let stored = state.stored(next(&state, after.as_ref())?, self.process);
            let place = P::of(&stored.upload);
            Some((Ok(stored), place))
        };
        stream::unfold(after, move |after| future::ready(find(after))).boxed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.store.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The record as `process` sees it.
    fn stored(&self, entry: &Entry, process: u64) -> Stored {
        let mut stored = Stored::new(entry.upload.clone(), entry.version.clone());
        stored.held_elsewhere = self.holders.is_held_elsewhere(&entry.upload, process);
        stored
    }

    fn load(&self, id: &UploadId, process: u64) -> Option<Stored> {
        self.entries.get(id).map(|entry| self.stored(entry, process))
    }

    /// The upload that was seen, in any version.
    fn same(&self, seen: &Stored) -> Result<&Entry, StorageError> {
        let entry = self.entries.get(&seen.upload.id).filter(|entry| seen.is_same_upload(&entry.upload));
        entry.ok_or_else(|| Failure::NotFound.into())
    }

    /// The upload that was seen, in the version that was seen.
    fn unchanged(&self, seen: &Stored) -> Result<&Entry, StorageError> {
        let entry = self.entries.get(&seen.upload.id).ok_or(Failure::NotFound)?;
        let unchanged = seen.is_same_upload(&entry.upload) && seen.version == entry.version;
        if unchanged { Ok(entry) } else { Err(Failure::Conflict.into()) }
    }

    /// Makes a change to the upload that was seen. `add` changes its bytes accordingly.
    fn change(
        &mut self,
        process: u64,
        seen: &Stored,
        change: &Change,
        add: impl FnOnce(&mut Arc<Vec<Bytes>>),
    ) -> Result<Version, StorageError> {
        let before = self.unchanged(seen)?.upload.phase;
        let version = Version::from(self.number());
        let entry = self.entries.get_mut(&seen.upload.id).ok_or(Failure::NotFound)?;
        self.index.forget(&entry.upload);
        change.apply(&mut entry.upload);
        self.index.add(&entry.upload);
        entry.version = version.clone();
        add(&mut entry.bytes);
        let completes = before != Phase::Complete && is_complete_and_due(&entry.upload);
        if completes {
            self.claim(process, &seen.upload.id, WITH_A_CHANGE);
        }
        Ok(version)
    }

    /// Claims an upload, if no other process holds a claim.
    fn claim(&mut self, process: u64, id: &UploadId, duration: Duration) -> bool {
        let now = Instant::now();
        let theirs = self.claims.get(id).is_some_and(|claim| claim.process != process && !claim.has_run_out(now));
        if theirs {
            return false;
        }
        match duration {
            Duration::ZERO => self.claims.remove(id),
            _ => self.claims.insert(id.clone(), Claim { process, until: now.checked_add(duration) }),
        };
        true
    }
}

/// The duration of the claim that comes with the change that completes an upload.
const WITH_A_CHANGE: Duration = Duration::from_secs(15);

fn is_complete_and_due(upload: &Upload) -> bool {
    upload.phase == Phase::Complete && upload.is_due()
}

/// The caller's error: the change claims a different number of bytes than there are.
fn claims_other_bytes(change: &Change, there: u64) -> StorageError {
    StorageError::new(Failure::Internal, format!("a change claims {} bytes, but there are {there}", change.offset))
}

#[async_trait]
impl Storage for Memory {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        let mut state = self.state();
        if state.entries.contains_key(&upload.id) {
            return Err(Failure::Exists.into());
        }
        let version = Version::from(state.number());
        state.index.add(upload);
        let entry = Entry { upload: upload.clone(), version: version.clone(), bytes: Arc::default(), is_moved: false };
        state.entries.insert(upload.id.clone(), entry);
        if is_complete_and_due(upload) {
            state.claim(self.process, &upload.id, WITH_A_CHANGE);
        }
        Ok(version)
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        Ok(self.state().load(id, self.process))
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        let state = self.state();
        Ok(ids.iter().map(|id| state.load(id, self.process)).collect())
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        takeover::settle(self, &stored.upload, access, patience).await
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        let state = self.state();
        if state.unchanged(stored)?.upload.phase != Phase::Receiving {
            return Err(Failure::Conflict.into());
        }
        if state.holders.is_wanted(stored) {
            return Err(Failure::Busy.into());
        }
        drop(state);
        Ok(Box::new(MemoryWriter::new(self.clone(), stored.clone())))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let mut state = self.state();
        let there = state.unchanged(stored)?.upload.offset;
        if change.offset != there {
            return Err(claims_other_bytes(change, there));
        }
        state.change(self.process, stored, change, |_| {})
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        let mut state = self.state();
        let entry = state.unchanged(stored)?;
        if entry.upload.phase != Phase::Assembling {
            return Err(Failure::Conflict.into());
        }
        let bytes = match entry.upload.kind {
            Kind::Final(_) => {
                let parts = parts.iter().map(|part| state.same(part)).collect::<Result<Vec<_>, _>>()?;
                Arc::new(parts.iter().flat_map(|part| part.bytes.iter().cloned()).collect())
            }
            _ => entry.bytes.clone(),
        };
        let there = bytes.iter().map(|piece| piece.len() as u64).sum();
        if change.offset != there {
            return Err(claims_other_bytes(change, there));
        }
        state.change(self.process, stored, change, |old| *old = bytes)
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        let mut state = self.state();
        state.unchanged(stored)?;
        if let Some(entry) = state.entries.remove(&stored.upload.id) {
            state.index.forget(&entry.upload);
        }
        state.claims.remove(&stored.upload.id);
        Ok(())
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let state = self.state();
        let entry = state.same(stored)?;
        if entry.is_moved {
            return Err(Failure::Gone.into());
        }
        let bytes = entry.bytes.clone();
        Ok(stream::iter(Reading::new(bytes, range).map(Ok)).boxed())
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        self.one_by_one(after.cloned(), move |state, after: Option<&UploadId>| {
            let mut entries = state.entries.range((beyond(after), Bound::Unbounded)).map(|(_, entry)| entry);
            entries.find(|entry| filter.passes(&entry.upload))
        })
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        let expired = self.one_by_one(None, move |state, after: Option<&Expiry>| {
            state.entries.get(state.index.next_expired(after, now)?)
        });
        let due = self.one_by_one(None, move |state, after: Option<&UploadId>| {
            let mut due = state.index.due_after(after).filter_map(|id| state.entries.get(id));
            due.find(|entry| !entry.upload.is_expired(now))
        });
        expired.chain(due).boxed()
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        Ok(self.state().index.waiting_for(part, at_most))
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        Ok(self.state().index.pending_finals().min(at_most))
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let mut state = self.state();
        let entry = state.entries.get(&upload.id);
        let is_there = entry.is_some_and(|entry| entry.upload.incarnation == upload.incarnation);
        Ok(is_there && state.claim(self.process, &upload.id, duration))
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        let now = Instant::now();
        self.state().claims.retain(|_, claim| !claim.has_run_out(now));
        Ok(())
    }
}

impl Claim {
    fn has_run_out(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory of process {} with {} uploads", self.process, self.state().entries.len())
    }
}
