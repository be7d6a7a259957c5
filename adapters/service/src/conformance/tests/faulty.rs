//! A storage with one fault, which the tests must find.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tus_core::{Change, Failure, Phase, Stored, Upload, UploadId, Version, server::Access};

use crate::{
    ByteStream, Checkpoint, Chunks, Hint, Memory, Storage, StorageError, StoredStream, UploadFilter, Writer,
    conformance::Fixture,
};

/// Two processes on a store with a fault.
pub(super) fn with(fault: Fault, reads: Reads) -> Fixture {
    let (memory, shared) = (Memory::new(), Arc::default());
    let process = |memory| Faulty { memory, fault, reads, shared: Arc::clone(&shared) };
    Fixture::two_processes(process(memory.clone()), process(memory.another_process()))
}

/// What a storage can read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Everything,
    WhatIsComplete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    AllIsPending,
    AllWait,
    AsksAll,
    AsksNobody,
    AssemblesBackwards,
    BusyOnOpen,
    ClaimsAlways,
    ClaimsForever,
    ClaimsNever,
    ClaimsTooMuch,
    CommitsAnyHint,
    FindsNothingDue,
    FindsTwice,
    FollowsTheId,
    ForgetsNewExpiry,
    ForgetsTheLast,
    HeldByNobody,
    IgnoresIncarnations,
    IgnoresRanges,
    IgnoresVersions,
    KeepsChunks,
    KeepsDroppedBytes,
    KeepsExpiry,
    KeepsRemoved,
    KeepsTooLittle,
    KeepsTooMuch,
    KeepsVerbatim,
    LargePieces,
    ListsAgain,
    ListsBackwards,
    LoadsInOtherOrder,
    LosesCheckpoints,
    LosesPrivateData,
    MixesWriters,
    Nothing,
    NotifiesAlways,
    OpensForAll,
    ReleasesNothing,
    ReordersChunks,
    Replaces,
    RoundsTimes,
    StaysUnreadable,
    TidiesTooMuch,
    WaitsForEver,
    WritesWhereItReads,
}

use Fault::*;

struct Faulty {
    memory: Memory,
    fault: Fault,
    reads: Reads,
    shared: Arc<Mutex<Shared>>,
}

/// What faulty writers leave to others.
#[derive(Default)]
struct Shared {
    last_byte: u8,
    dropped: HashMap<UploadId, Vec<u8>>,
    readable: HashSet<UploadId>,
}

impl Faulty {
    /// The record that the storage uses for the one that was seen.
    async fn seen(&self, stored: &Stored) -> Result<Stored, StorageError> {
        let now = self.memory.load(&stored.upload.id).await?;
        Ok(match (self.fault, now) {
            (IgnoresVersions, Some(now)) if now.is_same_upload(&stored.upload) => now,
            (IgnoresIncarnations, Some(now)) => now,
            _ => stored.clone(),
        })
    }
}

fn edited<'a>(stream: StoredStream<'a>, edit: impl FnOnce(&mut Vec<Stored>) + Send + 'a) -> StoredStream<'a> {
    let all = async {
        let mut all: Vec<_> = stream.try_collect().await?;
        edit(&mut all);
        Ok::<_, StorageError>(stream::iter(all.into_iter().map(Ok)))
    };
    stream::once(all).try_flatten().boxed()
}

#[async_trait]
impl Storage for Faulty {
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError> {
        let mut upload = upload.clone();
        match self.fault {
            LosesPrivateData => upload.private.clear(),
            RoundsTimes => {
                let since = upload.created.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                upload.created = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
            }
            Replaces => {
                if let Some(old) = self.memory.load(&upload.id).await? {
                    self.memory.remove(&old).await?;
                }
            }
            _ => {}
        }
        self.memory.create(&upload).await
    }

    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError> {
        let mut stored = self.memory.load(id).await?;
        match (self.fault, &mut stored) {
            (HeldByNobody, Some(stored)) => stored.held_elsewhere = false,
            (ClaimsTooMuch, Some(stored)) => stored.upload.offset += 1,
            _ => {}
        }
        Ok(stored)
    }

    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError> {
        let mut all = self.memory.load_all(ids).await?;
        if self.fault == LoadsInOtherOrder {
            all.reverse();
        }
        Ok(all)
    }

    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        match self.fault {
            AsksNobody => self.memory.load(&stored.upload.id).await,
            WaitsForEver => std::future::pending().await,
            WritesWhereItReads => self.memory.settle(stored, Access::Write, patience).await,
            _ => self.memory.settle(stored, access, patience).await,
        }
    }

    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError> {
        if self.fault == BusyOnOpen {
            return Err(Failure::Busy.into());
        }
        let mut seen = self.seen(stored).await?;
        seen.held_elsewhere &= self.fault != OpensForAll;
        let writer = self.memory.open(&seen).await?;
        Ok(Box::new(FaultyWriter {
            writer,
            id: stored.upload.id.clone(),
            opened_at: stored.upload.offset,
            fault: self.fault,
            shared: self.shared.clone(),
            uncommitted: Vec::new(),
            kept: Vec::new(),
            hinted: 0,
        }))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let seen = self.seen(stored).await?;
        let mut change = change.clone();
        change.offset = seen.upload.offset;
        match self.fault {
            KeepsVerbatim => change.verbatim = None,
            KeepsExpiry => change.expires = seen.upload.expires,
            _ => {}
        }
        self.memory.update(&seen, &change).await
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        let mut seen = Vec::new();
        for part in parts {
            seen.push(self.seen(part).await?);
        }
        if self.fault == AssemblesBackwards {
            seen.reverse();
        }
        self.memory.assemble(&self.seen(stored).await?, &seen, &self.fault.changed(change)).await
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        if self.fault == KeepsRemoved {
            return Ok(());
        }
        self.memory.remove(&self.seen(stored).await?).await
    }

    async fn make_readable(&self, stored: &Stored) -> Result<Version, StorageError> {
        // It makes another version, as a storage may.
        let version = self.memory.update(stored, &Change::of(&stored.upload)).await?;
        if self.fault == StaysUnreadable {
            return Ok(stored.version.clone());
        }
        self.shared.lock().unwrap().readable.insert(stored.upload.id.clone());
        Ok(version)
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let range = if self.fault == IgnoresRanges { 0..u64::MAX } else { range };
        let stream = self.memory.read(&self.seen(stored).await?, range.clone()).await?;
        let is_readable = || self.shared.lock().unwrap().readable.contains(&stored.upload.id);
        if self.reads == Reads::WhatIsComplete && !stored.upload.is_complete() && !is_readable() {
            return Err(Failure::Conflict.into());
        }
        match self.fault {
            LargePieces => {
                let pieces: Vec<_> = stream.try_collect().await?;
                Ok(stream::iter([Ok(pieces.concat().into())]).boxed())
            }
            FollowsTheId => Ok(follow(self.memory.clone(), stored.upload.id.clone(), range)),
            _ => Ok(stream),
        }
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        match self.fault {
            ListsAgain => self.memory.list(filter, None),
            ListsBackwards => edited(self.memory.list(filter, after), |all| all.reverse()),
            ForgetsTheLast => edited(self.memory.list(filter, after), |all| drop(all.pop())),
            _ => self.memory.list(filter, after),
        }
    }

    fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        let pending = self.memory.pending(now);
        match self.fault {
            AllIsPending => self.memory.list(UploadFilter::default(), None),
            FindsNothingDue => edited(pending, |all| all.retain(|stored| !stored.upload.is_due())),
            FindsTwice => edited(pending, |all| all.extend(all.clone())),
            ForgetsTheLast => edited(pending, |all| drop(all.pop())),
            _ => pending,
        }
    }

    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError> {
        match self.fault {
            AllWait => Ok(self.memory.list(UploadFilter::default(), None).count().await.min(at_most)),
            _ => self.memory.pending_finals(at_most).await,
        }
    }

    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError> {
        if self.fault != AllWait {
            return self.memory.waiting_for(part, at_most).await;
        }
        let assembling = self.memory.list(UploadFilter::default().phase(Phase::Assembling), None);
        assembling.map_ok(|stored| stored.upload.id).try_collect().await
    }

    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        match self.fault {
            IgnoresIncarnations => match self.memory.load(&upload.id).await? {
                Some(now) => self.memory.claim(&now.upload, duration).await,
                None => Ok(true),
            },
            ClaimsAlways => Ok(true),
            ClaimsNever => Ok(false),
            ReleasesNothing if duration.is_zero() => Ok(true),
            ClaimsForever if !duration.is_zero() => self.memory.claim(upload, Duration::MAX).await,
            _ => self.memory.claim(upload, duration).await,
        }
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        if self.fault == TidiesTooMuch {
            let all: Vec<_> = self.memory.list(UploadFilter::default(), None).try_collect().await?;
            for new in all.iter().filter(|stored| stored.upload.offset == 0) {
                self.memory.remove(new).await?;
            }
        }
        self.memory.tidy().await
    }
}

/// The pieces of whichever upload has the id when each is read.
fn follow(memory: Memory, id: UploadId, range: Range<u64>) -> ByteStream {
    let pieces = stream::try_unfold(range.start, move |start| {
        let (memory, id) = (memory.clone(), id.clone());
        async move {
            let Some(now) = memory.load(&id).await? else { return Ok(None) };
            let mut pieces = memory.read(&now, start..range.end).await?;
            Ok(pieces.try_next().await?.map(|piece| (piece.clone(), start + piece.len() as u64)))
        }
    });
    pieces.boxed()
}

impl Fault {
    fn changed(self, change: &Change) -> Change {
        let mut change = change.clone();
        if self == NotifiesAlways && change.phase == Phase::Notified {
            change.phase = Phase::Complete;
        }
        if self == ForgetsNewExpiry {
            change.expires = None;
        }
        change
    }
}

struct FaultyWriter {
    writer: Box<dyn Writer>,
    id: UploadId,
    opened_at: u64,
    fault: Fault,
    shared: Arc<Mutex<Shared>>,
    uncommitted: Vec<u8>,
    kept: Vec<Chunks>,
    /// The offset of the last hint.
    hinted: u64,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        match self.fault {
            KeepsChunks => self.kept.push(chunks.clone()),
            ReordersChunks => {
                let reordered: Vec<_> = chunks.iter().rev().cloned().collect();
                return self.writer.write(reordered.into()).await;
            }
            MixesWriters | KeepsDroppedBytes => {
                let bytes = self.spoiled(&chunks.concat());
                return self.writer.write(bytes.into()).await;
            }
            _ => {}
        }
        self.writer.write(chunks).await
    }

    fn stored(&self) -> u64 {
        self.writer.stored()
    }

    fn version(&self) -> Version {
        self.writer.version()
    }

    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError> {
        self.hinted = change.offset;
        match self.fault {
            LosesCheckpoints => Ok(Checkpoint::Taken),
            CommitsAnyHint => self.writer.commit(change).await.map(|_| Checkpoint::Taken),
            _ => self.writer.checkpoint(change, hint).await,
        }
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        let mut change = change.clone();
        if self.fault == KeepsTooMuch {
            change.offset = self.opened_at + self.stored();
        }
        if self.fault == KeepsTooLittle && self.hinted > 0 {
            change.offset = self.hinted;
        }
        let version = self.writer.commit(&self.fault.changed(&change)).await?;
        self.uncommitted.clear();
        Ok(version)
    }

    fn asked_to_leave(&self) -> futures_util::future::BoxFuture<'static, ()> {
        match self.fault {
            AsksAll => Box::pin(std::future::ready(())),
            _ => self.writer.asked_to_leave(),
        }
    }
}

impl FaultyWriter {
    /// As many bytes, some of which belong to another writer.
    fn spoiled(&mut self, bytes: &[u8]) -> Bytes {
        let mut spoiled = bytes.to_owned();
        let mut shared = self.shared.lock().unwrap();
        if self.fault == KeepsDroppedBytes {
            spoiled.splice(0..0, shared.dropped.remove(&self.id).unwrap_or_default());
            spoiled.truncate(bytes.len());
        } else if let Some(first) = spoiled.first_mut() {
            std::mem::swap(first, &mut shared.last_byte);
        }
        self.uncommitted.extend_from_slice(&spoiled);
        spoiled.into()
    }
}

impl Drop for FaultyWriter {
    fn drop(&mut self) {
        self.shared.lock().unwrap().dropped.insert(self.id.clone(), std::mem::take(&mut self.uncommitted));
    }
}
