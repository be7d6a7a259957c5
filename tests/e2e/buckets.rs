//! Servers on one bucket: a newer request in one takes over from an older one in another that is still receiving.

mod between;
mod cluster;
mod errors;
mod handoff;
mod memory;
mod paced;
mod partition;
mod servers;
mod witnesses;

use std::{sync::Arc, time::Duration};

pub(crate) use self::servers::Foreign;

use bucket::Bucket;
use tests::{Framework, Running};
use tus_object_store::ObjectStore;
use tus_service::{Storage, Stored};

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{block_on, id, wait_until},
};

const LENGTH: u64 = 40 << 20;

/// A server with a storage of its own on the bucket.
fn server(framework: Framework, bucket: &Bucket) -> (Running, Arc<dyn Storage>) {
    let store = block_on(ObjectStore::builder(Arc::new(bucket.clone())).open()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(store);
    (Running::start(framework, storage.clone(), |builder| builder).unwrap(), storage)
}

fn loaded(storage: &Arc<dyn Storage>, path: &str) -> Stored {
    block_on(storage.load(&id(path))).unwrap().unwrap()
}

/// The first server is still receiving. A client that asks the second one gets everything that arrived, and continues
/// there.
fn takes_over(framework: Framework) {
    let bucket = Bucket::default();
    let ((first, _), (second, storage)) = (server(framework, &bucket), server(framework, &bucket));
    let path = Connection::open(first.address).create(LENGTH);
    let mut stale = Connection::open(first.address);
    stale.begin_patch(&path, 0, LENGTH);
    let sender = std::thread::spawn({
        move || {
            let mut sent = 0;
            while sent < LENGTH - (1 << 20) && stale.try_send(&bytes(1, sent..sent + (256 << 10))).is_ok() {
                sent += 256 << 10;
                std::thread::sleep(Duration::from_millis(50));
            }
            sent
        }
    });
    wait_until(|| loaded(&storage, &path).held_elsewhere);
    let mut newer = Connection::open(second.address);
    let offset = newer.offset(&path);
    assert!(offset > 0, "what has arrived was committed");
    assert_eq!(newer.patch(&path, offset, &bytes(1, offset..LENGTH)).status, 204);
    assert!(sender.join().unwrap() < LENGTH, "the older request had to go");
    wait_until(|| loaded(&storage, &path).upload.is_complete());
    let stored = loaded(&storage, &path);
    assert_same(&block_on(read(&storage, &stored)), &bytes(1, 0..LENGTH));
}

async fn read(storage: &Arc<dyn Storage>, stored: &Stored) -> Vec<u8> {
    use futures_util::TryStreamExt;
    let pieces: Vec<_> = storage.read(stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

#[test]
fn a_request_takes_over_from_a_receiving_server() {
    for framework in Framework::ALL {
        takes_over(framework);
    }
}
