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
            a_claim_that_is_given_back_is_free
            the_change_that_completes_an_upload_claims_it
            a_claim_runs_out
            nobody_gives_back_the_claim_of_another_process
            of_many_claims_one_process_has_its_own
            a_claim_ends_with_its_upload
            // takeover
            bytes_that_come_in_another_process_are_reported
            an_upload_is_taken_over_and_no_byte_is_lost
            an_upload_goes_to_and_fro
            of_two_requests_the_newer_one_wins
            a_reader_waits_and_takes_nothing
            who_does_not_leave_is_reported
            nobody_is_asked_to_leave_whom_nobody_asked
            a_removed_upload_is_held_by_nobody
        }
    };
    ($(#[$attribute:meta])* one_process: $open:path) => {
        $crate::storage_tests! { @tests { $(#[$attribute])* } $open:
            // records
            records_come_back_as_they_were
            times_come_back_to_the_millisecond
            an_id_is_taken_once
            of_many_who_create_an_id_one_succeeds
            loads_come_in_the_order_of_the_ids
            a_removed_upload_is_gone
            // bytes
            bytes_exist_after_a_commit
            a_commit_may_forget_all_since_the_last_one
            a_dropped_writer_leaves_nothing
            many_small_chunks_keep_their_order
            a_checkpoint_claims_no_more_than_there_is
            a_taken_checkpoint_needs_no_other_word
            a_hint_that_allows_nothing_changes_nothing
            a_writer_lets_go_of_its_chunks
            a_commit_completes_an_upload
            many_writers_do_not_mix
            tidying_takes_nothing_that_belongs_to_an_upload
            // reading
            a_range_ends_where_the_bytes_end
            bytes_are_read_in_small_pieces
            a_stream_that_is_dropped_early_does_no_harm
            a_stream_has_the_bytes_of_one_upload
            // changes
            an_update_changes_what_is_repeated
            an_update_changes_what_it_says
            an_update_of_another_version_is_refused
            a_removal_of_another_version_is_refused
            a_commit_to_another_version_is_refused
            the_first_commit_wins
            of_many_updates_one_succeeds
            a_length_is_declared_once
            what_is_gone_is_not_changed
            // incarnations
            an_id_that_is_used_again_is_another_upload
            a_writer_of_an_old_incarnation_adds_nothing_to_the_new_one
            an_old_incarnation_is_not_read
            // assembling
            parts_are_assembled_in_order
            empty_parts_make_an_empty_upload
            an_assembled_upload_does_not_need_its_parts
            a_failed_assembly_changes_nothing
            an_upload_is_assembled_once
            an_upload_without_parts_is_assembled_from_its_own_bytes
            finals_wait_for_their_parts
            pending_finals_are_counted
            // listing
            uploads_are_listed_by_owner_and_phase
            a_list_is_in_the_order_of_ids
            a_list_goes_on_after_an_id
            a_long_list_is_complete
            a_list_goes_on_while_uploads_come_and_go
            // pending
            what_has_expired_is_pending
            what_is_due_is_pending
            all_that_is_pending_is_found
            what_is_pending_can_be_done_as_it_comes
            // what one process can show of claims and takeover
            a_claim_is_ours_until_it_runs_out
            who_asks_himself_gets_the_record
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
