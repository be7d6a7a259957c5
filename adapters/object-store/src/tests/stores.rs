//! Stores that are rejected, and unusual stores that are not.

use std::time::Duration;

use bucket::{Bucket, Dialect, Fate, Operation, Rules};
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, multipart::MultipartStore};
use tokio::time::sleep;
use tus_service::{Failure, Kind, Part, Phase, Storage, Stored};

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

/// An overloaded store has not refused a request because of its condition or its part.
#[tokio::test]
async fn a_failure_during_the_test_of_a_store_is_no_refusal() {
    for (operation, before, failures) in [
        (Operation::PutNew, 1, 1),
        (Operation::PutIf, 1, 1),
        (Operation::PutIf, 2, 8),
        (Operation::Complete, 0, 1),
        (Operation::Complete, 1, 1),
    ] {
        let bucket = Bucket::default();
        (0..before).for_each(|_| bucket.next(operation, Fate::Done));
        (0..failures).for_each(|_| bucket.next(operation, Fate::Failed));
        let error = builder(&bucket).open().await.expect_err("it did not show that it refuses").to_string();
        assert!(error.contains("503"), "{operation:?}: {error}");
        assert_eq!((bucket.keys(""), bucket.multiparts()), (Vec::new(), 0));
    }
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

/// A completion that is done after nobody waits for it any more, and an application that moves the object before it was
/// notified. That there is no object never means that there was one: the client sends the bytes again.
#[tokio::test(start_paused = true)]
async fn an_upload_whose_object_is_moved_before_it_is_finished_starts_again() {
    // The last part is uploaded with the last bytes, or from a piece when the length is declared.
    for is_declared_later in [false, true] {
        let bucket = Bucket::default();
        let store = builder(&bucket).open_unchecked().unwrap();
        let all = bytes(2 * PART + 9, 1);
        let length = all.len() as u64;
        let mut stored = created(&store, "a", Kind::Single, Some(length).filter(|_| !is_declared_later)).await;
        bucket.next(Operation::Complete, Fate::Late(Duration::from_secs(60)));
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
        store.assemble(&stored, &[], &change).await.unwrap_err();
        stored = loaded(&store, &stored).await;
        assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Receiving, 0));
        stored = appended(&store, stored, all.clone()).await.unwrap();
        assert_eq!(content(&store, &stored).await, all);
    }
}

/// Each may take minutes. The last part is in a piece, so that it could be uploaded again.
#[tokio::test(start_paused = true)]
async fn a_completion_that_is_not_answered_is_left_to_the_next_attempt() {
    for fate in [Fate::Hangs, Fate::Failed, Fate::AnswerLost] {
        let bucket = Bucket::default();
        let store = builder(&bucket).open_unchecked().unwrap();
        let all = bytes(2 * PART + 9, 1);
        let stored = created(&store, "a", Kind::Single, None).await;
        let stored = appended(&store, stored, all.clone()).await.unwrap();
        let mut change = more(&stored, 0);
        (change.length, change.phase) = (Some(all.len() as u64), Phase::Complete);
        bucket.next(Operation::Complete, fate);
        bucket.requests();
        let updated = store.update(&stored, &change).await;
        assert_eq!(bucket.requests()[&Operation::Complete], 1);
        let Err(refused) = updated else {
            assert_eq!(fate, Fate::AnswerLost, "the object was found");
            continue;
        };
        assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
        let stored = loaded(&store, &stored).await;
        let version = store.assemble(&stored, &[], &change).await.unwrap();
        assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
    }
}

/// Whether another write of the name is under way, or another object was there for a moment.
#[tokio::test]
async fn a_write_that_is_refused_because_of_an_object_that_is_not_there_may_be_repeated() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    bucket.next(Operation::PutNew, Fate::Conflict);
    let first = upload("a", Kind::Single, Some(10));
    let refused = store.create(&first).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    // The document of an upload that was removed is replaced.
    let version = store.create(&first).await.unwrap();
    store.remove(&Stored::new(first, version)).await.unwrap();
    bucket.next(Operation::PutIf, Fate::Conflict);
    let refused = store.create(&upload("a", Kind::Single, Some(10))).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    // An object in one write, before the document refers to it, and after.
    let stored = created(&store, "b", Kind::Single, Some(10)).await;
    for there in [Fate::Done, Fate::Failed] {
        bucket.next(Operation::PutNew, Fate::Conflict);
        bucket.next(Operation::Head, there);
        let refused = appended(&store, loaded(&store, &stored).await, bytes(10, 1)).await.unwrap_err();
        assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    }
    let stored = appended(&store, loaded(&store, &stored).await, bytes(10, 1)).await.unwrap();
    assert_eq!(content(&store, &stored).await, bytes(10, 1));
    let kind = Kind::Final(vec![Part::from(&stored.upload)]);
    let mut last = upload("c", kind, Some(10));
    last.phase = Phase::Assembling;
    let version = store.create(&last).await.unwrap();
    let mut last = Stored::new(last, version);
    let mut change = more(&last, 0);
    (change.offset, change.phase) = (10, Phase::Complete);
    for there in [Fate::Done, Fate::Failed] {
        // After the piece.
        if last.upload.offset == 0 {
            bucket.next(Operation::PutNew, Fate::Done);
        }
        bucket.next(Operation::PutNew, Fate::Conflict);
        bucket.next(Operation::Head, there);
        let refused = store.assemble(&last, std::slice::from_ref(&stored), &change).await.unwrap_err();
        assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
        last = loaded(&store, &last).await;
    }
    let version = store.assemble(&last, std::slice::from_ref(&stored), &change).await.unwrap();
    assert_eq!(content(&store, &last.changed(&change, version)).await, bytes(10, 1));
}

/// S3 answers so if something else happens to the name or the bucket at the same time.
#[tokio::test]
async fn a_conflict_without_a_condition_passes() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let all = bytes(3 * PART, 1);
    let mut upload = upload("a", Kind::Single, Some(all.len() as u64));
    upload.expires = Some(std::time::SystemTime::now() + Duration::from_secs(1000));
    bucket.next(Operation::Put, Fate::Conflict);
    let refused = store.create(&upload).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    let version = store.create(&upload).await.unwrap();
    let mut stored = Stored::new(upload, version);
    for operation in [Operation::Begin, Operation::Part, Operation::Complete] {
        bucket.next(operation, Fate::Conflict);
        let rest = all.slice(stored.upload.offset as usize..);
        let refused = appended(&store, stored.clone(), rest).await.unwrap_err();
        assert_eq!(refused.failure(), Failure::Unavailable, "{operation:?}: {refused}");
        stored = loaded(&store, &stored).await;
    }
    assert_eq!(stored.upload.phase, Phase::Assembling);
    let mut change = more(&stored, 0);
    change.phase = Phase::Complete;
    let version = store.assemble(&stored, &[], &change).await.unwrap();
    assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
}

/// Parts expire while bytes or a length are still to come: each store says so in its own way.
#[tokio::test]
async fn an_upload_whose_parts_have_expired_starts_again() {
    for dialect in [Dialect::S3, Dialect::Gcs, Dialect::Azure] {
        for is_declared_later in [false, true] {
            let bucket = Bucket::with(Rules { dialect, ..Rules::default() });
            let store = builder(&bucket).open_unchecked().unwrap();
            let all = bytes(5 * PART + 9, 1);
            let length = Some(all.len() as u64).filter(|_| !is_declared_later);
            let stored = created(&store, "a", Kind::Single, length).await;
            let sent = if is_declared_later { all.len() } else { 3 * PART as usize };
            let stored = appended(&store, stored, all.slice(..sent)).await.unwrap();
            bucket.forget_parts();
            let mut change = more(&stored, 0);
            (change.length, change.phase) = (Some(all.len() as u64), Phase::Complete);
            let refused = match is_declared_later {
                true => store.update(&stored, &change).await.err(),
                false => appended(&store, stored.clone(), all.slice(sent..)).await.err(),
            };
            let context = format!("{dialect:?} {is_declared_later} {refused:?}");
            assert!(refused.is_some(), "{context}");
            let stored = loaded(&store, &stored).await;
            assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Receiving, 0), "{context}");
            let stored = appended(&store, stored, all.clone()).await.unwrap();
            assert_eq!(content(&store, &stored).await, all);
        }
    }
}

/// A retry would not help.
#[tokio::test]
async fn a_store_that_refuses_the_parts_is_not_unavailable() {
    let bucket = Bucket::with(Rules { smallest_part: 2 * PART as usize, ..Rules::default() });
    let store = builder(&bucket).open_unchecked().unwrap();
    let stored = created(&store, "a", Kind::Single, Some(3 * PART)).await;
    let refused = appended(&store, stored.clone(), bytes(3 * PART, 1)).await.unwrap_err();
    assert!(refused.to_string().contains("EntityTooSmall"), "{refused}");
    assert_eq!(refused.failure(), Failure::Internal);
    // The bytes are there, and sending them again would not help.
    let stored = loaded(&store, &stored).await;
    assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Assembling, 3 * PART));
}

/// Nobody knows of an empty upload whose creation failed, so it must not be finished later.
#[tokio::test]
async fn an_empty_upload_whose_creation_fails_does_not_exist() {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    let mut empty = upload("a", Kind::Single, Some(0));
    empty.phase = Phase::Complete;
    bucket.next(Operation::PutNew, Fate::Done);
    // Its object.
    bucket.next(Operation::PutNew, Fate::Failed);
    let refused = store.create(&empty).await.unwrap_err();
    assert_eq!(refused.failure(), Failure::Unavailable, "{refused}");
    assert!(store.load(&empty.id).await.unwrap().is_none());
    let day = Duration::from_secs(24 * 3600);
    bucket.age(2 * day);
    let later = std::time::SystemTime::now() + 2 * day;
    assert_eq!(store.pending(later).try_collect::<Vec<_>>().await.unwrap(), []);
    assert_eq!(bucket.keys(""), [] as [&str; 0]);
    store.create(&empty).await.unwrap();
    assert_eq!(bucket.object("files/a").as_deref(), Some(&b""[..]));
}
