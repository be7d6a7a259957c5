//! Writers of one upload that interfere with each other.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Operation};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};
use tus_service::{Access, Checkpoint, Failure, Hint, Kind, Phase, Storage};

use super::{
    conformance::{PART, builder},
    uploads::*,
};

/// A commit whose response was lost was made, and another writer had the upload before that was known.
#[tokio::test(start_paused = true)]
async fn a_commit_whose_response_was_lost_is_not_repeated() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(5 * PART, 1);
    let stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
    let mut first = store.open(&stored).await.unwrap();
    let sent = 2 * PART + 10;
    written(&mut *first, all.slice(..sent as usize)).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    bucket.next(Operation::PutIf, Fate::AnswerLost);
    bucket.next(Operation::Get, Fate::Slow(Duration::from_millis(200), Duration::ZERO));
    let hint = hinted(&stored, sent);
    let commits = first.checkpoint(&hint, Hint::Streaming);
    let another = async {
        sleep(Duration::from_millis(100)).await;
        let seen = loaded(&store, &stored).await;
        assert_eq!(seen.upload.offset, 2 * PART, "it was made");
        let mut second = store.open(&seen).await.unwrap();
        let _ = second.checkpoint(&hinted(&seen, 0), Hint::Streaming).await.unwrap();
        drop(second);
    };
    let (committed, ()) = tokio::join!(commits, another);
    assert_eq!(committed.unwrap_err().failure(), Failure::Conflict);
    let offset = first.stored();
    let stored = match first.commit(&hinted(&stored, offset)).await {
        Ok(version) => stored.clone().changed(&hinted(&stored, offset), version),
        Err(_) => loaded(&store, &stored).await,
    };
    drop(first);
    let rest = all.slice(stored.upload.offset as usize..);
    let stored = appended(&store, loaded(&store, &stored).await, rest).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

/// A creation whose response was lost was made, and its upload was removed before that was known.
#[tokio::test(start_paused = true)]
async fn a_removed_upload_is_not_recreated_after_a_lost_response() {
    let bucket = Bucket::default();
    let [one, two] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let upload = upload("a", Kind::Single, Some(10));
    bucket.next(Operation::PutNew, Fate::AnswerLost);
    bucket.next(Operation::Get, Fate::Slow(Duration::from_millis(200), Duration::ZERO));
    let removes = async {
        sleep(Duration::from_millis(100)).await;
        let there = two.load(&upload.id).await.unwrap().unwrap();
        two.remove(&there).await.unwrap();
    };
    let (created, ()) = tokio::join!(one.create(&upload), removes);
    assert_eq!(created.unwrap_err().failure(), Failure::Exists);
    assert!(one.load(&upload.id).await.unwrap().is_none());
}

/// The client of the store repeats a write whose response was lost, and finds its own object, or the write is refused
/// because the first one was still on its way, which then failed.
#[tokio::test(start_paused = true)]
async fn pieces_whose_writes_were_repeated_are_there() {
    for fate in [Fate::Repeated, Fate::Conflict] {
        pieces_are_there(fate).await;
    }
}

/// The first write of each piece has this fate.
async fn pieces_are_there(fate: Fate) {
    let bucket = Bucket::default();
    let mut met = HashSet::new();
    bucket.on_request(move |request| {
        let is_piece = request.operation == Operation::PutNew && request.key.starts_with(".tus/w/");
        if is_piece && met.insert(request.key.to_owned()) { fate } else { Fate::Done }
    });
    let [one, two] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let all = bytes(9 * PART, 1);
    let stored = created(&one, "a", Kind::Single, Some(all.len() as u64)).await;
    let stored = appended(&one, stored, all.slice(..9)).await.unwrap();
    assert_eq!(bucket.keys(".tus/w/").len(), 1);
    // Parts that a frozen writer may still overwrite are also kept as pieces.
    let mut frozen = one.open(&stored).await.unwrap();
    written(&mut *frozen, all.slice(9..2 * PART as usize + 9)).await.unwrap();
    let _ = frozen.checkpoint(&hinted(&stored, 2 * PART), Hint::Streaming).await.unwrap();
    std::mem::forget(frozen);
    let seen = loaded(&two, &stored).await;
    let seen = two.settle(&seen, Access::Write, Duration::from_secs(10)).await.unwrap().unwrap();
    let rest = all.slice(seen.upload.offset as usize..);
    let half = rest.slice(..rest.len() / 2);
    let seen = appended(&two, seen, half.clone()).await.unwrap();
    let document = two.0.fetch(&seen.upload.id).await.unwrap().unwrap().document;
    assert!(document.parts.iter().any(|part| part.piece.is_some()), "one is contested");
    let seen = loaded(&two, &seen).await;
    let stored = appended(&two, seen, rest.slice(half.len()..)).await.unwrap();
    assert_eq!(content(&two, &stored).await, all);
}

/// Bytes count only if the store has them.
#[tokio::test(start_paused = true)]
async fn a_piece_that_is_refused_and_never_there_is_not_acknowledged() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let stored = created(&store, "a", Kind::Single, Some(20)).await;
    (0..4).for_each(|_| bucket.next(Operation::PutNew, Fate::Conflict));
    let refused = appended(&store, stored.clone(), bytes(10, 1)).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    assert_eq!(loaded(&store, &stored).await, stored);
    // The same if nobody can say whether it is there.
    bucket.next(Operation::PutNew, Fate::Conflict);
    bucket.next(Operation::Head, Fate::Failed);
    let refused = appended(&store, stored.clone(), bytes(10, 1)).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    let stored = appended(&store, loaded(&store, &stored).await, bytes(10, 1)).await.unwrap();
    assert_eq!(content(&store, &stored).await, bytes(10, 1));
}

/// A body with a checksum that comes slowly, of which nothing may be committed before its end.
#[tokio::test(start_paused = true)]
async fn slow_bytes_that_may_not_be_committed_hold_no_memory_for_long() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(120, 1);
    let stored = created(&store, "a", Kind::Partial, Some(120)).await;
    let mut writer = store.open(&stored).await.unwrap();
    bucket.requests();
    let mut held_most = 0;
    let mut free = None;
    for n in 0..120 {
        writer.write(all.slice(n..=n).into()).await.unwrap();
        // What is reserved at the first write stays.
        let before = *free.get_or_insert(store.0.memory.available_permits() + 1);
        let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
        held_most = held_most.max(before - store.0.memory.available_permits());
        sleep(Duration::from_millis(500)).await;
    }
    assert!(held_most <= 12, "{held_most} bytes are those of more than five seconds");
    let pieces = bucket.requests()[&Operation::PutNew];
    assert!((10..=12).contains(&pieces), "{pieces} pieces in a minute");
    assert_eq!(loaded(&store, &stored).await.upload.offset, 0, "nothing of it counts");
    let change = more(&stored, 120);
    let version = writer.commit(&change).await.unwrap();
    assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_gets_no_memory_fails_in_bounded_time_and_loses_nothing() {
    let bucket = Bucket::default();
    let store = builder(&bucket).request_timeout(Duration::from_secs(15)).open_unchecked().unwrap();
    let all = bytes(3 * PART, 1);
    let stored = created(&store, "a", Kind::Partial, Some(all.len() as u64)).await;
    let left = 100;
    let taken = (store.0.memory.available_permits() - left) as u32;
    let others = store.0.memory.clone().try_acquire_many_owned(taken).unwrap();
    let mut writer = store.open(&stored).await.unwrap();
    writer.write(all.slice(..left).into()).now_or_never().expect("there is enough for this").unwrap();
    let began = Instant::now();
    let refused = writer.write(all.slice(left..=2 * left).into()).await.unwrap_err();
    assert_eq!((refused.failure(), began.elapsed().as_secs()), (Failure::Unavailable, 15), "{refused}");
    assert_eq!(writer.stored(), left as u64);
    let change = hinted(&stored, left as u64);
    let version = writer.commit(&change).await.unwrap();
    drop((others, writer));
    // The same where its piece is to be read back.
    let stored = stored.changed(&change, version);
    let others = store.0.gather(u64::MAX).await.unwrap();
    let refused = appended(&store, stored.clone(), all.slice(left..)).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    drop(others);
    let now = loaded(&store, &stored).await;
    assert!(now.upload.offset >= left as u64);
    let rest = all.slice(now.upload.offset as usize..);
    let stored = appended(&store, now, rest).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

/// The document is fetched to see whether the upload is wanted, and the writer releases it in the meantime.
#[tokio::test(start_paused = true)]
async fn a_look_at_the_document_that_comes_late_does_not_disturb_the_writer() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(5 * PART, 1);
    let stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
    let mut writer = store.open(&stored).await.unwrap();
    written(&mut *writer, all.slice(..10)).await.unwrap();
    let _ = writer.checkpoint(&hinted(&stored, 10), Hint::Streaming).await.unwrap();
    bucket.next(Operation::Get, Fate::Slow(Duration::from_millis(10), Duration::from_millis(200)));
    let asked = tokio::spawn(writer.asked_to_leave());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(bucket.requests().get(&Operation::Get), Some(&1), "it is being fetched");
    let taken = writer.checkpoint(&hinted(&stored, 10), Hint::Stalled).await.unwrap();
    assert_eq!(taken, Checkpoint::Taken);
    sleep(Duration::from_millis(200)).await;
    written(&mut *writer, all.slice(10..)).await.unwrap();
    let change = more(&stored, 5 * PART);
    let version = writer.commit(&change).await.unwrap();
    assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
    asked.abort();
}

/// It has all its bytes, which are to be verified, and a request that makes them readable fails. The client repeats its last
/// request, which meets another process.
#[tokio::test(start_paused = true)]
async fn an_upload_whose_verification_was_interrupted_is_read_by_the_next_request() {
    for (operation, skipped) in [(Operation::PutIf, 0), (Operation::PutIf, 1), (Operation::Complete, 0)] {
        for fate in [Fate::Failed, Fate::AnswerLost] {
            let bucket = Bucket::default();
            let (one, two) = (builder(&bucket).open_unchecked().unwrap(), builder(&bucket).open_unchecked().unwrap());
            let all = bytes(3 * PART + 1, 1);
            let stored = created(&one, "a", Kind::Single, Some(all.len() as u64)).await;
            let change = hinted(&stored, all.len() as u64);
            let mut writer = one.open(&stored).await.unwrap();
            written(&mut *writer, all.clone()).await.unwrap();
            let version = writer.commit(&change).await.unwrap();
            let stored = stored.changed(&change, version);
            fails_after(&bucket, operation, skipped, fate);
            let failed = one.make_readable(&stored).await.is_err();
            assert!(failed || fate == Fate::AnswerLost, "{operation:?} {fate:?}");
            bucket.on_request(|_| Fate::Done);

            let mut stored = loaded(&two, &stored).await;
            assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Receiving, all.len() as u64));
            let mut change = hinted(&stored, 0);
            change.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
            let version = two.open(&stored).await.unwrap().commit(&change).await.unwrap();
            stored = stored.changed(&change, version);
            stored.version = two.make_readable(&stored).await.unwrap();
            assert_eq!(content(&two, &stored).await, all, "{operation:?} {fate:?}");
            let complete = two.update(&stored, &more(&stored, 0)).await.unwrap();
            let stored = loaded(&one, &stored).await;
            assert_eq!((&stored.version, stored.upload.phase), (&complete, Phase::Complete));
            assert_eq!(content(&one, &stored).await, all);
        }
    }
}

/// The requests of this kind fail after so many.
fn fails_after(bucket: &Bucket, operation: Operation, mut skipped: u32, fate: Fate) {
    bucket.on_request(move |request| match request.operation == operation {
        true if skipped == 0 => fate,
        true => {
            skipped -= 1;
            Fate::Done
        }
        false => Fate::Done,
    });
}
