//! The conformance tests for storages, over the bucket in memory.

use std::{sync::Arc, time::Duration};

use bucket::{Bucket, Rules};
use tus_service::conformance::Fixture;

use crate::{Builder, ObjectStore};

/// Parts are small so that some tests have many.
pub(super) const PART: u64 = 64 * 1024;

pub(super) fn builder(bucket: &Bucket) -> Builder {
    ObjectStore::builder(Arc::new(bucket.clone())).with(|settings| {
        settings.part_size = PART;
        settings.window = 2;
        settings.owner_looks = Duration::from_millis(20);
        settings.waiter_looks = Duration::from_millis(5);
    })
}

async fn opened(rules: Rules) -> Fixture {
    let bucket = Bucket::with(rules);
    let (one, two) = (builder(&bucket).open().await.unwrap(), builder(&bucket).open().await.unwrap());
    Fixture::two_processes(one, two)
}

mod digests {
    async fn open() -> super::Fixture {
        super::opened(super::Rules::default()).await
    }
    tus_service::storage_tests!(open);
}

mod generations {
    async fn open() -> super::Fixture {
        super::opened(super::Rules { generations: true, forgets_metadata_of_parts: true, ..super::Rules::default() })
            .await
    }
    tus_service::storage_tests!(open);
}
