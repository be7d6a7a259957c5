//! Servers on one bucket.

mod between;
mod cluster;
mod digests;
mod errors;
mod handoff;
mod memory;
mod paced;
mod partition;
mod servers;
mod takeovers;
mod witnesses;

use std::sync::Arc;

pub(crate) use self::servers::Foreign;

use bucket::Bucket;
use tests::{Framework, Running};
use tus_object_store::ObjectStore;
use tus_service::{Storage, Stored};

use crate::harness::{block_on, id};

const LENGTH: u64 = 40 << 20;

fn storage(bucket: &Bucket) -> Arc<dyn Storage> {
    Arc::new(block_on(ObjectStore::builder(Arc::new(bucket.clone())).open()).unwrap())
}

/// A server with a storage of its own on the bucket.
fn server(framework: Framework, bucket: &Bucket) -> (Running, Arc<dyn Storage>) {
    let storage = storage(bucket);
    (Running::start(framework, storage.clone(), |builder| builder).unwrap(), storage)
}

fn loaded(storage: &Arc<dyn Storage>, path: &str) -> Stored {
    block_on(storage.load(&id(path))).unwrap().unwrap()
}

async fn read(storage: &Arc<dyn Storage>, stored: &Stored) -> Vec<u8> {
    use futures_util::TryStreamExt;
    let pieces: Vec<_> = storage.read(stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}
