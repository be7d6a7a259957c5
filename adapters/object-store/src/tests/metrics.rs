//! Metrics for operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bucket::{Bucket, Fate, Operation};
use futures_util::TryStreamExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tus_service::{Kind, Storage};

use super::{conformance::builder, uploads::*};

/// Each request is counted once, by its operation and its outcome.
#[test]
fn requests_are_counted_by_operation_and_outcome() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let bucket = Bucket::default();
    let store = builder(&bucket).request_timeout(Duration::from_secs(2)).open_unchecked().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let work = async {
        let stored = created(&store, "a", Kind::Partial, Some(3000)).await;
        let stored = appended(&store, stored, bytes(3000, 1)).await.unwrap();
        assert_eq!(content(&store, &stored).await, bytes(3000, 1));
        store.create(&stored.upload).await.unwrap_err();
        assert!(store.load(&"b".parse().unwrap()).await.unwrap().is_none());
        bucket.next(Operation::Get, Fate::Failed);
        store.load(&stored.upload.id).await.unwrap_err();
        bucket.next(Operation::Get, Fate::Hangs);
        bucket.next(Operation::Get, Fate::Hangs);
        store.load(&stored.upload.id).await.unwrap_err();
        assert_eq!(store.list(Default::default(), None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
        for fate in [Fate::Failed, Fate::Hangs] {
            bucket.next(Operation::List, fate);
            store.list(Default::default(), None).try_collect::<Vec<_>>().await.unwrap_err();
        }
    };
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    let mut counted = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let DebugValue::Counter(count) = value else { panic!("a counter") };
        assert_eq!(key.key().name(), "tus_store_requests_total");
        counted.insert(labels.join(" "), count);
    }
    let expected = [
        ("get absent", 1),
        ("get failed", 1),
        // A download, the record that existed already, and one that was listed.
        ("get ok", 3),
        ("get unanswered", 1),
        ("list failed", 1),
        ("list ok", 1),
        ("list unanswered", 1),
        // The second creation is of an upload that is complete, so a marker is written for it.
        ("put ok", 1),
        ("put_if ok", 1),
        ("put_new ok", 2),
        ("put_new refused", 1),
    ];
    assert_eq!(counted, expected.map(|(labels, count)| (labels.to_owned(), count)).into());
}

/// The guide has every operation and every outcome.
#[test]
fn the_guide_lists_what_is_counted() {
    let guide = include_str!("../../../../examples/guide/src/operations.md");
    let named = |label: &str| -> BTreeSet<_> {
        let row = guide.lines().find(|line| line.starts_with(&format!("| `{label}` | `")));
        row.unwrap().split('`').skip(3).step_by(2).filter(|name| *name != "request_timeout").collect()
    };
    let between = |source: &'static str, before: &str| -> BTreeSet<_> {
        source.split(before).skip(1).filter_map(|after| after.split('"').next()).collect()
    };
    let observe = include_str!("../observe.rs");
    let operations = between(include_str!("../bucket.rs"), "observe::request(\"");
    assert_eq!(&operations | &between(observe, "count(\""), named("operation"));
    assert_eq!(between(observe, "=> \""), named("outcome"));
}
