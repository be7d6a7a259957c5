//! A storage with one fault, which the tests must find.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tus_core::{Change, Failure, Phase, Stored, Upload, UploadId, Version, server::Access};

use crate::{
    ByteStream, Checkpoint, Chunks, Hint, Memory, Storage, StorageError, StoredStream, UploadFilter, Writer,
    conformance::{self, Fixture},
};

/// Generates a test for each pair of a fault and a conformance test that detects it. The clock is paused and advances
/// for waiting tasks.
macro_rules! are_found {
    ($($test:ident: $fault:ident breaks $truth:ident)*) => {$(
        #[tokio::test(start_paused = true)]
        #[should_panic]
        async fn $test() {
            conformance::$truth(with(Fault::$fault)).await;
        }
    )*};
}

are_found! {
    open_is_busy: BusyOnOpen breaks bytes_exist_after_a_commit
    open_is_busy_where_the_first_commit_would_win: BusyOnOpen breaks the_first_commit_wins
    updates_ignore_versions: IgnoresVersions breaks an_update_of_an_outdated_version_fails
    many_updates_ignore_versions: IgnoresVersions breaks many_changes_are_made_each_or_not_at_all
    of_many_updates_many_succeed: IgnoresVersions breaks one_of_many_updates_succeeds
    removals_ignore_versions: IgnoresVersions breaks a_removal_of_an_outdated_version_fails
    commits_ignore_versions: IgnoresVersions breaks a_commit_to_an_outdated_version_fails
    assemblies_ignore_versions: IgnoresVersions breaks a_failed_assembly_changes_nothing
    changes_ignore_incarnations: IgnoresIncarnations breaks a_reused_id_is_a_different_upload
    reads_ignore_incarnations: IgnoresIncarnations breaks an_old_incarnation_is_not_read
    an_assembly_ignores_incarnations_of_parts: IgnoresIncarnations breaks a_failed_assembly_changes_nothing
    records_lose_data: LosesPrivateData breaks records_are_loaded_as_stored
    what_is_repeated_does_not_change: KeepsVerbatim breaks an_update_changes_verbatim_values
    ids_are_taken_twice: Replaces breaks an_id_can_be_created_once
    loads_are_out_of_order: LoadsInOtherOrder breaks loads_are_in_the_order_of_the_ids
    a_list_has_no_last: ForgetsTheLast breaks a_long_list_is_complete
    a_filter_has_no_last: ForgetsTheLast breaks uploads_are_listed_by_owner_and_phase
    a_list_begins_too_early: ListsAgain breaks a_list_continues_after_an_id
    what_is_due_is_forgotten: FindsNothingDue breaks due_uploads_are_pending
    what_has_expired_comes_twice: FindsTwice breaks expired_uploads_are_pending
    too_much_is_pending: AllIsPending breaks due_uploads_are_pending
    the_last_that_is_pending_is_forgotten: ForgetsTheLast breaks every_pending_upload_is_found
    finals_wait_for_any_part: AllWait breaks waiting_final_uploads_are_found_by_part
    claims_are_given_to_all: ClaimsAlways breaks a_claim_keeps_another_process_out
    many_claims_are_given: ClaimsAlways breaks one_of_many_claiming_processes_succeeds
    whoever_completes_an_upload_claims_nothing: ClaimsAlways breaks the_change_that_completes_an_upload_claims_it
    no_claim_is_given: ClaimsNever breaks a_claim_lasts_until_it_expires
    claims_do_not_run_out: ClaimsForever breaks a_claim_expires
    nobody_is_held: HeldByNobody breaks bytes_arriving_in_another_process_are_reported
    nobody_is_asked: AsksNobody breaks an_upload_is_taken_over_without_losing_bytes
    all_are_asked: AsksAll breaks writers_are_not_asked_to_leave_without_reason
    who_was_outdone_gets_in: OpensForAll breaks the_newer_of_two_requests_wins
    a_reader_takes_an_upload: WritesWhereItReads breaks a_reader_waits_without_taking_over
    a_reader_asks_nobody: AsksNobody breaks a_reader_waits_without_taking_over
    claims_ignore_incarnations: IgnoresIncarnations breaks a_claim_ends_with_its_upload
    requests_wait_for_ever: WaitsForEver breaks a_writer_that_does_not_leave_is_reported
    a_taken_checkpoint_is_lost: LosesCheckpoints breaks a_taken_checkpoint_needs_no_further_call
    a_checkpoint_claims_too_much: ClaimsTooMuch breaks a_checkpoint_claims_only_existing_bytes
    bytes_beyond_a_commit_stay: KeepsTooMuch breaks a_commit_may_discard_everything_since_the_last_one
    any_hint_is_a_commit: CommitsAnyHint breaks a_hint_that_allows_nothing_changes_nothing
    chunks_are_kept: KeepsChunks breaks a_writer_releases_its_chunks
    what_came_after_a_hint_is_lost: KeepsTooLittle breaks an_upload_is_taken_over_without_losing_bytes
    pieces_are_too_large: LargePieces breaks bytes_are_read_in_small_pieces
}

#[tokio::test]
#[should_panic(expected = "only two processes can show this")]
async fn one_process_does_not_pass_for_two() {
    conformance::a_claim_keeps_another_process_out(Fixture::one_process(Memory::new())).await;
}

#[tokio::test]
#[should_panic]
async fn one_process_twice_does_not_pass_for_two() {
    let memory = Memory::new();
    conformance::a_claim_keeps_another_process_out(Fixture::two_processes(memory.clone(), memory)).await;
}

pub(super) fn reads_only_what_is_complete() -> Fixture {
    with(ReadsWhatIsComplete)
}

fn with(fault: Fault) -> Fixture {
    let memory = Memory::new();
    let two = Faulty { memory: memory.another_process(), fault };
    Fixture::two_processes(Faulty { memory, fault }, two)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    AllIsPending,
    AllWait,
    AsksAll,
    AsksNobody,
    BusyOnOpen,
    ClaimsAlways,
    ClaimsForever,
    ClaimsNever,
    ClaimsTooMuch,
    CommitsAnyHint,
    FindsNothingDue,
    FindsTwice,
    ForgetsTheLast,
    HeldByNobody,
    IgnoresIncarnations,
    IgnoresVersions,
    KeepsChunks,
    KeepsTooLittle,
    KeepsTooMuch,
    KeepsVerbatim,
    LargePieces,
    ListsAgain,
    LoadsInOtherOrder,
    LosesCheckpoints,
    LosesPrivateData,
    OpensForAll,
    /// This is not a fault.
    ReadsWhatIsComplete,
    Replaces,
    WaitsForEver,
    WritesWhereItReads,
}

use Fault::*;

struct Faulty {
    memory: Memory,
    fault: Fault,
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
            opened_at: stored.upload.offset,
            fault: self.fault,
            kept: Vec::new(),
            hinted: 0,
        }))
    }

    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError> {
        let seen = self.seen(stored).await?;
        let mut change = change.clone();
        change.offset = seen.upload.offset;
        if self.fault == KeepsVerbatim {
            change.verbatim = None;
        }
        self.memory.update(&seen, &change).await
    }

    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError> {
        let mut seen = Vec::new();
        for part in parts {
            seen.push(self.seen(part).await?);
        }
        self.memory.assemble(&self.seen(stored).await?, &seen, change).await
    }

    async fn remove(&self, stored: &Stored) -> Result<(), StorageError> {
        self.memory.remove(&self.seen(stored).await?).await
    }

    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let stream = self.memory.read(&self.seen(stored).await?, range).await?;
        if self.fault == ReadsWhatIsComplete && !stored.upload.is_complete() {
            return Err(Failure::Conflict.into());
        }
        if self.fault != LargePieces {
            return Ok(stream);
        }
        let pieces: Vec<_> = stream.try_collect().await?;
        Ok(stream::iter([Ok(pieces.concat().into())]).boxed())
    }

    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        match self.fault {
            ListsAgain => self.memory.list(filter, None),
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
            ClaimsForever if !duration.is_zero() => self.memory.claim(upload, Duration::MAX).await,
            _ => self.memory.claim(upload, duration).await,
        }
    }
}

struct FaultyWriter {
    writer: Box<dyn Writer>,
    opened_at: u64,
    fault: Fault,
    kept: Vec<Chunks>,
    /// The offset of the last hint.
    hinted: u64,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        if self.fault == KeepsChunks {
            self.kept.push(chunks.clone());
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
        self.writer.commit(&change).await
    }

    fn asked_to_leave(&self) -> futures_util::future::BoxFuture<'static, ()> {
        match self.fault {
            AsksAll => Box::pin(std::future::ready(())),
            _ => self.writer.asked_to_leave(),
        }
    }
}
