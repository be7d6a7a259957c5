//! Faults of a storage, each with the tests that find it.

use super::faulty::{Fault, Reads, with};
use crate::{
    Memory,
    conformance::{self, Fixture},
};

/// Generates tests for each pair of a fault and a conformance test that detects it, also in a storage that cannot read
/// incomplete uploads. The clock is paused and advances for waiting tasks.
macro_rules! are_found {
    ($($test:ident: $fault:ident breaks $truth:ident)*) => {$(
        mod $test {
            use super::*;

            #[tokio::test(start_paused = true)]
            #[should_panic]
            async fn reading_everything() {
                conformance::$truth(with(Fault::$fault, Reads::Everything)).await;
            }

            #[tokio::test(start_paused = true)]
            #[should_panic]
            async fn reading_what_is_complete() {
                conformance::$truth(with(Fault::$fault, Reads::WhatIsComplete)).await;
            }
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
    times_lose_their_fractions: RoundsTimes breaks times_are_stored_to_the_millisecond
    of_many_creations_many_succeed: Replaces breaks one_of_many_creations_of_an_id_succeeds
    what_is_removed_stays: KeepsRemoved breaks a_removed_upload_is_gone
    what_is_removed_can_be_changed: KeepsRemoved breaks a_missing_upload_cannot_be_changed
    chunks_are_reordered: ReordersChunks breaks many_small_chunks_keep_their_order
    writers_are_mixed: MixesWriters breaks many_writers_do_not_mix
    dropped_bytes_are_kept: KeepsDroppedBytes breaks a_dropped_writer_leaves_no_bytes
    dropped_bytes_are_kept_by_tidying: KeepsDroppedBytes breaks tidying_removes_nothing_that_belongs_to_an_upload
    tidying_removes_what_is_new: TidiesTooMuch breaks tidying_removes_nothing_that_belongs_to_an_upload
    nobody_is_left_unnoticed: NotifiesAlways breaks a_commit_completes_an_upload
    an_empty_assembly_is_notified: NotifiesAlways breaks empty_parts_make_an_empty_upload
    ranges_are_ignored: IgnoresRanges breaks a_range_ends_with_the_bytes
    a_stream_follows_the_id: FollowsTheId breaks a_stream_contains_bytes_of_one_upload
    an_expiry_is_forgotten: KeepsExpiry breaks an_update_changes_only_its_fields
    an_expiry_is_not_indexed: ForgetsNewExpiry breaks an_expiry_of_any_change_is_pending
    what_must_be_verified_cannot_be_read: StaysUnreadable breaks an_upload_can_be_read_before_it_is_complete
    a_readable_upload_has_an_old_version: StaysUnreadable breaks a_readable_upload_is_completed_by_a_commit
    a_length_is_declared_twice: IgnoresVersions breaks a_length_is_declared_once
    parts_are_in_other_order: AssemblesBackwards breaks parts_are_assembled_in_order
    all_are_waiting: AllWait breaks pending_final_uploads_are_counted
    a_list_is_out_of_order: ListsBackwards breaks a_list_is_ordered_by_id
    a_changing_list_has_no_last: ForgetsTheLast breaks a_list_continues_while_uploads_come_and_go
    pending_work_is_forgotten: ForgetsTheLast breaks pending_work_can_be_done_while_listing
    nothing_is_released: ReleasesNothing breaks a_released_claim_is_free
    what_others_claim_is_released: ClaimsAlways breaks a_process_releases_only_its_own_claim
    nobody_is_asked_to_return_an_upload: AsksNobody breaks an_upload_moves_back_and_forth
    a_removed_upload_is_held: KeepsRemoved breaks a_removed_upload_is_not_held
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
