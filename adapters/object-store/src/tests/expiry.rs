//! Expired uploads are removed, unless somebody is receiving them.

use std::time::{Duration, SystemTime};

use bucket::Bucket;
use futures_util::TryStreamExt;
use tokio::time::{sleep, timeout};
use tus_service::{Hint, Kind, Storage, Stored, Writer};

use super::{conformance::builder, uploads::*};
use crate::ObjectStore;

fn expired() -> SystemTime {
    SystemTime::now() - Duration::from_secs(10)
}

/// An expired upload that a writer owns.
async fn owned(store: &ObjectStore) -> (Stored, Box<dyn Writer>) {
    let mut upload = upload("owned", Kind::Single, Some(1000));
    upload.expires = Some(expired());
    let version = store.create(&upload).await.unwrap();
    let stored = Stored::new(upload, version);
    let mut writer = store.open(&stored).await.unwrap();
    writer.write(bytes(600, 1).into()).await.unwrap();
    let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
    (stored, writer)
}

async fn pending(store: &ObjectStore) -> Vec<Stored> {
    store.pending(SystemTime::now()).try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn uploads_of_a_dead_process_expire() {
    let bucket = Bucket::default();
    let [one, two, three] = [(); 3].map(|()| builder(&bucket).open_unchecked().unwrap());
    let (stored, writer) = owned(&one).await;
    // It neither examines the document nor releases the upload.
    std::mem::forget(writer);
    let lives = one.0.lives();
    for _ in 0..3 {
        assert_eq!(pending(&two).await, [], "it may live");
        sleep(lives / 6).await;
    }
    assert_eq!(pending(&three).await, [], "this one knows only now that it was asked");
    sleep(lives / 2 + Duration::from_secs(1)).await;
    let [found] = &pending(&two).await[..] else { panic!("it is dead") };
    assert!(found.is_same_upload(&stored.upload) && !found.held_elsewhere);
    two.remove(found).await.unwrap();
    assert!(one.load(&stored.upload.id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn uploads_that_a_live_process_receives_do_not_expire() {
    let bucket = Bucket::default();
    let [one, two] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let (stored, mut writer) = owned(&one).await;
    let mut asked = writer.asked_to_leave();
    for _ in 0..20 {
        assert_eq!(pending(&two).await, []);
        assert!(timeout(Duration::from_secs(20), &mut asked).await.is_err(), "nobody wants it");
    }
    writer.write(bytes(400, 2).into()).await.unwrap();
    let change = more(&stored, 1000);
    let version = writer.commit(&change).await.unwrap();
    let stored = stored.changed(&change, version);
    assert_eq!(content(&two, &stored).await, [bytes(600, 1), bytes(400, 2)].concat());
}
