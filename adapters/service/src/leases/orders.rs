//! Lease, takeover and commit in every order of threads, as far as these can be enumerated, and in many random ones.
//! Run it with `RUSTFLAGS="--cfg shuttle" cargo test -p tus-service --lib --target-dir target/shuttle`.
//!
//! The leases are the service's, the storage is [`Memory`], and requests use them as the driver does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use shuttle::{
    Config, Runner,
    future::{block_on, spawn, yield_now},
    scheduler::DfsScheduler,
};
use tus_core::{Change, Incarnation, Kind, Upload};

use super::*;
use crate::{Memory, Storage};

/// The bytes that each request sends.
const BODY: u64 = 2;

/// No request gives up, because time stands still here.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct World {
    leases: Leases,
    storage: Memory,
    /// The requests that hold the upload now.
    holders: AtomicUsize,
    /// The requests that add bytes, in the order in which they hold the upload, and those that have committed.
    appending: std::sync::Mutex<Vec<u8>>,
    committed: std::sync::Mutex<Vec<u8>>,
    /// The largest offset that anybody has seen.
    acknowledged: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Append,
    Inspect,
    /// Background work: it does not ask the holder to leave.
    Housekeeping,
    /// Background work that waits for a free upload.
    Resume,
}

use Request::{Append, Housekeeping, Inspect, Resume};

/// There are more orders of two appends than can be enumerated.
#[test]
fn many_orders_of_two_appends() {
    within_a_clock(|| shuttle::check_random(|| play(&[Append, Append]), 200_000));
}

#[test]
fn every_order_of_an_append_and_a_reader() {
    every_order([Append, Inspect]);
}

#[test]
fn every_order_of_an_append_and_background_work() {
    every_order([Append, Housekeeping]);
    every_order([Append, Resume]);
}

fn every_order(pair: [Request; 2]) {
    let every = DfsScheduler::new(None, false);
    let orders = within_a_clock(move || Runner::new(every, Config::default()).run(move || play(&pair)));
    eprintln!("{pair:?}: {orders} orders");
}

#[test]
fn many_orders_of_many_requests() {
    const ORDERS: usize = 20_000;
    let requests = [Append, Inspect, Append, Housekeeping, Append, Resume, Inspect];
    let orders = std::env::var("TUS_TEST_ORDERS").map_or(ORDERS, |orders| orders.parse().unwrap());
    within_a_clock(move || shuttle::check_random(move || play(&requests), orders));
    within_a_clock(move || shuttle::check_pct(move || play(&requests), orders, 3));
    eprintln!("{orders} random orders, and as many by priorities");
}

/// Timeouts need a clock, which stands still here.
fn within_a_clock<T>(check: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    check()
}

fn play(requests: &[Request]) {
    let world = Arc::new(World::default());
    block_on(async {
        world.storage.create(&upload()).await.unwrap();
        let tasks: Vec<_> = (1..)
            .zip(requests)
            .map(|(value, request)| {
                let world = world.clone();
                let request = *request;
                spawn(async move {
                    match request {
                        Append => append(&world, value).await,
                        Inspect => inspect(&world).await,
                        Housekeeping => drop(world.leases.try_hold(&id()).map(|held| alone(&world, held))),
                        Resume => drop(alone(&world, world.leases.hold_when_free(&id()).await)),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let stored = world.storage.load(&id()).await.unwrap().unwrap();
        let pieces: Vec<Bytes> = world.storage.read(&stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
        let bytes = pieces.concat();
        assert_eq!(bytes.len() as u64, stored.upload.offset);
        let mut runs: Vec<u8> = bytes.to_vec();
        runs.dedup();
        let count = runs.len();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), count, "the bytes of two requests are mixed: {bytes:?}");
    });
    assert!(world.leases.table().slots.is_empty(), "a free upload left state behind");
}

async fn append(world: &World, value: u8) {
    let generation = world.leases.generation(&id());
    let mut stored = world.storage.load(&id()).await.unwrap().unwrap();
    let Ok(held) = world.leases.hold(&id(), PATIENCE).await else {
        return;
    };
    let leave = held.asked_to_leave();
    let is_new = held.is_first_since(generation);
    let held = alone(world, held);
    world.appending.lock().unwrap().push(value);
    if !is_new {
        stored = world.storage.load(&id()).await.unwrap().unwrap();
    }
    let mut writer = world.storage.open(&stored).await.unwrap();
    for _ in 0..BODY {
        yield_now().await;
        if leave.is_cancelled() {
            break;
        }
        writer.write(Bytes::copy_from_slice(&[value]).into()).await.unwrap();
    }
    let mut change = Change::of(&stored.upload);
    change.offset += writer.stored();
    // Nobody else has changed it; otherwise the storage would report it.
    writer.commit(&change).await.unwrap();
    world.committed.lock().unwrap().push(value);
    held.0.committed();
    world.acknowledged.fetch_max(change.offset, SeqCst);
    yield_now().await;
}

async fn inspect(world: &World) {
    let acknowledged = world.acknowledged.load(SeqCst);
    let appending = world.appending.lock().unwrap().clone();
    let generation = world.leases.generation(&id());
    let mut stored = world.storage.load(&id()).await.unwrap().unwrap();
    yield_now().await;
    if !world.leases.settle(&id(), generation, PATIENCE).await {
        stored = world.storage.load(&id()).await.unwrap().unwrap();
    }
    assert!(stored.upload.offset >= acknowledged, "the offset decreased");
    let committed = world.committed.lock().unwrap().clone();
    assert!(appending.iter().all(|value| committed.contains(value)), "the bytes of an older request were not awaited");
    world.acknowledged.fetch_max(stored.upload.offset, SeqCst);
}

/// The holder of the upload is alone with it.
struct Alone<'a>(Lease<'a>, &'a AtomicUsize);

fn alone<'a>(world: &'a World, held: Lease<'a>) -> Alone<'a> {
    assert_eq!(world.holders.fetch_add(1, SeqCst), 0, "two requests hold the upload");
    Alone(held, &world.holders)
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Before the lease itself is released.
        self.1.fetch_sub(1, SeqCst);
    }
}

fn id() -> UploadId {
    "a".parse().unwrap()
}

fn upload() -> Upload {
    let mut upload = Upload::new(id(), Incarnation::from_random(1), Kind::Single);
    upload.length = Some(1000);
    upload
}
