//! Stores that are rejected, and unusual stores that are not.

use std::time::Duration;

use bucket::{Bucket, Fate, Operation, Rules};
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, multipart::MultipartStore};
use tokio::time::sleep;
use tus_service::{Failure, Kind, Phase, Storage};

use super::{
    conformance::{PART, builder},
    uploads::*,
};

#[tokio::test]
async fn a_store_without_conditional_writes_is_rejected_with_a_reason() {
    let refused = [
        (Rules { ignores_conditions: true, ..Rules::default() }, "although the condition was that there is none"),
        (Rules { races: true, ..Rules::default() }, "of 8 concurrent writers"),
        (Rules { ignores_part_tags: true, ..Rules::default() }, "a part other than the named one"),
        (Rules { forgets_metadata: true, ..Rules::default() }, "does not store the metadata"),
    ];
    for (rules, reason) in refused {
        let bucket = Bucket::with(rules);
        let error = builder(&bucket).open().await.unwrap_err().to_string();
        assert!(error.contains(reason), "{rules:?}: {error}");
        assert_eq!(bucket.keys(""), [] as [&str; 0], "nothing of the test is left");
    }
    let bucket = Bucket::default();
    bucket.on_request(|_| Fate::Failed);
    let error = builder(&bucket).open().await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn a_directory_bucket_is_rejected_with_a_reason() {
    use object_store::aws::AmazonS3Builder;
    let store = AmazonS3Builder::new().with_bucket_name("uploads--usw2-az1--x-s3").with_region("us-west-2");
    let store = std::sync::Arc::new(store.with_skip_signature(true).build().unwrap());
    let error = crate::ObjectStore::builder(store).open().await.unwrap_err().to_string();
    assert!(error.contains("uploads--usw2-az1--x-s3") && error.contains("general purpose bucket"), "{error}");
}

#[tokio::test]
async fn opening_takes_few_requests_and_leaves_nothing_behind() {
    let bucket = Bucket::default();
    builder(&bucket).open().await.unwrap();
    let requests: usize = bucket.requests().values().sum();
    assert!(requests <= 32, "{requests} requests");
    assert_eq!((bucket.keys(""), bucket.multiparts()), (Vec::new(), 0));
}

#[tokio::test]
async fn parts_have_equal_sizes_if_the_store_requires_it() {
    let rules = Rules { equal_parts: true, smallest_part: PART as usize, ..Rules::default() };
    let bucket = Bucket::with(rules);
    let store = builder(&bucket).equal_parts(true).open().await.unwrap();
    let all = bytes(9 * PART + 7, 1);
    let mut stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
    let mut left = all.clone();
    for length in [100, PART, 3 * PART - 1, 1, 1, PART / 2, 20 * PART] {
        stored = loaded(&store, &stored).await;
        let some = left.split_to(left.len().min(length as usize));
        stored = appended(&store, stored, some).await.unwrap();
    }
    assert_eq!(content(&store, &stored).await, all);
}

#[tokio::test(start_paused = true)]
async fn slow_responses_change_nothing() {
    let bucket = Bucket::default();
    bucket.on_request(|_| Fate::Slow(Duration::from_millis(40), Duration::from_millis(40)));
    let store = builder(&bucket).open().await.unwrap();
    let all = bytes(7 * PART + 7, 1);
    let stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

#[tokio::test]
async fn an_aborted_multipart_upload_resets_the_upload() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(5 * PART, 1);
    let stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
    let stored = appended(&store, stored, all.slice(..3 * PART as usize + 5)).await.unwrap();
    let (path, id) = {
        let seen = store.0.fetch(&stored.upload.id).await.unwrap().unwrap();
        (seen.document.key, seen.document.multipart.unwrap().id)
    };
    bucket.abort_multipart(&path.into(), &id).await.unwrap();
    let rest = appended(&store, stored.clone(), all.slice(3 * PART as usize + 5..)).await;
    assert!(rest.is_err(), "its bytes are gone");
    let stored = loaded(&store, &stored).await;
    assert_eq!(stored.upload.offset, 0);
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

#[tokio::test]
async fn the_application_chooses_the_name_of_the_object() {
    let bucket = Bucket::default();
    let builder = builder(&bucket).prefix("/media/").key(|upload| format!("films/{}.mp4", upload.id));
    let store = builder.open_unchecked().unwrap();
    let stored = created(&store, "a", Kind::Single, Some(5)).await;
    let stored = appended(&store, stored, "hello".into()).await.unwrap();
    assert_eq!(store.key(&stored.upload.id).await.unwrap().as_deref(), Some("films/a.mp4"));
    assert_eq!(bucket.object("media/films/a.mp4").as_deref(), Some(&b"hello"[..]));
    assert!(bucket.keys("").iter().all(|key| key.starts_with("media/")), "{:?}", bucket.keys(""));
    // Names are found again below any prefix.
    let strange = super::conformance::builder(&bucket).prefix("größe/a b").open().await.unwrap();
    let stored = created(&strange, "a", Kind::Single, Some(5)).await;
    let listed: Vec<_> = strange.list(Default::default(), None).try_collect().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&stored));
    strange.remove(&stored).await.unwrap();
    assert_eq!(store.list(Default::default(), None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_existing_object_is_replaced_atomically() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    for length in [5, 3 * PART] {
        let name = format!("upload-{length}");
        let key = format!("files/{name}");
        // The remains of a process that died before it could record them.
        bucket.put(&key.as_str().into(), "old".into()).await.unwrap();
        let stored = created(&store, &name, Kind::Single, Some(length)).await;
        let stored = appended(&store, stored, bytes(length - 1, 1).slice(..)).await.unwrap();
        assert_eq!(bucket.object(&key).as_deref(), Some(&b"old"[..]), "nothing is there before the end");
        let stored = appended(&store, stored, bytes(length, 1).slice(length as usize - 1..)).await.unwrap();
        assert_eq!(content(&store, &stored).await, bytes(length, 1));
    }
    assert_eq!(bucket.multiparts(), 0);
}

#[tokio::test]
async fn a_failed_operation_does_not_fail_the_upload() {
    let operations = [
        Operation::PutNew,
        Operation::PutIf,
        Operation::Begin,
        Operation::Part,
        Operation::Complete,
        Operation::Delete,
    ];
    for operation in operations {
        for fate in [Fate::Failed, Fate::AnswerLost] {
            let bucket = Bucket::default();
            let store = builder(&bucket).open_unchecked().unwrap();
            let all = bytes(4 * PART + 9, 1);
            let mut stored = created(&store, "a", Kind::Single, Some(all.len() as u64)).await;
            stored = appended(&store, stored, all.slice(..9)).await.unwrap();
            bucket.next(operation, fate);
            for _ in 0..4 {
                stored = loaded(&store, &stored).await;
                if stored.upload.phase == Phase::Assembling {
                    let mut change = more(&stored, 0);
                    change.phase = Phase::Complete;
                    store.assemble(&stored, &[], &change).await.unwrap();
                    continue;
                }
                if !stored.upload.is_complete() {
                    let _ = appended(&store, stored.clone(), all.slice(stored.upload.offset as usize..)).await;
                }
            }
            assert!(stored.upload.is_complete(), "{operation:?} {fate:?}: {stored:?}");
            assert_eq!(content(&store, &stored).await, all, "{operation:?} {fate:?}");
        }
    }
}

/// The last part is uploaded from pieces, which the store refuses after the object exists.
#[tokio::test]
async fn an_object_made_before_a_crash_is_found() {
    for rules in [Rules::default(), Rules { forgets_metadata_of_parts: true, ..Rules::default() }] {
        let bucket = Bucket::with(rules);
        let store = builder(&bucket).open_unchecked().unwrap();
        let all = bytes(2 * PART + 9, 1);
        let stored = created(&store, "a", Kind::Single, None).await;
        let stored = appended(&store, stored, all.clone()).await.unwrap();
        let mut change = more(&stored, 0);
        (change.length, change.phase) = (Some(all.len() as u64), Phase::Complete);
        // The document states that it is being sealed, not that it is done.
        bucket.next(Operation::PutIf, Fate::Done);
        bucket.next(Operation::PutIf, Fate::Failed);
        store.update(&stored, &change).await.unwrap_err();
        assert_eq!(bucket.object("files/a").as_deref(), Some(&all[..]));
        let stored = loaded(&store, &stored).await;
        assert_eq!(stored.upload.phase, Phase::Assembling);
        let version = store.assemble(&stored, &[], &change).await.unwrap();
        assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
        assert_eq!(bucket.keys(".tus/w/"), [] as [&str; 0]);
    }
}

/// A completion that is done after nobody waits for it any more, and an application that moves the object at once.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_moved_before_its_upload_is_finished_is_not_sent_again() {
    // The last part is uploaded with the last bytes, or from a piece when the length is declared.
    for is_declared_later in [false, true] {
        let bucket = Bucket::default();
        let store = builder(&bucket).open_unchecked().unwrap();
        let all = bytes(2 * PART + 9, 1);
        let length = all.len() as u64;
        let mut stored = created(&store, "a", Kind::Single, Some(length).filter(|_| !is_declared_later)).await;
        let tries = if is_declared_later { 5 } else { 1 };
        (0..tries).for_each(|_| bucket.next(Operation::Complete, Fate::Late(Duration::from_secs(60))));
        let refused = if is_declared_later {
            stored = appended(&store, stored, all.clone()).await.unwrap();
            let mut change = more(&stored, 0);
            (change.length, change.phase) = (Some(length), Phase::Complete);
            store.update(&stored, &change).await.unwrap_err()
        } else {
            appended(&store, stored.clone(), all.clone()).await.unwrap_err()
        };
        assert_eq!(refused.failure(), Failure::Unavailable);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(bucket.object("files/a").as_deref(), Some(&all[..]));
        bucket.delete(&"files/a".into()).await.unwrap();
        stored = loaded(&store, &stored).await;
        assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Assembling, length));
        let mut change = more(&stored, 0);
        change.phase = Phase::Complete;
        store.assemble(&stored, &[], &change).await.unwrap();
        let stored = loaded(&store, &stored).await;
        assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Complete, length));
        assert_eq!(store.read(&stored, 0..1).await.err().unwrap().failure(), Failure::Gone);
    }
}

/// The rule of the bucket came while a length was still to be declared.
#[tokio::test]
async fn a_multipart_upload_that_was_aborted_before_sealing_resets_the_upload() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(2 * PART + 9, 1);
    let stored = created(&store, "a", Kind::Single, None).await;
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    let seen = store.0.fetch(&stored.upload.id).await.unwrap().unwrap();
    let id = seen.document.multipart.unwrap().id;
    bucket.abort_multipart(&seen.document.key.into(), &id).await.unwrap();
    let mut change = more(&stored, 0);
    (change.length, change.phase) = (Some(all.len() as u64), Phase::Complete);
    store.update(&stored, &change).await.unwrap_err();
    let stored = loaded(&store, &stored).await;
    assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Receiving, 0));
    let stored = appended(&store, stored, all.clone()).await.unwrap();
    assert_eq!(content(&store, &stored).await, all);
}

/// A retry would not help.
#[tokio::test]
async fn a_store_that_refuses_the_parts_is_not_unavailable() {
    let bucket = Bucket::with(Rules { smallest_part: 2 * PART as usize, ..Rules::default() });
    let store = builder(&bucket).open_unchecked().unwrap();
    let stored = created(&store, "a", Kind::Single, Some(3 * PART)).await;
    let refused = appended(&store, stored, bytes(3 * PART, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("EntityTooSmall"), "{refused}");
    assert_eq!(refused.failure(), Failure::Internal);
}
