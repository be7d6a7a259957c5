//! Concatenation inside the bucket.

use std::{sync::Arc, time::Duration};

use bucket::{Bucket, Fate, Operation, Operation::*, Rules};
use bytes::Bytes;
use futures_util::future::join_all;
use object_store::client::HttpClient;
use tus_service::{Failure, Kind, Part, Phase, Storage, StorageError, Stored};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::{Builder, ObjectStore};

/// Like [`builder`], with a store that can copy; its smallest part is half the default size.
pub(super) fn copying(bucket: &Bucket) -> Builder {
    let client = HttpClient::new(bucket.clone());
    builder(bucket).copies(Arc::new(bucket.clone()), client, bucket::NAME).with(|settings| {
        settings.smallest_part = PART / 2;
        settings.largest_copy = 4 * PART;
    })
}

fn opened(rules: Rules) -> (Bucket, ObjectStore) {
    let bucket = Bucket::with(Rules { smallest_part: PART as usize / 2, ..rules });
    let store = copying(&bucket).prefix("größe/a b+c").open_unchecked().unwrap();
    (bucket, store)
}

async fn part(store: &ObjectStore, name: &str, length: u64, seed: u64) -> (Stored, Bytes) {
    let stored = created(store, name, Kind::Partial, Some(length)).await;
    let all = bytes(length, seed);
    (if length > 0 { appended(store, stored, all.clone()).await.unwrap() } else { stored }, all)
}

/// Parts of these lengths, the bytes of all, and an upload that is to be assembled from them.
async fn assembling(store: &ObjectStore, lengths: &[u64]) -> (Vec<Stored>, Bytes, Stored) {
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for (n, length) in (0..).zip(lengths) {
        let (stored, bytes) = part(store, &format!("part-{n}"), *length, n).await;
        parts.push(stored);
        all.extend_from_slice(&bytes);
    }
    let kind = Kind::Final(parts.iter().map(|part| Part::from(&part.upload)).collect());
    let mut upload = upload("all", kind, Some(all.len() as u64));
    upload.phase = Phase::Assembling;
    let version = store.create(&upload).await.unwrap();
    (parts, all.into(), Stored::new(upload, version))
}

async fn assembled(store: &ObjectStore, stored: &Stored, parts: &[Stored]) -> Result<Stored, StorageError> {
    let mut change = more(stored, 0);
    (change.offset, change.phase) = (stored.upload.length.unwrap(), Phase::Complete);
    let version = store.assemble(stored, parts, &change).await?;
    Ok(stored.clone().changed(&change, version))
}

/// The number of copies, uploaded parts, and reads for the concatenation of parts of these lengths.
async fn costs(rules: Rules, lengths: &[u64]) -> (usize, usize, usize) {
    let (bucket, store) = opened(rules);
    let (parts, all, stored) = assembling(&store, lengths).await;
    bucket.requests();
    let stored = assembled(&store, &stored, &parts).await.unwrap();
    let costs = bucket.requests();
    assert_eq!(content(&store, &stored).await, all, "{lengths:?}");
    assert_eq!(bucket.multiparts(), 0, "{lengths:?}");
    let count = |operation: Operation| costs.get(&operation).copied().unwrap_or(0);
    (count(Copy), count(Part), count(Get) - lengths.len())
}

#[tokio::test]
async fn parts_are_copied_if_their_sizes_allow_it() {
    let rules = Rules::default();
    assert_eq!(costs(rules, &[PART, PART / 2, 3 * PART + 7]).await, (3, 0, 0), "no byte is read");
    assert_eq!(costs(rules, &[0, PART, 0, PART, 1, 0]).await, (3, 0, 0), "the last one may be small");
    assert_eq!(costs(rules, &[9 * PART + 1, PART]).await, (4, 0, 0), "a large one is copied in ranges");
    assert_eq!(costs(Rules { generations: true, ..rules }, &[PART, PART]).await, (2, 0, 0));
}

#[tokio::test]
async fn parts_are_uploaded_again_if_they_cannot_be_copied() {
    let rules = Rules::default();
    assert_eq!(costs(rules, &[PART, 10, PART]).await, (0, 3, 3), "a small one in the middle");
    assert_eq!(costs(Rules { copies_nothing: true, ..rules }, &[PART, PART]).await, (0, 2, 2));
    let bucket = Bucket::with(Rules { equal_parts: true, ..rules });
    let store = copying(&bucket).equal_parts(true).open_unchecked().unwrap();
    let (parts, all, stored) = assembling(&store, &[PART, 2 * PART, PART / 2]).await;
    let stored = assembled(&store, &stored, &parts).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
    assert!(!bucket.requests().contains_key(&Copy), "parts of one size");
}

#[tokio::test(start_paused = true)]
async fn a_failed_copy_is_retried_and_then_uploaded() {
    for (faults, fate) in [(1, Fate::Failed), (3, Fate::AnswerLost), (8, Fate::Failed), (8, Fate::AnswerLost)] {
        let (bucket, store) = opened(Rules::default());
        let (parts, all, stored) = assembling(&store, &[PART, 2 * PART]).await;
        bucket.requests();
        (0..faults).for_each(|_| bucket.next(Copy, fate));
        let stored = assembled(&store, &stored, &parts).await.unwrap();
        assert_eq!(content(&store, &stored).await, all);
        let costs = bucket.requests();
        assert_eq!(
            costs.get(&Part).copied().unwrap_or(0),
            if faults < 4 { 0 } else { 3 },
            "{faults} {fate:?}: {costs:?}"
        );
        assert_eq!(bucket.multiparts(), 0);
    }
}

#[tokio::test]
async fn a_missing_part_is_not_concatenated() {
    let (bucket, store) = opened(Rules::default());
    let (parts, all, stored) = assembling(&store, &[PART, 2 * PART]).await;
    // Another process removes it at the moment when it is copied.
    use object_store::ObjectStoreExt;
    let key = bucket.keys("").into_iter().find(|key| key.ends_with("files/part-1")).unwrap();
    bucket.delete(&object_store::path::Path::parse(&key).unwrap()).await.unwrap();
    assert_eq!(assembled(&store, &stored, &parts).await.unwrap_err().failure(), Failure::Gone);
    store.remove(&parts[1]).await.unwrap();
    assert_eq!(assembled(&store, &stored, &parts).await.unwrap_err().failure(), Failure::NotFound);
    let (again, _) = part(&store, "part-1", 2 * PART, 1).await;
    let stored = assembled(&store, &loaded(&store, &stored).await, &[parts[0].clone(), again]).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

/// The client of the store repeats the write of a piece whose response was lost, and finds its own object.
#[tokio::test]
async fn a_concatenation_survives_a_repeated_write_of_its_piece() {
    let (bucket, store) = opened(Rules::default());
    let (parts, all, stored) = assembling(&store, &[10, 20]).await;
    bucket.next(PutNew, Fate::Repeated);
    let stored = assembled(&store, &stored, &parts).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

/// Parts that are read and uploaded again, by many concatenations at once.
#[tokio::test(start_paused = true)]
async fn concatenations_stay_within_the_memory_budget() {
    const FINALS: usize = 12;
    for lengths in [&[3 * PART + 5, 4 * PART][..], &[PART / 2, PART / 4]] {
        let bucket = Bucket::default();
        bucket.on_request(|_| Fate::Slow(Duration::from_millis(10), Duration::from_millis(10)));
        let memory = 4 * PART as usize;
        let store = builder(&bucket).with(|settings| settings.memory = memory).open_unchecked().unwrap();
        let (parts, all, stored) = assembling(&store, lengths).await;
        let mut finals = vec![stored];
        for n in 1..FINALS {
            let first = &finals[0].upload;
            let mut upload = upload(&format!("all-{n}"), first.kind.clone(), first.length);
            upload.phase = Phase::Assembling;
            let version = store.create(&upload).await.unwrap();
            finals.push(Stored::new(upload, version));
        }
        bucket.peak();
        for stored in join_all(finals.iter().map(|stored| assembled(&store, stored, &parts))).await {
            assert_eq!(content(&store, &stored.unwrap()).await, all);
        }
        let peak = bucket.peak();
        assert!(peak > PART as usize && peak <= memory + FINALS * 2048, "{peak} bytes of {memory}");
    }
}
