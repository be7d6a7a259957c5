//! More uploads than a process remembers.

use std::time::{Duration, SystemTime};

use bucket::{Bucket, Operation};
use futures_util::TryStreamExt;
use tokio::time::{advance, sleep};
use tus_service::{Hint, Kind, Storage, Stored};

use super::{conformance::builder, uploads::*};

const MANY: u64 = 5000;

const CLAIM: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn all_claims_of_a_dead_process_expire() {
    let bucket = Bucket::default();
    let [dead, store] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let mut uploads = Vec::new();
    for n in 0..MANY {
        let stored = created(&dead, &format!("upload-{n}"), Kind::Single, None).await;
        assert!(dead.claim(&stored.upload, CLAIM).await.unwrap());
        uploads.push(stored.upload);
    }
    for upload in &uploads {
        assert!(!store.claim(upload, CLAIM).await.unwrap());
    }
    sleep(CLAIM).await;
    for upload in &uploads {
        assert!(store.claim(upload, CLAIM).await.unwrap(), "{}", upload.id);
    }
}

#[tokio::test(start_paused = true)]
async fn all_owners_that_are_dead_lose_their_expired_uploads() {
    let bucket = Bucket::default();
    let [dead, store] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    for n in 0..MANY {
        let mut upload = upload(&format!("upload-{n}"), Kind::Single, Some(10));
        upload.expires = Some(SystemTime::now() - Duration::from_secs(10));
        let version = dead.create(&upload).await.unwrap();
        let stored = Stored::new(upload, version);
        let mut writer = dead.open(&stored).await.unwrap();
        let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
        std::mem::forget(writer);
    }
    let pending = || store.pending(SystemTime::now()).try_collect::<Vec<_>>();
    assert_eq!(pending().await.unwrap(), []);
    advance(Duration::from_secs(1000)).await;
    assert_eq!(pending().await.unwrap().len() as u64, MANY);
}

/// A process that was suspended in between may have lost it.
#[tokio::test(start_paused = true)]
async fn a_claim_that_came_with_a_change_is_not_believed_for_long() {
    let bucket = Bucket::default();
    let [slow, other] = [(); 2].map(|()| builder(&bucket).open_unchecked().unwrap());
    let stored = created(&slow, "a", Kind::Single, Some(10)).await;
    let stored = appended(&slow, stored, bytes(10, 1)).await.unwrap();
    assert!(!other.claim(&stored.upload, CLAIM).await.unwrap());
    sleep(CLAIM).await;
    assert!(other.claim(&stored.upload, CLAIM).await.unwrap());
    assert!(!slow.claim(&stored.upload, CLAIM).await.unwrap(), "another process has it");
    // A recent one needs no request.
    let stored = created(&slow, "b", Kind::Single, Some(10)).await;
    let stored = appended(&slow, stored, bytes(10, 1)).await.unwrap();
    bucket.requests();
    assert!(slow.claim(&stored.upload, CLAIM).await.unwrap());
    assert_eq!(bucket.requests().get(&Operation::PutIf), None);
}
