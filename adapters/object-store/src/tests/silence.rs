//! A store that does not answer, and downloads that break off.

use std::{sync::Arc, time::Duration};

use bucket::{Bucket, Ending, Fate, Line, Operation};
use tokio::time::{Instant, sleep, timeout};
use tus_service::{Access, Failure, Hint, Kind, Storage, StorageError};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::ObjectStore;

/// What a small request may take.
const LIMIT: Duration = Duration::from_secs(15);

/// How long a request of a client may take while the store does not answer.
const BOUND: Duration = Duration::from_secs(4 * LIMIT.as_secs());

/// A machine, and one whose line to the bucket can be cut. Each request takes 20 ms.
fn machines(bucket: &Bucket) -> (ObjectStore, ObjectStore, Line) {
    bucket.on_request(|_| Fate::Slow(Duration::from_millis(10), Duration::from_millis(10)));
    let (mine, line) = bucket.line();
    let open = |bucket: &Bucket| builder(bucket).request_timeout(LIMIT).open_unchecked().unwrap();
    (open(bucket), open(&mine), line)
}

async fn within_the_bound<T>(work: impl Future<Output = Result<T, StorageError>>) -> StorageError {
    let began = Instant::now();
    let failed = work.await.err().expect("the store does not answer");
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    assert_eq!(failed.failure(), Failure::Unavailable, "{failed}");
    failed
}

/// A machine that is cut off while it receives gives up in bounded time, another one completes the upload meanwhile, and what was
/// on its way arrives when the line works again: nothing is damaged.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_cut_off_holds_nobody_up_and_damages_nothing_later() {
    for sent in [0, 10, PART / 2, 3 * PART, 9 * PART + 10] {
        let bucket = Bucket::default();
        let (other, cut_off, line) = machines(&bucket);
        let all = bytes(12 * PART, 1);
        let stored = created(&cut_off, "a", Kind::Single, Some(all.len() as u64)).await;
        let mut writer = cut_off.open(&stored).await.unwrap();
        written(&mut *writer, all.slice(..sent as usize)).await.unwrap();
        let _ = writer.checkpoint(&hinted(&stored, sent), Hint::Streaming).await.unwrap();
        line.cut();
        // As the service receives a body: it is written until that fails, and what is there is committed.
        let late = tokio::spawn({
            let (all, cut_off, stored) = (all.clone(), cut_off.clone(), stored.clone());
            async move {
                within_the_bound(async {
                    let wrote = written(&mut *writer, all.slice(sent as usize..)).await;
                    let there = writer.stored();
                    let committed = writer.commit(&hinted(&stored, there)).await;
                    wrote.and(committed.map(drop))
                })
                .await;
                drop(writer);
                within_the_bound(cut_off.load(&stored.upload.id)).await;
            }
        });
        let began = Instant::now();
        let mut now = loaded(&other, &stored).await;
        if now.held_elsewhere {
            now = other.settle(&now, Access::Write, Duration::from_secs(10)).await.unwrap().unwrap();
        }
        let rest = all.slice(now.upload.offset as usize..);
        let done = appended(&other, now, rest).await.unwrap();
        assert!(began.elapsed() < LIMIT, "the other one need not wait for longer than its patience");
        assert_eq!(content(&other, &done).await, all);
        late.await.unwrap();
        line.restore();
        sleep(Duration::from_secs(60)).await;
        for store in [&other, &cut_off] {
            let now = loaded(store, &done).await;
            assert!(now.upload.is_complete(), "{sent}");
            assert_eq!(content(store, &now).await, all);
        }
        let one = created(&cut_off, "b", Kind::Single, Some(PART)).await;
        let one = appended(&cut_off, one, bytes(PART, 2)).await.unwrap();
        assert_eq!(content(&other, &one).await, bytes(PART, 2), "it works again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_not_opened() {
    let bucket = Bucket::default();
    bucket.on_request(|_| Fate::Hangs);
    let opened = timeout(BOUND, builder(&bucket).request_timeout(LIMIT).open()).await.expect("it ends");
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("did not answer within 15 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_does_not_come_ends() {
    use futures_util::TryStreamExt;
    let bucket = Bucket::default();
    let (_, store, line) = machines(&bucket);
    line.cut();
    within_the_bound(store.list(Default::default(), None).try_next()).await;
    within_the_bound(store.pending(std::time::SystemTime::UNIX_EPOCH).try_next()).await;
}

/// A client reads for hours, and no store keeps a connection for that long.
#[tokio::test(start_paused = true)]
async fn a_download_goes_on_where_it_broke_off() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(10 * PART + 7, 1);
    let stored = created(&store, "a", Kind::Partial, Some(all.len() as u64)).await;
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    bucket.requests();
    for ending in [Ending::Breaks, Ending::Stops, Ending::Hangs] {
        for after in [1, 1000, 3 * PART as usize, PART as usize + 1] {
            bucket.next_download(after, ending);
        }
        assert!(content(&store, &stored).await == all, "{ending:?}");
        assert_eq!(bucket.requests(), [(Operation::Get, 5)].into(), "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_that_never_goes_on_ends() {
    use futures_util::TryStreamExt;
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(10 * PART + 7, 1);
    let stored = created(&store, "a", Kind::Partial, Some(all.len() as u64)).await;
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    for ending in [Ending::Breaks, Ending::Stops, Ending::Hangs] {
        bucket.next_download(1000, ending);
        (0..2).for_each(|_| bucket.next_download(0, ending));
        let stream = store.read(&stored, 0..u64::MAX).await.unwrap();
        let began = Instant::now();
        assert_eq!(stream.try_collect::<Vec<_>>().await.unwrap_err().failure(), Failure::Unavailable);
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    }
    // Another object in its place is never mixed with it.
    bucket.next_download(1000, Ending::Breaks);
    let stream = store.read(&stored, 0..u64::MAX).await.unwrap();
    let key = object_store::path::Path::from("files/a");
    object_store::ObjectStoreExt::put(&Arc::new(bucket.clone()), &key, "other".into()).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap_err();
}

/// What follows in the meantime is not waited for as long: the download itself is no answer.
#[tokio::test(start_paused = true)]
async fn a_download_over_a_line_that_is_cut_leaves_the_store_silent() {
    use futures_util::TryStreamExt;
    let bucket = Bucket::default();
    let (_, store, line) = machines(&bucket);
    let all = bytes(10 * PART + 7, 1);
    let stored = created(&store, "a", Kind::Partial, Some(all.len() as u64)).await;
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    bucket.next_download(1000, Ending::Hangs);
    let mut stream = store.read(&stored, 0..u64::MAX).await.unwrap();
    assert_eq!(stream.try_next().await.unwrap().unwrap(), all.slice(..1000));
    line.cut();
    let began = Instant::now();
    let download = async {
        let failed = stream.try_next().await.unwrap_err();
        // 15 s for the bytes that do not come, and two requests in silence.
        assert!(began.elapsed() < LIMIT + 2 * LIMIT / 5 + Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(failed.to_string().contains("did not answer within 3 s"), "{failed}");
    };
    let others = async {
        sleep(LIMIT + Duration::from_secs(4)).await;
        for _ in 0..2 {
            let began = Instant::now();
            store.load(&stored.upload.id).await.unwrap_err();
            assert!(began.elapsed() <= LIMIT / 5, "{:?}", began.elapsed());
        }
    };
    tokio::join!(download, others);
}

/// A connection of the client's pool can be dead without anybody knowing.
#[tokio::test(start_paused = true)]
async fn a_read_whose_connection_is_dead_is_sent_once_more() {
    let bucket = Bucket::default();
    let store = builder(&bucket).request_timeout(LIMIT).open_unchecked().unwrap();
    let stored = created(&store, "a", Kind::Partial, Some(3000)).await;
    let stored = appended(&store, stored, bytes(3000, 1)).await.unwrap();
    bucket.next(Operation::Get, Fate::Hangs);
    let began = Instant::now();
    assert_eq!(loaded(&store, &stored).await, stored);
    bucket.next(Operation::Get, Fate::Hangs);
    assert_eq!(content(&store, &stored).await, bytes(3000, 1));
    assert!(began.elapsed() <= LIMIT + Duration::from_secs(1), "{:?}", began.elapsed());
    // The first one goes on: a store that is slow answers it.
    bucket.next(Operation::Get, Fate::Slow(2 * LIMIT / 3, Duration::ZERO));
    bucket.next(Operation::Get, Fate::Hangs);
    let began = Instant::now();
    assert_eq!(loaded(&store, &stored).await, stored);
    assert_eq!(began.elapsed().as_secs(), 2 * LIMIT.as_secs() / 3);
    // Where one of them fails, the other one counts.
    bucket.next(Operation::Get, Fate::Slow(2 * LIMIT / 3, Duration::ZERO));
    bucket.next(Operation::Get, Fate::Failed);
    assert_eq!(loaded(&store, &stored).await, stored);
    // One that is not answered at all takes no longer than before.
    (0..2).for_each(|_| bucket.next(Operation::Get, Fate::Hangs));
    let began = Instant::now();
    store.load(&stored.upload.id).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
}
