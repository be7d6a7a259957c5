//! Sweeps with much to do, or that are interrupted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Operation};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{sleep, timeout};
use tus_service::{Failure, Kind, Phase, Storage, Stored};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::{ObjectStore, document::Status, keys};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn expired() -> SystemTime {
    SystemTime::now() - Duration::from_secs(10)
}

async fn expiring(store: &ObjectStore, name: &str, expires: SystemTime) -> Stored {
    let mut upload = upload(name, Kind::Partial, Some(10));
    upload.expires = Some(expires);
    let version = store.create(&upload).await.unwrap();
    Stored::new(upload, version)
}

/// An upload with this id, which the application chose, and its bytes.
async fn complete(store: &ObjectStore, seed: u64) -> Stored {
    let stored = created(store, "chosen", Kind::Partial, Some(10)).await;
    appended(store, stored, bytes(10, seed)).await.unwrap()
}

async fn swept_on(store: &ObjectStore, day: u32) {
    let found: Vec<_> = store.pending(SystemTime::now() + day * DAY).collect().await;
    assert!(found.iter().all(Result::is_err), "nothing is due");
}

/// The document of the upload that was removed.
async fn status(store: &ObjectStore) -> Option<Status> {
    store.0.fetch_any(&"chosen".parse().unwrap()).await.unwrap().map(|seen| seen.document.status)
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_takes_long_delays_no_other() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let later = expiring(&store, "later", expired() - DAY).await;
    let mut change = more(&later, 0);
    change.expires = Some(SystemTime::now() + DAY);
    store.update(&later, &change).await.unwrap();
    let stored = expiring(&store, "expired", expired()).await;
    // The marker of the first one is to be moved.
    bucket.next(Operation::Put, Fate::Hangs);
    let mut pending = store.pending(SystemTime::now());
    assert_eq!(pending.next().await.unwrap().unwrap().upload.id, stored.upload.id);
    assert!(pending.next().await.unwrap().is_err());
    assert!(pending.next().await.is_none());
}

#[tokio::test]
async fn superfluous_markers_are_deleted_together() {
    const MANY: usize = 1500;
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    for n in 0..MANY {
        let stored = expiring(&store, &format!("upload-{n}"), expired()).await;
        let mut change = more(&stored, 10);
        change.expires = None;
        let mut writer = store.open(&stored).await.unwrap();
        writer.write(bytes(10, 1).into()).await.unwrap();
        writer.commit(&change).await.unwrap();
    }
    bucket.requests();
    assert_eq!(store.pending(SystemTime::now()).try_collect::<Vec<_>>().await.unwrap(), []);
    let mut requests = bucket.requests();
    // As many as there are pieces of time.
    assert!(requests.remove(&Operation::List).unwrap() <= 2 + 1000);
    assert_eq!(requests, [(Operation::Get, MANY), (Operation::Delete, 2)].into());
    assert_eq!(bucket.keys(".tus/x/"), [] as [&str; 0]);
}

/// Another server deletes the fence meanwhile, and an upload with the same id is finished.
#[tokio::test(start_paused = true)]
async fn a_slow_sweeper_does_not_delete_the_object_of_a_later_upload() {
    let bucket = Bucket::default();
    let [slow, other] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let first = complete(&other, 1).await;
    other.remove(&first).await.unwrap();
    bucket.age(2 * DAY);
    // The document comes at once, and what the marker says later.
    bucket.next(Operation::Get, Fate::Done);
    bucket.next(Operation::Get, Fate::Slow(Duration::from_secs(1), Duration::from_secs(5)));
    let swept = tokio::spawn({
        let slow = slow.clone();
        async move { swept_on(&slow, 2).await }
    });
    sleep(Duration::from_secs(2)).await;
    swept_on(&other, 2).await;
    assert_eq!(status(&other).await, None, "the fence is gone");
    let second = complete(&other, 2).await;
    assert_eq!(other.key(&second.upload.id).await.unwrap().as_deref(), Some("files/chosen"));
    swept.await.unwrap();
    for day in 3..6 {
        swept_on(&other, day).await;
        bucket.age(DAY);
    }
    assert_eq!(content(&other, &second).await, bytes(10, 2));
    assert_eq!(bucket.keys(".tus/x/"), [] as [&str; 0]);
}

/// The marker of the first upload remains, because it could not be deleted.
#[tokio::test]
async fn a_marker_that_remains_does_not_delete_the_object_of_a_later_upload() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let first = complete(&store, 1).await;
    store.remove(&first).await.unwrap();
    bucket.age(2 * DAY);
    // What belongs to it and the document are deleted.
    for fate in [Fate::Done, Fate::Done, Fate::Failed] {
        bucket.next(Operation::Delete, fate);
    }
    swept_on(&store, 2).await;
    assert_eq!((status(&store).await, bucket.keys(".tus/x/").len()), (None, 1));
    let second = complete(&store, 2).await;
    swept_on(&store, 2).await;
    assert_eq!(content(&store, &second).await, bytes(10, 2));
    assert_eq!(bucket.keys(".tus/x/"), [] as [&str; 0]);
}

/// A failed removal leaves a marker of its own, which is as old.
#[tokio::test(start_paused = true)]
async fn a_second_marker_does_not_end_the_hour_of_the_first() {
    let bucket = Bucket::default();
    let [dying, other] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let first = complete(&dying, 1).await;
    bucket.next(Operation::PutIf, Fate::Failed);
    dying.remove(&first).await.unwrap_err();
    // A marker is named by the millisecond in which it was written.
    let failed = std::time::Instant::now();
    while failed.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    dying.remove(&loaded(&dying, &first).await).await.unwrap();
    bucket.age(2 * DAY);
    let markers = bucket.keys(".tus/x/");
    assert_eq!(markers.len(), 2);
    // A sweep that finds only the first marker begins to delete, and the request for that hangs.
    let first = SystemTime::UNIX_EPOCH + Duration::from_millis(keys::expires_at(&markers[0]).unwrap());
    bucket.next(Operation::Delete, Fate::Hangs);
    let _ = timeout(Duration::from_secs(1), dying.pending(first).collect::<Vec<_>>()).await;
    assert_eq!(status(&other).await, Some(Status::Going));
    for _ in 0..3 {
        swept_on(&other, 2).await;
        assert_eq!(status(&other).await, Some(Status::Going), "the other marker is as old as the first was");
    }
    bucket.age(Duration::from_secs(6000));
    for _ in 0..3 {
        swept_on(&other, 2).await;
        bucket.age(Duration::from_secs(6000));
    }
    assert_eq!(bucket.keys(""), [] as [&str; 0]);
    assert_eq!(complete(&other, 2).await.upload.phase, Phase::Complete);
}

#[tokio::test]
async fn a_fence_whose_last_change_was_not_answered_blocks_nobody() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let first = complete(&store, 1).await;
    store.remove(&first).await.unwrap();
    bucket.age(2 * DAY);
    bucket.next(Operation::PutIf, Fate::AnswerLost);
    swept_on(&store, 2).await;
    assert_eq!(bucket.keys(""), [] as [&str; 0]);
    complete(&store, 2).await;
}

/// Wherever a sweeper dies, nothing remains in the end, and the id can be used again after an hour and a half.
#[tokio::test(start_paused = true)]
async fn a_sweeper_that_dies_leaves_nothing_behind() {
    for requests in 0..16 {
        let bucket = Bucket::default();
        let [dying, other] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
        let first = created(&dying, "chosen", Kind::Partial, Some(10 * PART)).await;
        let first = appended(&dying, first, bytes(3 * PART + 10, 1)).await.unwrap();
        // It dies before it has deleted anything.
        bucket.next(Operation::Abort, Fate::Failed);
        bucket.next(Operation::List, Fate::Failed);
        other.remove(&loaded(&other, &first).await).await.unwrap();
        assert_eq!(bucket.keys(".tus/w/").len(), 1);
        bucket.age(2 * DAY);
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        bucket.on_request(move |_| if count.fetch_add(1, Relaxed) < requests { Fate::Done } else { Fate::Hangs });
        let _ = timeout(Duration::from_secs(1), swept_on(&dying, 2)).await;
        bucket.on_request(|_| Fate::Done);
        let is_going = status(&other).await == Some(Status::Going);
        if is_going {
            let refused = other.create(&upload("chosen", Kind::Single, Some(10))).await.unwrap_err();
            assert_eq!(refused.failure(), Failure::Busy);
            swept_on(&other, 2).await;
            assert_eq!(status(&other).await, Some(Status::Going), "{requests}: another one may be deleting it");
        }
        bucket.age(Duration::from_secs(6000));
        swept_on(&other, 2).await;
        assert_eq!((bucket.keys(""), bucket.multiparts()), (Vec::new(), 0), "{requests}, going: {is_going}");
        assert_eq!(complete(&other, 2).await.upload.phase, Phase::Complete);
    }
}
