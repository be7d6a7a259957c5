//! The tests that every storage must pass, each as a function. [`storage_tests!`](crate::storage_tests) generates a
//! test for each.
//!
//! Each checks a sentence of [`Storage`] or [`Writer`](crate::Writer), and panics if a storage violates it. Survival
//! of a restart, a crash or a full disk must be shown by the storage's own tests.
//!
//! ```
//! use tus_service::{Memory, conformance::Fixture};
//!
//! async fn open() -> Fixture {
//!     let memory = Memory::new();
//!     Fixture::two_processes(memory.another_process(), memory)
//! }
//!
//! tus_service::storage_tests!(open);
//! ```
#![allow(clippy::unwrap_used)]

mod assembling;
mod bytes;
mod changes;
mod claims;
mod incarnations;
mod listing;
mod pending;
mod reading;
mod records;
mod takeover;
mod uploads;

#[cfg(test)]
mod tests;

use std::{any::Any, fmt};

pub use self::{
    assembling::*, bytes::*, changes::*, claims::*, incarnations::*, listing::*, pending::*, reading::*, records::*,
    takeover::*,
};
use crate::Storage;

/// Generates a test for each guarantee.
///
/// `storage_tests!(open)` takes a function `async fn open() -> Fixture` that opens an empty store; each test opens
/// its own. The tests have the names of the functions in [`conformance`](crate::conformance) and use
/// `#[tokio::test]`, so the crate needs `tokio` with its macros. Attributes before the function apply to each test:
/// `storage_tests!(#[ignore = "needs a server"] open)`.
///
/// `storage_tests!(one_process: open)` is for a storage that two processes cannot share. It omits the tests that need
/// two processes.
#[macro_export]
macro_rules! storage_tests {
    ($(#[$attribute:meta])* $open:path) => {
        $crate::storage_tests!($(#[$attribute])* one_process: $open);
        $crate::storage_tests! { @tests { $(#[$attribute])* } $open:
            // claims
            a_claim_keeps_another_process_out
            a_released_claim_is_free
            the_change_that_completes_an_upload_claims_it
            a_claim_expires
            a_process_releases_only_its_own_claim
            one_of_many_claiming_processes_succeeds
            a_claim_ends_with_its_upload
            // takeover
            bytes_arriving_in_another_process_are_reported
            an_upload_is_taken_over_without_losing_bytes
            an_upload_moves_back_and_forth
            the_newer_of_two_requests_wins
            a_reader_waits_without_taking_over
            a_writer_that_does_not_leave_is_reported
            writers_are_not_asked_to_leave_without_reason
            a_removed_upload_is_not_held
        }
    };
    ($(#[$attribute:meta])* one_process: $open:path) => {
        $crate::storage_tests! { @tests { $(#[$attribute])* } $open:
            // records
            records_are_loaded_as_stored
            times_are_stored_to_the_millisecond
            an_id_can_be_created_once
            one_of_many_creations_of_an_id_succeeds
            loads_are_in_the_order_of_the_ids
            a_removed_upload_is_gone
            // bytes
            bytes_exist_after_a_commit
            a_commit_may_discard_everything_since_the_last_one
            a_dropped_writer_leaves_no_bytes
            many_small_chunks_keep_their_order
            a_checkpoint_claims_only_existing_bytes
            a_taken_checkpoint_needs_no_further_call
            a_hint_that_allows_nothing_changes_nothing
            a_writer_releases_its_chunks
            a_commit_completes_an_upload
            many_writers_do_not_mix
            tidying_removes_nothing_that_belongs_to_an_upload
            // reading
            a_range_ends_with_the_bytes
            bytes_are_read_in_small_pieces
            an_upload_can_be_read_before_it_is_complete
            a_readable_upload_is_completed_by_a_commit
            dropping_a_stream_early_does_no_harm
            a_stream_contains_bytes_of_one_upload
            // changes
            an_update_changes_verbatim_values
            many_changes_are_made_each_or_not_at_all
            an_update_changes_only_its_fields
            an_update_of_an_outdated_version_fails
            a_removal_of_an_outdated_version_fails
            a_commit_to_an_outdated_version_fails
            the_first_commit_wins
            one_of_many_updates_succeeds
            a_length_is_declared_once
            a_missing_upload_cannot_be_changed
            // incarnations
            a_reused_id_is_a_different_upload
            a_writer_of_an_old_incarnation_adds_nothing_to_the_new_one
            an_old_incarnation_is_not_read
            // assembling
            parts_are_assembled_in_order
            empty_parts_make_an_empty_upload
            an_assembled_upload_does_not_need_its_parts
            a_failed_assembly_changes_nothing
            an_upload_is_assembled_once
            an_upload_without_parts_is_assembled_from_its_own_bytes
            waiting_final_uploads_are_found_by_part
            pending_final_uploads_are_counted
            // listing
            uploads_are_listed_by_owner_and_phase
            a_list_is_ordered_by_id
            a_list_continues_after_an_id
            a_long_list_is_complete
            a_list_continues_while_uploads_come_and_go
            // pending
            expired_uploads_are_pending
            an_expiry_of_any_change_is_pending
            due_uploads_are_pending
            every_pending_upload_is_found
            pending_work_can_be_done_while_listing
            // what one process can show of claims and takeover
            a_claim_lasts_until_it_expires
            settling_an_own_upload_returns_the_record
        }
    };
    (@tests $attributes:tt $open:path: $($truth:ident)*) => {$(
        $crate::storage_tests!(@test $attributes $open: $truth);
    )*};
    (@test { $(#[$attribute:meta])* } $open:path: $truth:ident) => {
        #[::tokio::test]
        $(#[$attribute])*
        async fn $truth() {
            $crate::conformance::$truth($open().await).await;
        }
    };
}

/// An empty store, and the storages of one or two processes on it.
pub struct Fixture {
    one: Box<dyn Storage>,
    two: Option<Box<dyn Storage>>,
    /// Dropped after the storages.
    _kept: Option<Box<dyn Any + Send>>,
}

impl Fixture {
    /// A storage that two processes cannot share.
    pub fn one_process(storage: impl Storage) -> Self {
        Self { one: Box::new(storage), two: None, _kept: None }
    }

    /// Two storages on one store that know about each other only what two processes would.
    pub fn two_processes(one: impl Storage, two: impl Storage) -> Self {
        Self { one: Box::new(one), two: Some(Box::new(two)), _kept: None }
    }

    /// Keeps a value, for example a temporary directory, until the test ends.
    pub fn keeping(mut self, kept: impl Any + Send) -> Self {
        self._kept = Some(Box::new(kept));
        self
    }

    fn one(&self) -> &dyn Storage {
        &*self.one
    }

    /// The second process, or the only one.
    fn other(&self) -> &dyn Storage {
        self.two.as_deref().unwrap_or(&*self.one)
    }

    fn two(&self) -> &dyn Storage {
        self.two.as_deref().expect("only two processes can show this")
    }

    /// Both storages alternately, or the only one.
    fn in_turn(&self) -> impl Iterator<Item = &dyn Storage> {
        [self.one(), self.other()].into_iter().cycle()
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store with {} processes", if self.two.is_some() { "two" } else { "one" })
    }
}
