//! Requests that ask for an upload, and its owner.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Operation};
use tokio::time::{Instant, sleep, timeout};
use tus_service::{Access, Checkpoint, Failure, Hint, Kind, Storage, Stored, Writer};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::ObjectStore;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine whose requests look for the owner at this interval.
fn machine(bucket: &Bucket, looks: Duration) -> ObjectStore {
    builder(bucket).with(|settings| settings.waiter_looks = looks).open_unchecked().unwrap()
}

/// An upload, and a writer of it that owns it.
async fn owned(store: &ObjectStore) -> (Stored, Box<dyn Writer>) {
    let stored = created(store, "owned", Kind::Single, Some(10 * PART)).await;
    let mut writer = store.open(&stored).await.unwrap();
    writer.write(bytes(10, 1).into()).await.unwrap();
    let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
    (stored, writer)
}

/// Its bytes are recorded, and it does not own the upload any more.
async fn stalled(stored: &Stored, writer: &mut dyn Writer, offset: u64) {
    assert_eq!(writer.checkpoint(&hinted(stored, offset), Hint::Stalled).await.unwrap(), Checkpoint::Taken);
}

type Asking = tokio::task::JoinHandle<Result<Option<Stored>, tus_service::StorageError>>;

/// A request that asks for the upload.
fn asks(store: &ObjectStore, stored: &Stored, access: Access) -> Asking {
    let (store, stored) = (store.clone(), stored.clone());
    tokio::spawn(async move {
        let seen = loaded(&store, &stored).await;
        store.settle(&seen, access, PATIENCE).await
    })
}

/// An owner, its upload, another machine, and a request there that asked before the owner's client paused.
async fn asked_and_stalled() -> (Stored, Box<dyn Writer>, ObjectStore, Asking) {
    let bucket = Bucket::default();
    let [one, two] = [(); 2].map(|()| machine(&bucket, SECOND));
    let (stored, mut writer) = owned(&one).await;
    let newer = asks(&two, &stored, Access::Write);
    sleep(SECOND / 10).await;
    stalled(&stored, &mut *writer, 10).await;
    (stored, writer, two, newer)
}

/// A silent client: its bytes are recorded, and another server continues. The end of the first request does not disturb it.
#[tokio::test(start_paused = true)]
async fn a_request_whose_bytes_are_recorded_does_not_push_out_the_next_one() {
    let bucket = Bucket::default();
    let (one, two) = (builder(&bucket).open_unchecked().unwrap(), builder(&bucket).open_unchecked().unwrap());
    let stored = created(&one, "a", Kind::Single, Some(20)).await;
    let mut old = one.open(&stored).await.unwrap();
    old.write(bytes(10, 1).into()).await.unwrap();
    let mut recorded = hinted(&stored, 10);
    recorded.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    assert_eq!(old.checkpoint(&recorded, Hint::Stalled).await.unwrap(), Checkpoint::Taken);
    let now = loaded(&two, &stored).await;
    let mut new = two.open(&now).await.unwrap();
    let mut change = recorded.clone();
    change.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_100));
    assert_eq!(old.commit(&change).await.unwrap(), now.version);
    assert_eq!(loaded(&one, &stored).await.upload.expires, change.expires);
    new.write(bytes(10, 2).into()).await.unwrap();
    new.commit(&more(&now, 10)).await.unwrap();
    assert_eq!(content(&one, &now).await, [bytes(10, 1), bytes(10, 2)].concat());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_asked_while_it_releases_the_upload_leaves() {
    let (_, writer, _two, newer) = asked_and_stalled().await;
    timeout(PATIENCE, writer.asked_to_leave()).await.expect("it is asked");
    let settled = newer.await.unwrap().unwrap().unwrap();
    assert_eq!((settled.held_elsewhere, settled.upload.offset), (false, 10));
}

#[tokio::test(start_paused = true)]
async fn an_older_request_is_refused_even_if_the_owner_has_left() {
    let bucket = Bucket::default();
    let [one, slow, fast] = [SECOND, 2 * SECOND, SECOND / 4].map(|looks| machine(&bucket, looks));
    let (stored, mut writer) = owned(&one).await;
    let older = asks(&slow, &stored, Access::Write);
    sleep(SECOND / 10).await;
    let newer = asks(&fast, &stored, Access::Write);
    sleep(SECOND / 10).await;
    stalled(&stored, &mut *writer, 10).await;
    assert_eq!(older.await.unwrap().unwrap_err().failure(), Failure::Busy);
    assert!(!newer.await.unwrap().unwrap().unwrap().held_elsewhere);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_left_and_came_back_is_asked_again() {
    let (stored, mut writer, two, newer) = asked_and_stalled().await;
    writer.write(bytes(10, 2).into()).await.unwrap();
    let _ = writer.checkpoint(&hinted(&stored, 10), Hint::Streaming).await.unwrap();
    assert!(loaded(&two, &stored).await.held_elsewhere);
    sleep(PATIENCE - SECOND).await;
    assert!(!newer.is_finished(), "it is waited for as long as before");
    stalled(&stored, &mut *writer, 20).await;
    assert_eq!(newer.await.unwrap().unwrap().unwrap().upload.offset, 20);
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_displace_a_request_that_waits_to_write() {
    let bucket = Bucket::default();
    let [one, two, three] = [(); 3].map(|()| machine(&bucket, SECOND / 4));
    let (stored, mut writer) = owned(&one).await;
    let seen = loaded(&two, &stored).await;
    // The reader reads the document before the request asks, and asks after it.
    bucket.next(Operation::Get, Fate::Slow(SECOND / 100, SECOND));
    let reader = async { two.settle(&seen, Access::Read, PATIENCE).await };
    let others = async {
        sleep(SECOND / 10).await;
        let newer = asks(&three, &stored, Access::Write);
        sleep(2 * SECOND).await;
        stalled(&stored, &mut *writer, 10).await;
        newer.await.unwrap().unwrap().unwrap()
    };
    let (read, settled) = tokio::join!(reader, others);
    assert_eq!((settled.held_elsewhere, settled.upload.offset), (false, 10));
    assert_eq!(read.unwrap().unwrap().upload.offset, 10);
}

/// Each time, the owner has changed the record before the request could write into the document.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_ask_ends_in_time() {
    let bucket = Bucket::default();
    bucket.on_request(|request| match request.operation {
        Operation::Get if request.key.starts_with(".tus/u/") => Fate::Slow(SECOND / 100, SECOND / 100),
        _ => Fate::Done,
    });
    let one = builder(&bucket).with(|settings| settings.linger = Duration::ZERO).open_unchecked().unwrap();
    let two = machine(&bucket, SECOND / 4);
    let (stored, mut writer) = owned(&one).await;
    let busy = tokio::spawn({
        let stored = stored.clone();
        async move {
            for n in 11.. {
                writer.write(bytes(1, n).into()).await.unwrap();
                let _ = writer.checkpoint(&hinted(&stored, n), Hint::Streaming).await.unwrap();
                sleep(SECOND / 200).await;
            }
        }
    });
    let seen = loaded(&two, &stored).await;
    let began = Instant::now();
    let settled = timeout(3 * PATIENCE, two.settle(&seen, Access::Write, PATIENCE)).await.expect("it ends");
    assert!(began.elapsed() <= PATIENCE + 2 * SECOND);
    let settled = settled.unwrap().unwrap();
    assert!(settled.held_elsewhere);
    assert!(two.open(&settled).await.is_err(), "the owner has it");
    busy.abort();
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_bytes_are_all_recorded_is_not_owned_while_none_arrive() {
    let bucket = Bucket::default();
    let one = builder(&bucket).with(|settings| settings.linger = SECOND).open_unchecked().unwrap();
    let two = machine(&bucket, SECOND / 4);
    let (stored, mut writer) = owned(&one).await;
    sleep(SECOND).await;
    // They are recorded behind the stream.
    let _ = writer.checkpoint(&hinted(&stored, 10), Hint::Streaming).await.unwrap();
    let seen = loaded(&two, &stored).await;
    assert_eq!((seen.held_elsewhere, seen.upload.offset), (true, 10));
    stalled(&stored, &mut *writer, 10).await;
    let seen = loaded(&two, &stored).await;
    assert_eq!((seen.held_elsewhere, seen.upload.offset), (false, 10));
    // It costs nothing more, and the next bytes are welcome.
    bucket.requests();
    stalled(&stored, &mut *writer, 10).await;
    assert_eq!(bucket.requests(), [].into());
    writer.write(bytes(10, 2).into()).await.unwrap();
    let version = writer.commit(&hinted(&stored, 20)).await.unwrap();
    let stored = stored.clone().changed(&hinted(&stored, 20), version);
    assert_eq!(content(&two, &stored).await, [bytes(10, 1), bytes(10, 2)].concat());
}

/// Many small pieces are merged, and another writer has done that before.
#[tokio::test]
async fn a_writer_whose_pieces_are_gone_has_been_overtaken() {
    let bucket = Bucket::default();
    let [one, two] = [(); 2].map(|()| machine(&bucket, SECOND));
    let mut stored = created(&one, "a", Kind::Single, Some(10 * PART)).await;
    for n in 0..16 {
        stored = appended(&one, loaded(&one, &stored).await, bytes(10, n)).await.unwrap();
    }
    let mut older = one.open(&stored).await.unwrap();
    appended(&two, loaded(&two, &stored).await, bytes(10, 20)).await.unwrap();
    older.write(bytes(10, 30).into()).await.unwrap();
    let refused = older.commit(&hinted(&stored, 10)).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Conflict, "{refused}");
}

/// Sweeps look ahead, for the sake of parts. Who receives an upload that has not expired is left alone.
#[tokio::test(start_paused = true)]
async fn the_owner_of_an_upload_that_is_about_to_expire_is_not_asked() {
    use futures_util::TryStreamExt;
    let bucket = Bucket::default();
    let began = (Instant::now(), std::time::SystemTime::now());
    let now = move || began.1 + began.0.elapsed();
    let [one, two] =
        [(); 2].map(|()| builder(&bucket).with(|settings| settings.clock = Arc::new(now)).open_unchecked().unwrap());
    let mut upload = upload("a", Kind::Single, Some(1000));
    upload.expires = Some(now() + 60 * SECOND);
    let version = one.create(&upload).await.unwrap();
    let stored = Stored::new(upload, version);
    let mut writer = one.open(&stored).await.unwrap();
    let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
    let ahead = || two.pending(now() + 120 * SECOND).try_collect::<Vec<_>>();
    let question = || async { two.0.fetch(&stored.upload.id).await.unwrap().unwrap().document.question };
    let [found] = &ahead().await.unwrap()[..] else { panic!("it is listed") };
    assert!(found.held_elsewhere);
    assert_eq!(question().await, None);
    sleep(61 * SECOND).await;
    assert_eq!(ahead().await.unwrap(), []);
    assert!(question().await.is_some());
    // A slow line may keep it from an answer for this long.
    sleep(280 * SECOND).await;
    assert_eq!(ahead().await.unwrap(), []);
}
