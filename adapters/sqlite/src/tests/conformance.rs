//! The guarantees of every storage, in both modes.

use tus_service::conformance::Fixture;

use super::*;
use crate::Durability;

async fn open(durability: Durability) -> Fixture {
    let directory = directory();
    let open = || Sqlite::options().durability(durability).open(&directory).unwrap();
    Fixture::two_processes(open(), open()).keeping(directory)
}

mod synced {
    async fn open() -> super::Fixture {
        super::open(super::Durability::Synced).await
    }

    tus_service::storage_tests!(open);
}

mod buffered {
    async fn open() -> super::Fixture {
        super::open(super::Durability::Buffered).await
    }

    tus_service::storage_tests!(open);
}
