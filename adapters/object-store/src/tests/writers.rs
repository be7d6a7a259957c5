//! Writers of one upload that interfere with each other.

use std::time::Duration;

use bucket::{Bucket, Fate, Operation};
use tokio::time::sleep;
use tus_service::{Failure, Hint, Kind, Storage};

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
