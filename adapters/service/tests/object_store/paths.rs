//! What the design promises of its main paths.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::{sync::Semaphore, time::timeout};
use tus_service::{
    Access, Change, Checkpoint, Chunks, Failure, Hint, Incarnation, Kind, Phase, Storage, Stored, Upload, Writer,
};

use crate::{bucket::Bucket, document::Settings, storage::ObjectStore};

pub(crate) const PART: usize = 64 * 1024;

/// Two processes on one bucket.
pub(crate) fn two() -> (ObjectStore, ObjectStore) {
    let settings = Settings { part_size: PART as u64, window: 2, look: Duration::from_millis(10) };
    let bucket = Arc::new(Bucket::default());
    (ObjectStore::new(bucket.clone(), settings), ObjectStore::new(bucket, settings))
}

pub(crate) fn bytes(length: usize) -> Bytes {
    (0..length).map(|n| (n / 7) as u8).collect()
}

pub(crate) async fn created(store: &ObjectStore, id: &str, kind: Kind, length: Option<usize>) -> Stored {
    let mut upload = Upload::new(id.parse().unwrap(), Incarnation::from_random(1), kind);
    upload.length = length.map(|length| length as u64);
    let version = store.create(&upload).await.unwrap();
    Stored::new(upload, version)
}

/// What is to be committed when so many bytes more have come.
pub(crate) fn more(stored: &Stored, bytes: usize) -> Change {
    let mut change = Change::of(&stored.upload);
    change.offset += bytes as u64;
    if Some(change.offset) == change.length {
        change.phase = Phase::Complete;
    }
    change
}

async fn added(store: &ObjectStore, stored: Stored, bytes: Bytes) -> Stored {
    let change = more(&stored, bytes.len());
    let mut writer = store.open(&stored).await.unwrap();
    written(&mut *writer, bytes).await;
    let version = writer.commit(&change).await.unwrap();
    stored.changed(&change, version)
}

async fn written(writer: &mut dyn Writer, mut bytes: Bytes) {
    while !bytes.is_empty() {
        writer.write(bytes.split_to(bytes.len().min(10_000)).into()).await.unwrap();
    }
}

pub(crate) async fn loaded(store: &ObjectStore, stored: &Stored) -> Stored {
    store.load(&stored.upload.id).await.unwrap().unwrap()
}

pub(crate) async fn content(store: &ObjectStore, stored: &Stored) -> Bytes {
    let stream = store.read(stored, 0..u64::MAX).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().into_iter().flatten().collect()
}

#[tokio::test]
async fn requests_are_those_of_the_table() {
    let (store, _) = two();
    let requests = || store.0.bucket.requests();
    let stored = created(&store, "a", Kind::Single, Some(3000)).await;
    assert_eq!(requests(), [("put_new", 1)], "creation");
    let stored = loaded(&store, &stored).await;
    assert_eq!(requests(), [("get", 1)], "HEAD");
    let stored = loaded(&store, &stored).await;
    let stored = added(&store, stored, bytes(1000)).await;
    assert_eq!(requests(), [("get", 1), ("put_if", 1), ("put_new", 1)], "a small PATCH: look, piece, compare-and-set");
    assert_eq!(content(&store, &stored).await, bytes(1000));
    requests();
    let whole = created(&store, "b", Kind::Partial, Some(3000)).await;
    let whole = added(&store, whole, bytes(3000)).await;
    assert_eq!(requests(), [("put_if", 1), ("put_new", 2)], "a small upload in one POST");
    assert_eq!(content(&store, &whole).await, bytes(3000));
    assert_eq!(requests(), [("get", 1)], "a download");
    let long = created(&store, "c", Kind::Partial, Some(20 * PART)).await;
    requests();
    added(&store, long, bytes(20 * PART)).await;
    let counts = requests();
    assert_eq!(counts.iter().find(|count| count.0 == "part"), Some(&("part", 20)));
    assert_eq!(
        counts.iter().find(|count| count.0 == "put_if"),
        Some(&("put_if", 1 + 9 + 2)),
        "own, note, seal: {counts:?}"
    );
    assert_eq!(store.0.bucket.keys(".tus/w/c/"), [] as [&str; 0]);
}

#[tokio::test]
async fn parts_and_pieces_become_one_object() {
    let (one, two) = two();
    let whole = bytes(5 * PART + 100);
    let mut stored = created(&one, "a", Kind::Single, Some(whole.len())).await;
    let mut left = whole.clone();
    for (store, length) in [(&one, 1000), (&two, 5 * PART / 2), (&one, 700), (&two, 2 * PART), (&one, left.len())] {
        stored = loaded(store, &stored).await;
        let length = length.min(left.len());
        stored = added(store, stored, left.split_to(length)).await;
    }
    assert_eq!((stored.upload.phase, content(&two, &stored).await), (Phase::Complete, whole));
    assert_eq!(one.0.bucket.keys(".tus/w/"), [] as [&str; 0], "the pieces are gone");
}

#[tokio::test]
async fn a_newer_request_gets_through_and_loses_nothing() {
    let (one, two) = two();
    let whole = bytes(4 * PART);
    let stored = created(&one, "a", Kind::Single, None).await;
    let mut writer = one.open(&stored).await.unwrap();
    assert!(!loaded(&two, &stored).await.held_elsewhere, "who has no bytes holds nothing");
    written(&mut *writer, whole.slice(..2 * PART)).await;
    let seen = loaded(&two, &stored).await;
    assert!(seen.held_elsewhere && !loaded(&one, &stored).await.held_elsewhere);
    let change = more(&stored, 2 * PART);
    let leave = async {
        writer.asked_to_leave().await;
        writer.commit(&change).await.unwrap();
    };
    let (settled, ()) = tokio::join!(two.settle(&seen, Access::Write, Duration::from_secs(5)), leave);
    let settled = settled.unwrap().unwrap();
    assert_eq!((settled.upload.offset, settled.held_elsewhere), (2 * PART as u64, false));
    added(&two, settled, whole.slice(2 * PART..)).await;
    let error = writer.commit(&change).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Conflict, "who left is out");
}

#[tokio::test]
async fn who_does_not_answer_is_taken_over() {
    let (one, two) = two();
    let stored = created(&one, "a", Kind::Single, Some(3 * PART)).await;
    let mut dead = one.open(&stored).await.unwrap();
    written(&mut *dead, bytes(2 * PART)).await;
    let seen = loaded(&two, &stored).await;
    let settled = two.settle(&seen, Access::Write, Duration::from_millis(50)).await.unwrap().unwrap();
    assert_eq!((settled.upload.offset, settled.held_elsewhere), (0, true));
    let change = more(&stored, 2 * PART + 10);
    let stored = added(&two, settled, bytes(3 * PART)).await;
    written(&mut *dead, bytes(10)).await;
    assert_eq!(dead.commit(&change).await.unwrap_err().failure(), Failure::Conflict);
    assert_eq!(content(&one, &loaded(&one, &stored).await).await, bytes(3 * PART));
}

/// Bytes with a share of a budget.
async fn within(budget: &Arc<Semaphore>, length: u32) -> Option<Chunks> {
    let permit = timeout(Duration::from_millis(20), budget.clone().acquire_many_owned(length)).await.ok()?.unwrap();
    Some(Chunks::from(Bytes::from(vec![b'x'; length as usize])).sharing(permit))
}

#[tokio::test]
async fn held_bytes_do_not_exhaust_the_memory_for_good() {
    let (store, _) = two();
    let budget = Arc::new(Semaphore::new(PART));
    let mut writers = Vec::new();
    for id in ["a", "b"] {
        let stored = created(&store, id, Kind::Single, None).await;
        let mut writer = store.open(&stored).await.unwrap();
        writer.write(within(&budget, PART as u32 / 2).await.unwrap()).await.unwrap();
        writers.push((stored, writer));
    }
    assert!(within(&budget, 1).await.is_none(), "neither can fill its part");
    // One may be committed; the other has a checksum, and nothing of it counts yet.
    for ((stored, writer), length) in writers.iter_mut().zip([PART / 2, 0]) {
        let told = writer.checkpoint(&more(stored, length), Hint::Stalled).await.unwrap();
        assert_eq!(told, Checkpoint::Taken);
        assert_eq!(loaded(&store, stored).await.upload.offset, length as u64);
    }
    assert_eq!(budget.available_permits(), PART);
    for (stored, writer) in &mut writers {
        writer.write(within(&budget, PART as u32).await.unwrap()).await.unwrap();
        let mut change = Change::of(&stored.upload);
        (change.offset, change.length, change.phase) =
            (PART as u64 * 3 / 2, Some(PART as u64 * 3 / 2), Phase::Complete);
        writer.commit(&change).await.unwrap();
        let stored = loaded(&store, stored).await;
        assert_eq!(content(&store, &stored).await, vec![b'x'; PART * 3 / 2]);
    }
}

#[tokio::test]
async fn what_a_crash_left_unsealed_is_completed() {
    for is_done in [false, true] {
        let (one, two) = two();
        let stored = created(&one, "a", Kind::Single, Some(3 * PART)).await;
        let mut writer = one.open(&stored).await.unwrap();
        written(&mut *writer, bytes(3 * PART)).await;
        // It dies at the completion, before or after it took place.
        one.0.bucket.fail_next("complete", is_done);
        one.0.bucket.fail_next("head", false);
        writer.commit(&more(&stored, 3 * PART)).await.unwrap_err();
        drop(writer);
        let pending: Vec<_> = two.pending(SystemTime::UNIX_EPOCH).try_collect().await.unwrap();
        let [left] = &pending[..] else { panic!("{pending:?}") };
        assert_eq!((left.upload.phase, left.upload.offset), (Phase::Assembling, 3 * PART as u64));
        assert!(two.claim(&left.upload, Duration::from_secs(5)).await.unwrap());
        assert!(!one.claim(&left.upload, Duration::from_secs(5)).await.unwrap());
        let mut change = Change::of(&left.upload);
        change.phase = Phase::Notified;
        two.assemble(left, &[], &change).await.unwrap();
        let stored = loaded(&one, &stored).await;
        assert_eq!((stored.upload.phase, content(&one, &stored).await), (Phase::Notified, bytes(3 * PART)));
        assert!(two.pending(SystemTime::UNIX_EPOCH).try_next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_final_upload_is_streamed_together() {
    let (one, two) = two();
    let mut parts = Vec::new();
    for (id, length) in [("p", PART + 10), ("q", 20), ("r", 2 * PART)] {
        let part = created(&one, id, Kind::Partial, Some(length)).await;
        parts.push(added(&one, part, bytes(length)).await);
    }
    let ids = parts.iter().map(|part| (&part.upload).into()).collect();
    let last = created(&two, "whole", Kind::Final(ids), None).await;
    assert_eq!(one.waiting_for(&parts[1].upload.id).await.unwrap(), std::slice::from_ref(&last.upload.id));
    let mut change = more(&last, 3 * PART + 30);
    (change.length, change.phase) = (Some(change.offset), Phase::Complete);
    two.assemble(&last, &parts, &change).await.unwrap();
    let expected = [bytes(PART + 10), bytes(20), bytes(2 * PART)].concat();
    assert_eq!(content(&one, &loaded(&one, &last).await).await, expected);
    assert_eq!(one.waiting_for(&parts[1].upload.id).await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_answer_is_ones_own_success() {
    let (one, two) = two();
    let stored = created(&one, "a", Kind::Single, None).await;
    one.0.bucket.fail_next("put_if", true);
    let stored = added(&one, stored, bytes(10)).await;
    assert_eq!(loaded(&two, &stored).await, stored);
    // A note of another process makes no other state of the record.
    let seen = one.0.fetch(&stored.upload.id).await.unwrap().unwrap();
    two.0.swap(&seen, |document| document.wanted = Some("x".into())).await.unwrap();
    assert_eq!(added(&one, stored, bytes(10)).await.upload.offset, 20);
}
