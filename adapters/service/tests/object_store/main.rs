//! A sketch of a storage over a bucket, as `tus-object-store` is to be: whether the trait allows its main path.
//!
//! Each file is one idea: the fake [`bucket`]; the [`document`] and its compare-and-set; the [`storage`]; the
//! [`writer`] with what is [`held`] in memory; how an upload is [sealed](seal) and read; what the design promises of the
//! main [`paths`].
//!
//! Left out: contested parts, the test of the store, pages of a listing, giving back what a crash has left.
#![allow(clippy::unwrap_used)]

mod bucket;
mod document;
mod held;
mod paths;
mod seal;
mod storage;
mod writer;

use tus_service::conformance::Fixture;

async fn open() -> Fixture {
    // The suite reads a megabyte that is not complete: no part may be full.
    let (one, two) = paths::both(8 * 1024 * 1024, true);
    Fixture::two_processes(one, two)
}

tus_service::storage_tests!(open);
