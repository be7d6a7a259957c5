//! Imports into a bucket, where large uploads have parts, and unfinished ones cannot be read.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ::bucket::{Bucket, Fate};
use tokio::{sync::Notify, time::sleep};
use tus_object_store::ObjectStore;
use tus_service::Tus;

use super::*;
use crate::settings::Seconds;

/// The smallest part of an object.
const PART: usize = 5 << 20;

async fn open(bucket: &Bucket) -> ObjectStore {
    ObjectStore::builder(Arc::new(bucket.clone())).part_size(PART as u64).open().await.unwrap()
}

/// Uploads with parts and without: their ids, phases and offsets.
fn uploads_of(tusd: &Tusd) -> Vec<(&'static str, Phase, usize)> {
    let large: String = ('a'..='z').cycle().take(PART + 5).collect();
    let length = large.len();
    tusd.upload("done", &large, &format!(r#""Size": {length}"#));
    tusd.upload("empty", "", r#""Size": 0, "IsFinal": true, "PartialUploads": ["none"]"#);
    tusd.upload("final", &large, &format!(r#""Size": {length}, "IsFinal": true, "PartialUploads": ["part", "gone"]"#));
    tusd.upload("half", &large, &format!(r#""Size": {}"#, length + 1));
    tusd.upload("part", &large, &format!(r#""Size": {length}, "IsPartial": true"#));
    vec![
        ("a", Phase::Receiving, 5),
        ("done", Phase::Notified, length),
        ("empty", Phase::Notified, 0),
        ("final", Phase::Notified, length),
        ("half", Phase::Receiving, length),
        ("part", Phase::Complete, length),
    ]
}

/// That an upload is in the bucket as it should be.
async fn check(storage: &ObjectStore, tusd: &Tusd, (name, phase, offset): (&str, Phase, usize)) {
    let stored = storage.load(&id(name)).await.unwrap().unwrap();
    let upload = &stored.upload;
    assert_eq!((upload.phase, upload.offset, upload.expires), (phase, offset as u64, None), "{name}");
    if upload.is_complete() {
        let bytes: Vec<_> = storage.read(&stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
        assert!(bytes.concat() == fs::read(tusd.path(name)).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn uploads_are_imported_into_a_bucket() {
    let (settings, options, tusd) = (settings(), Options::default(), Tusd::new());
    let uploads = uploads_of(&tusd);
    let storage = open(&Bucket::default()).await;
    let import = tusd.import(&storage, &settings, &options);
    for upload in &uploads {
        assert_eq!(one(&import, upload.0).await, Ok(Done::Imported(upload.2 as u64)));
        check(&storage, &tusd, *upload).await;
    }
    for (name, ..) in uploads {
        // What has no parts can be read.
        let expected = if name == "half" { Done::NotCompared } else { Done::AlreadyHere };
        assert_eq!(one(&import, name).await, Ok(expected), "{name}");
    }
}

/// An import, its nth request to the store, and what becomes of that one: the process is killed, or the request fails
/// whether it is done or not.
async fn import_with(number: usize, fate: Fate, swept: bool, tusd: &Tusd, upload: (&str, Phase, usize)) -> bool {
    let (mut settings, options) = (settings(), Options::default());
    // It becomes the owner of the upload with the first piece.
    settings.checkpoint_interval = Seconds(Duration::ZERO);
    let bucket = Bucket::default();
    let (reached_by, line) = bucket.line();
    let storage = open(&reached_by).await;
    let (killed, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (kill, counted) = (killed.clone(), count.clone());
    bucket.on_request(move |_| match counted.fetch_add(1, Relaxed) + 1 == number {
        true => {
            kill.notify_one();
            fate
        }
        false => Fate::Done,
    });
    let import = tusd.import(&storage, &settings, &options);
    let ended = tokio::select! {
        ended = one(&import, upload.0) => Some(ended),
        () = killed.notified(), if fate == Fate::Hangs => None,
    };
    line.cut();
    let is_reached = count.load(Relaxed) >= number;
    bucket.on_request(|_| Fate::Done);

    let other = open(&bucket).await;
    if swept {
        let finished = Arc::new(AtomicUsize::new(0));
        let counted = finished.clone();
        let tus = Tus::builder(other.clone()).finished(move |_| {
            counted.fetch_add(1, Relaxed);
            async { Ok::<_, std::io::Error>(()) }
        });
        let tus = tus.build();
        // In the time of this test: several sweeps, which also ask a dead process whether it is alive.
        sleep(Duration::from_secs(600)).await;
        tus.shutdown(Duration::ZERO).await;
        assert_eq!(finished.load(Relaxed), 0, "{upload:?} {number} {fate:?}");
        let there = other.load(&id(upload.0)).await.unwrap();
        assert!(there.is_none_or(|there| there.upload.expires.is_none()), "{upload:?} {number} {fate:?}");
    }
    let again = one(&tusd.import(&other, &settings, &options), upload.0).await.unwrap();
    let was_here = again != Done::Imported(upload.2 as u64);
    assert!(was_here || !matches!(ended, Some(Ok(_))), "{upload:?} {number} {fate:?}");
    check(&other, tusd, upload).await;
    is_reached
}

#[tokio::test(start_paused = true)]
async fn an_import_into_a_bucket_that_ends_at_any_request_loses_nothing_and_can_be_repeated() {
    let tusd = Tusd::new();
    for upload in uploads_of(&tusd) {
        let ends = [(Fate::Hangs, true), (Fate::Hangs, false), (Fate::AnswerLost, true), (Fate::Failed, true)];
        // Parts take time, and all kinds of uploads are treated alike after an error.
        let count = match upload.0 {
            "a" | "empty" => 4,
            "final" => 2,
            _ => 1,
        };
        for (fate, swept) in ends.into_iter().take(count) {
            let mut number = 1;
            while import_with(number, fate, swept, &tusd, upload).await {
                number += 1;
            }
            assert!(number > 3, "it is tried at each request");
        }
    }
}
