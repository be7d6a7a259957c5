//! The number of requests for each operation.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Operation, Operation::*};
use futures_util::{TryStreamExt, future::join_all};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use tokio::task::JoinSet;
use tus_service::{Hint, Kind, Phase, Storage, Stored};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::{ObjectStore, keys};

/// The default sizes, with one byte standing for 128.
fn opened() -> (Bucket, ObjectStore) {
    let bucket = Bucket::default();
    let store = builder(&bucket).with(|settings| settings.window = 4).open_unchecked().unwrap();
    (bucket, store)
}

fn counts<const N: usize>(counts: [(Operation, usize); N]) -> BTreeMap<Operation, usize> {
    counts.into()
}

fn sum(counts: &BTreeMap<Operation, usize>) -> usize {
    counts.values().sum()
}

#[tokio::test]
async fn a_small_upload_costs_three_requests() {
    let (bucket, store) = opened();
    let stored = created(&store, "small", Kind::Partial, Some(3000)).await;
    let stored = appended(&store, stored, bytes(3000, 1)).await.unwrap();
    assert_eq!(bucket.requests(), counts([(PutNew, 2), (PutIf, 1)]), "the record, the object, the record");
    assert_eq!(content(&store, &stored).await, bytes(3000, 1));
    assert_eq!(bucket.requests(), counts([(Get, 1)]), "a download");
}

/// A small upload in one POST, as the service does it: one that expires until it is complete and with which the application is
/// notified, or neither.
pub(super) async fn small_upload(store: &ObjectStore, is_more: bool) {
    let mut upload = upload("small", if is_more { Kind::Single } else { Kind::Partial }, Some(3000));
    upload.expires = is_more.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    let version = store.create(&upload).await.unwrap();
    let stored = appended(store, Stored::new(upload, version), bytes(3000, 1)).await.unwrap();
    if is_more {
        assert!(store.claim(&stored.upload, Duration::from_secs(15)).await.unwrap());
        let mut change = more(&stored, 0);
        change.phase = Phase::Notified;
        store.update(&stored, &change).await.unwrap();
    }
}

#[tokio::test]
async fn expiry_adds_one_request_and_notification_adds_three() {
    let (bucket, store) = opened();
    small_upload(&store, true).await;
    let expected = [
        // Markers: for the expiry, and for the due work.
        (Put, 2),
        (PutNew, 2),
        (PutIf, 2),
        (Delete, 1),
    ];
    assert_eq!(bucket.requests(), counts(expected));
}

#[tokio::test]
async fn creation_and_head_cost_one_request_each() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Single, Some(3000)).await;
    assert_eq!(bucket.requests(), counts([(PutNew, 1)]));
    for _ in 0..2 {
        loaded(&store, &stored).await;
        assert_eq!(bucket.requests(), counts([(Get, 1)]), "the truth is in the bucket, and nowhere else");
    }
}

#[tokio::test]
async fn a_patch_of_an_eighth_of_a_part_costs_three_requests() {
    let (bucket, store) = opened();
    let mut stored = created(&store, "a", Kind::Single, None).await;
    bucket.requests();
    for n in 0..24 {
        stored = loaded(&store, &stored).await;
        stored = appended(&store, stored, bytes(PART / 8, n)).await.unwrap();
        let costs = bucket.requests();
        if n % 8 == 0 && n > 0 {
            // The pieces are read, uploaded as one part, and deleted. The first part starts a multipart upload.
            assert_eq!((costs[&Get], costs[&Part], costs[&Delete]), (1 + 8, 1, 1), "{n}: {costs:?}");
        } else {
            assert_eq!(costs, counts([(Get, 1), (PutNew, 1), (PutIf, 1)]), "{n}: load, piece, compare-and-set");
        }
    }
    let written: usize = bucket.keys(".tus/w/").len();
    assert_eq!(written, 8, "the pieces of parts are gone");
}

/// 128 parts, as in 1 GiB, with hints that come fast or slowly, or that allow nothing.
#[tokio::test]
async fn a_patch_of_128_parts_costs_64_changes_and_7_requests_at_most() {
    for hint_every in [1, 3, 7, 40, 1000] {
        let (bucket, store) = opened();
        let stored = created(&store, "a", Kind::Partial, Some(128 * PART)).await;
        bucket.requests();
        let stored = loaded(&store, &stored).await;
        let mut writer = store.open(&stored).await.unwrap();
        let all = bytes(128 * PART, 1);
        for eighth in 0..8 * 128 {
            let at = (eighth * PART / 8) as usize..((eighth + 1) * PART / 8) as usize;
            writer.write(all.slice(at).into()).await.unwrap();
            if eighth % hint_every == 0 {
                let change = hinted(&stored, (eighth + 1) * PART / 8);
                let _ = writer.checkpoint(&change, Hint::Streaming).await.unwrap();
            }
        }
        let change = more(&stored, 128 * PART);
        let version = writer.commit(&change).await.unwrap();
        let costs = bucket.requests();
        assert_eq!(costs[&Part], 128);
        assert!(sum(&costs) <= 128 + 64 + 7, "{hint_every}: {} requests: {costs:?}", sum(&costs));
        assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
        assert_eq!(bucket.keys(".tus/w/").len() + bucket.keys(".tus/todo/").len() + bucket.multiparts(), 0);
    }
}

#[tokio::test]
async fn an_interruption_costs_two_requests() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Single, Some(10 * PART)).await;
    let mut writer = store.open(&stored).await.unwrap();
    written(&mut *writer, bytes(PART / 2, 1)).await.unwrap();
    bucket.requests();
    writer.commit(&more(&stored, PART / 2)).await.unwrap();
    assert_eq!(bucket.requests(), counts([(PutNew, 1), (PutIf, 1)]));
}

#[tokio::test]
async fn an_idle_sweep_costs_two_requests_for_any_number_of_uploads() {
    let (bucket, store) = opened();
    for n in 0..3000 {
        let mut upload = upload(&format!("live-{n}"), Kind::Single, Some(1));
        upload.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + n));
        store.create(&upload).await.unwrap();
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3_999_999_999);
    for more in [0, 100_000] {
        for n in 0..more {
            let live = upload(&format!("more-{n}"), Kind::Single, Some(1));
            let marker = keys::expiry(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_003_000 + n), &live);
            bucket.put(&Path::from(marker), PutPayload::new()).await.unwrap();
        }
        bucket.requests();
        assert!(store.pending(now).try_next().await.unwrap().is_none());
        store.tidy().await.unwrap();
        assert_eq!(bucket.requests(), counts([(List, 2)]), "{more}");
    }
}

#[tokio::test]
async fn termination_costs_eight_requests_at_most() {
    let (bucket, store) = opened();
    for (name, length) in [("none", 0), ("piece", 10), ("parts", 3 * PART + 10)] {
        let stored = created(&store, name, Kind::Single, Some(10 * PART)).await;
        let stored = appended(&store, stored, bytes(length, 1)).await.unwrap();
        bucket.requests();
        let stored = loaded(&store, &stored).await;
        store.remove(&stored).await.unwrap();
        let costs = bucket.requests();
        assert!(sum(&costs) <= 8, "{costs:?}");
    }
    assert_eq!(bucket.keys(".tus/w/"), [] as [&str; 0]);
    assert_eq!(bucket.multiparts(), 0);
}

#[tokio::test]
async fn small_patches_do_not_leave_thousands_of_pieces() {
    let (bucket, store) = opened();
    let mut stored = created(&store, "a", Kind::Single, None).await;
    let mut written = 0;
    let all = bytes(PART, 1);
    for at in 0..PART as usize / 64 {
        stored = appended(&store, stored, all.slice(at * 64..(at + 1) * 64)).await.unwrap();
        written = written.max(bucket.keys(".tus/w/").len());
    }
    assert!(written <= 32, "{written} pieces");
    let mut change = more(&stored, 0);
    (change.length, change.phase) = (Some(PART), Phase::Complete);
    let version = store.update(&stored, &change).await.unwrap();
    assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
}

/// What the documents of all uploads take beside the bytes, at most.
fn documents(uploads: u64) -> usize {
    2048 * uploads as usize
}

fn slow(bucket: &Bucket) {
    bucket.on_request(|_| Fate::Slow(Duration::from_millis(10), Duration::from_millis(10)));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_many_uploads_stay_within_the_memory_budget() {
    const UPLOADS: u64 = 32;
    let bucket = Bucket::default();
    slow(&bucket);
    let memory = 4 * PART as usize;
    let store = builder(&bucket).with(|settings| settings.memory = memory).open_unchecked().unwrap();
    let free = store.0.memory.available_permits();
    let mut tasks = JoinSet::new();
    for n in 0..UPLOADS {
        let store = store.clone();
        tasks.spawn(async move {
            let stored = created(&store, &format!("upload-{n}"), Kind::Partial, Some(8 * PART)).await;
            let stored = appended(&store, stored, bytes(8 * PART, n)).await.unwrap();
            assert_eq!(content(&store, &stored).await, bytes(8 * PART, n));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let peak = bucket.peak();
    assert!(peak > memory / 4 && peak <= memory + documents(UPLOADS), "{peak} bytes of {memory}");
    assert!(free <= memory);
    assert_eq!(store.0.memory.available_permits(), free);
    assert_eq!(bucket.keys(".tus/w/"), [] as [&str; 0]);
}

/// All at once, they read back what came in earlier requests: to one object, to the last of several parts, or to a part.
#[tokio::test(start_paused = true)]
async fn pieces_of_many_uploads_stay_within_the_memory_budget() {
    const UPLOADS: u64 = 60;
    for (before, is_declared_later) in [(7 * PART / 8, false), (7 * PART / 8, true), (15 * PART / 8, true)] {
        let bucket = Bucket::default();
        slow(&bucket);
        let memory = 4 * PART as usize;
        let store = builder(&bucket).with(|settings| settings.memory = memory).open_unchecked().unwrap();
        let all = bytes(before + 1, 1);
        let mut uploads = Vec::new();
        for n in 0..UPLOADS {
            let length = Some(before + 1).filter(|_| !is_declared_later);
            let stored = created(&store, &format!("upload-{n}"), Kind::Partial, length).await;
            uploads.push(appended(&store, stored, all.slice(..before as usize)).await.unwrap());
        }
        bucket.peak();
        let finish = |stored: Stored| async {
            let stored = if is_declared_later {
                let mut change = more(&stored, 0);
                (change.length, change.phase) = (Some(before), Phase::Complete);
                let version = store.update(&stored, &change).await.unwrap();
                stored.changed(&change, version)
            } else {
                appended(&store, stored, all.slice(before as usize..)).await.unwrap()
            };
            assert!(content(&store, &stored).await == all[..stored.upload.offset as usize]);
        };
        join_all(uploads.into_iter().map(finish)).await;
        let peak = bucket.peak();
        assert!(peak > PART as usize && peak <= memory + documents(UPLOADS), "{before}: {peak} bytes of {memory}");
    }
}
