//! Lock, takeover and commit in every order in which threads may come to them, as far as that can be enumerated, and
//! in a great many random ones. Run it by
//! `RUSTFLAGS="--cfg shuttle" cargo test -p tus-service --lib --target-dir target/shuttle`.
//!
//! The locks are those of the service, the storage is [`Memory`], and what a request does with them is what the
//! driver does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::SystemTime,
};

use bytes::Bytes;
use shuttle::{
    Config, Runner,
    future::{block_on, spawn, yield_now},
    scheduler::DfsScheduler,
};
use tus_core::{Kind, Metadata, Upload};

use super::*;
use crate::{Memory, Storage};

/// Bytes that each request brings.
const BODY: u64 = 2;

/// Nobody gives up: time stands still here.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct World {
    locks: Locks,
    storage: Memory,
    /// Requests that hold the upload at this moment.
    holders: AtomicUsize,
    /// The requests that add bytes, in the order in which they hold the upload, and those of them that have committed.
    appending: std::sync::Mutex<Vec<u8>>,
    committed: std::sync::Mutex<Vec<u8>>,
    /// The largest offset that anybody was told.
    acknowledged: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Append,
    Inspect,
    /// What is not asked for by anybody: it asks nobody to leave.
    Housekeeping,
    /// The same, where it waits.
    Resume,
}

use Request::{Append, Housekeeping, Inspect, Resume};

#[test]
fn every_order_of_two_requests() {
    for pair in [[Append, Append], [Append, Inspect], [Append, Housekeeping], [Append, Resume]] {
        let every = DfsScheduler::new(None, false);
        let orders = within_a_clock(move || Runner::new(every, Config::default()).run(move || play(&pair)));
        eprintln!("{pair:?}: {orders} orders");
    }
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

/// Timeouts need a clock, which here never goes on.
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
                        Housekeeping => drop(world.locks.try_hold(&id()).map(|held| alone(&world, held))),
                        Resume => drop(alone(&world, world.locks.hold_when_free(&id()).await)),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let stored = world.storage.load(&id()).await.unwrap().unwrap();
        let bytes = world.storage.read(&stored, 0..u64::MAX).await.unwrap();
        assert_eq!(bytes.len() as u64, stored.offset);
        let mut runs: Vec<u8> = bytes.to_vec();
        runs.dedup();
        let count = runs.len();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), count, "the bytes of two requests are mixed: {bytes:?}");
    });
    assert!(world.locks.table().slots.is_empty(), "nothing is left of an upload that is free");
}

async fn append(world: &World, value: u8) {
    let moment = world.locks.moment(&id());
    let mut upload = world.storage.load(&id()).await.unwrap().unwrap();
    let Ok(held) = world.locks.hold(&id(), PATIENCE).await else {
        return;
    };
    let leave = held.asked_to_leave();
    let is_new = held.is_first_since(moment);
    let held = alone(world, held);
    world.appending.lock().unwrap().push(value);
    if !is_new {
        upload = world.storage.load(&id()).await.unwrap().unwrap();
    }
    let mut writer = world.storage.append(&upload).await.unwrap();
    for _ in 0..BODY {
        yield_now().await;
        if leave.is_cancelled() {
            break;
        }
        writer.write(vec![Bytes::copy_from_slice(&[value])]).await.unwrap();
    }
    let offset = upload.offset + writer.stored();
    // Nobody else has changed it, or the storage would say so.
    writer.commit(&Upload { offset, ..upload }).await.unwrap();
    world.committed.lock().unwrap().push(value);
    held.0.committed();
    world.acknowledged.fetch_max(offset, SeqCst);
    yield_now().await;
}

async fn inspect(world: &World) {
    let acknowledged = world.acknowledged.load(SeqCst);
    let appending = world.appending.lock().unwrap().clone();
    let moment = world.locks.moment(&id());
    let mut upload = world.storage.load(&id()).await.unwrap().unwrap();
    yield_now().await;
    if !world.locks.clear(&id(), moment, PATIENCE).await {
        upload = world.storage.load(&id()).await.unwrap().unwrap();
    }
    assert!(upload.offset >= acknowledged, "it went back");
    let committed = world.committed.lock().unwrap().clone();
    assert!(appending.iter().all(|value| committed.contains(value)), "what an older request has was not waited for");
    world.acknowledged.fetch_max(upload.offset, SeqCst);
}

/// Whoever holds the upload is alone with it.
struct Alone<'a>(Held<'a>, &'a AtomicUsize);

fn alone<'a>(world: &'a World, held: Held<'a>) -> Alone<'a> {
    assert_eq!(world.holders.fetch_add(1, SeqCst), 0, "two hold it");
    Alone(held, &world.holders)
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Before the lock itself goes.
        self.1.fetch_sub(1, SeqCst);
    }
}

fn id() -> UploadId {
    "a".parse().unwrap()
}

fn upload() -> Upload {
    Upload {
        id: id(),
        kind: Kind::Single,
        offset: 0,
        length: Some(1000),
        max_size: None,
        metadata: Metadata::default(),
        created: SystemTime::UNIX_EPOCH,
        expires: None,
        finished: false,
    }
}
