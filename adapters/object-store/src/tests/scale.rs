//! The requests of many servers: the numbers in the README.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Operation, Operation::*};
use futures_util::{TryStreamExt, future};
use object_store::{ObjectStoreExt, path::Path};
use tokio::time::{Instant, sleep, timeout};
use tus_service::{Hint, Kind, Storage};

use super::{
    conformance::{PART, builder},
    requests::small_upload,
    uploads::*,
};
use crate::{ObjectStore, keys};

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

/// Requests a second.
#[derive(Clone, Copy, Default)]
struct Rate {
    reads: f64,
    writes: f64,
    lists: f64,
    deletions: f64,
}

impl Rate {
    fn of(counts: &BTreeMap<Operation, usize>, times: f64) -> Self {
        let sum = |all: &[Operation]| {
            let sum: usize = all.iter().filter_map(|one| counts.get(one)).sum();
            sum as f64 * times
        };
        let rate = Self {
            reads: sum(&[Get, Head]),
            writes: sum(&[Put, PutNew, PutIf, Begin, Part, Copy, Complete]),
            lists: sum(&[List]),
            deletions: sum(&[Delete, Abort]),
        };
        let all = rate.reads + rate.writes + rate.lists + rate.deletions;
        assert!((all - counts.values().sum::<usize>() as f64 * times).abs() < 1e-6, "all are counted: {counts:?}");
        rate
    }

    /// What AWS takes for S3 in us-east-1, in USD an hour.
    fn costs(self) -> f64 {
        3600.0 * ((self.writes + self.lists) * 0.005 + self.reads * 0.0004) / 1000.0
    }

    /// Each takes so many requests a second.
    fn partitions(self) -> f64 {
        ((self.writes + self.lists) / 3500.0).max(self.reads / 5500.0).ceil()
    }

    /// As in the README's table.
    fn row(self, load: &str) -> String {
        let rates =
            [(self.reads, "reads"), (self.writes, "writes"), (self.lists, "lists"), (self.deletions, "deletions")];
        let rates: Vec<_> =
            rates.iter().filter(|(rate, _)| *rate > 0.0).map(|(rate, name)| said(*rate, name)).collect();
        format!("| {load} | {} | {} | {} |", rates.join(", "), number(self.costs()), self.partitions())
    }
}

fn said(rate: f64, name: &str) -> String {
    format!("{} {name}", number(rate))
}

/// Three digits, and commas.
fn number(value: f64) -> String {
    if value < 10.0 {
        let text = format!("{value:.*}", if value < 1.0 { 2 } else { 1 });
        return text;
    }
    let unit = 10_f64.powf(value.log10().floor() - 2.0).max(1.0);
    let mut text = format!("{:.0}", (value / unit).round() * unit);
    for at in (1..text.len()).rev().filter(|at| (text.len() - at) % 3 == 0).collect::<Vec<_>>() {
        text.insert(at, ',');
    }
    text
}

#[track_caller]
fn is_in_the_readme(row: &str) {
    assert!(include_str!("../../README.md").lines().any(|line| line == row), "the README lacks: {row}");
}

#[tokio::test(start_paused = true)]
async fn the_readme_says_what_slow_uploads_cost() {
    let bucket = Bucket::default();
    let servers = servers(&bucket);
    let names = (0..SERVERS * UPLOADS).map(|n| (&servers[n % SERVERS], format!("upload-{n}")));
    future::join_all(names.map(|(store, name)| trickles(store, name))).await;
    let rate = Rate::of(&bucket.requests(), 1e6 / (SERVERS * UPLOADS) as f64 / SECONDS as f64);
    is_in_the_readme(&rate.row("1,000,000 concurrent slow uploads"));
}

#[tokio::test]
async fn the_readme_says_what_small_uploads_cost() {
    for (is_more, load) in [
        (true, "10,000 small uploads a second, with expiry and notification"),
        (false, "the same without expiry and notification"),
    ] {
        let bucket = Bucket::default();
        let store = builder(&bucket).open_unchecked().unwrap();
        small_upload(&store, is_more).await;
        is_in_the_readme(&Rate::of(&bucket.requests(), 10_000.0).row(load));
    }
}

/// Many markers have come up, and all servers sweep at once: they do not do the same work.
#[tokio::test(start_paused = true)]
async fn servers_share_a_large_sweep() {
    const SHARING: u64 = 5;
    const MARKERS: u64 = 30_000;
    let (bucket, now) = (Bucket::default(), SystemTime::now());
    for n in 0..MARKERS {
        let of_none = upload(&format!("upload-{n}"), Kind::Single, None);
        let marker = keys::expiry(now - Duration::from_secs(7200 + n), &of_none);
        bucket.put(&Path::from(marker), "".into()).await.unwrap();
    }
    // One waits for something, and is much older.
    let of_none = upload("old", Kind::Single, None);
    let marker = keys::expiry(now - Duration::from_secs(30 * 24 * 3600), &of_none);
    bucket.put(&Path::from(marker), "".into()).await.unwrap();
    bucket.age(Duration::from_secs(7200));
    let servers = servers(&bucket);
    let began = Instant::now();
    let sweeps = servers.iter().take(SHARING as usize).map(|store| store.pending(now).try_collect::<Vec<_>>());
    for due in future::join_all(sweeps).await {
        assert_eq!(due.unwrap(), []);
    }
    assert_eq!(bucket.keys(""), [] as [&str; 0]);
    let (reads, elapsed) = (bucket.requests()[&Get] as u64, began.elapsed());
    // Two for each marker. If each server did all of the work, they would be five times as many, and take as long as one
    // server.
    let alone = Duration::from_millis(2 * 20) * MARKERS as u32 / 64;
    eprintln!("{:.2} reads of each, {:.2} of the time", reads as f64 / MARKERS as f64, elapsed.div_duration_f64(alone));
    assert!(reads < 4 * MARKERS && elapsed < alone / 2, "{reads} reads, {elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_readme_says_what_idle_servers_cost() {
    let bucket = Bucket::default();
    let servers = servers(&bucket);
    let sweeps = servers.iter().map(|store| async {
        sleep(Duration::from_millis(1)).await;
        assert!(store.pending(SystemTime::now()).try_next().await.unwrap().is_none());
    });
    future::join_all(sweeps).await;
    let rate = Rate::of(&bucket.requests(), 1.0 / 60.0);
    is_in_the_readme(&rate.row("50 idle servers, one sweep per minute"));
}
