//! The requests of many servers: the numbers in the README.

use std::{collections::BTreeMap, time::Duration};

use bucket::{Bucket, Fate, Operation, Operation::*};
use futures_util::{TryStreamExt, future};
use tokio::time::{Instant, sleep, timeout};
use tus_service::{Hint, Kind, Storage};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::ObjectStore;

const SERVERS: usize = 50;
const UPLOADS: usize = 20;
const SECONDS: u64 = 60;

/// With default settings, one byte standing for 128.
fn servers(bucket: &Bucket) -> Vec<ObjectStore> {
    bucket.on_request(|_| Fate::Slow(Duration::from_millis(10), Duration::from_millis(10)));
    let store = || {
        let builder = builder(bucket).with(|settings| {
            settings.window = 4;
            settings.owner_looks = Duration::from_secs(1);
            settings.waiter_looks = Duration::from_millis(250);
        });
        builder.open_unchecked().unwrap()
    };
    (0..SERVERS).map(|_| store()).collect()
}

/// A body of which a few bytes arrive ten times a second, as the service receives it.
async fn trickles(store: &ObjectStore, name: String) {
    let stored = created(store, &name, Kind::Partial, Some(PART)).await;
    let mut writer = store.open(&stored).await.unwrap();
    let mut asked = writer.asked_to_leave();
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let (mut sent, mut hint) = (0, Instant::now());
    while Instant::now() < until {
        writer.write(bytes(10, sent).into()).await.unwrap();
        sent += 10;
        assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err(), "nobody wants it");
        if hint.elapsed() >= Duration::from_millis(500) {
            let _ = writer.checkpoint(&hinted(&stored, sent), Hint::Streaming).await.unwrap();
            hint = Instant::now();
        }
    }
    writer.commit(&more(&stored, sent)).await.unwrap();
}

fn a_second(counts: &BTreeMap<Operation, usize>, operation: Operation) -> f64 {
    counts.get(&operation).copied().unwrap_or(0) as f64 / (SERVERS * UPLOADS) as f64 / SECONDS as f64
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_costs_less_than_two_requests_a_second() {
    let bucket = Bucket::default();
    let servers = servers(&bucket);
    let names = (0..SERVERS * UPLOADS).map(|n| (&servers[n % SERVERS], format!("upload-{n}")));
    future::join_all(names.map(|(store, name)| trickles(store, name))).await;
    let counts = bucket.requests();
    let (reads, writes) = (a_second(&counts, Get), a_second(&counts, PutNew) + a_second(&counts, PutIf));
    eprintln!("an upload that trickles costs {reads:.2} reads and {writes:.2} writes a second: {counts:?}");
    assert!(reads <= 1.0, "{reads}: it looks each second whether it is wanted");
    assert!(writes <= 0.55, "{writes}: a piece and the document, every five seconds");
}

#[tokio::test(start_paused = true)]
async fn idle_servers_list_twice() {
    let bucket = Bucket::default();
    let servers = servers(&bucket);
    let sweeps = servers.iter().map(|store| async {
        sleep(Duration::from_millis(1)).await;
        assert!(store.pending(std::time::SystemTime::now()).try_next().await.unwrap().is_none());
    });
    future::join_all(sweeps).await;
    assert_eq!(bucket.requests(), [(List, 2 * SERVERS)].into());
}
