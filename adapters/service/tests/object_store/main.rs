//! A sketch of a storage over a bucket, as `tus-object-store` is to be: whether the trait allows its main path.
//!
//! Each file is one idea: the fake [`bucket`]; the [`document`] and its compare-and-set; the [`storage`]; the
//! [`writer`] with what is [`held`] in memory; how an upload is [sealed](seal) and read; what the design promises of the
//! main [`paths`]; and how a service gets on with it ([`requests`]).
//!
//! Left out: contested parts, the test of the store, pages of a listing, giving back what a crash has left.
#![allow(clippy::unwrap_used)]

mod bucket;
mod document;
mod held;
mod paths;
mod requests;
mod seal;
mod storage;
mod writer;

use tus_service::conformance::Fixture;

async fn open() -> Fixture {
    let (one, two) = paths::two();
    Fixture::two_processes(one, two)
}

tus_service::storage_tests!(open);
