//! Pieces to which no document refers: of processes that died, and those that could not be deleted.

use std::time::{Duration, SystemTime};

use bucket::{Bucket, Fate, Operation};
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use tus_service::{Change, Hint, Kind, Part, Phase, Storage, Stored};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::{ObjectStore, keys};

/// The length of an upload that comes in several parts.
const LONG: u64 = 3 * PART;

fn opened() -> (Bucket, ObjectStore) {
    let bucket = Bucket::default();
    let store = builder(&bucket).open_unchecked().unwrap();
    (bucket, store)
}

/// A process died after it had written a piece, and before the document referred to it.
async fn is_left(bucket: &Bucket, stored: &Stored, name: &str) {
    bucket.put(&Path::from(keys::piece(&stored.upload, name)), "left".into()).await.unwrap();
}

/// All of its bytes, in two requests.
async fn in_two(store: &ObjectStore, stored: Stored) -> Stored {
    let all = bytes(LONG, 1);
    let stored = appended(store, stored, all.slice(..PART as usize * 2)).await.unwrap();
    appended(store, loaded(store, &stored).await, all.slice(PART as usize * 2..)).await.unwrap()
}

fn left(bucket: &Bucket) -> usize {
    bucket.keys(".tus/w/").len() + bucket.keys(".tus/todo/").len()
}

async fn swept(bucket: &Bucket, store: &ObjectStore) {
    bucket.age(Duration::from_secs(4000));
    let due: Vec<_> = store.pending(SystemTime::now()).try_collect().await.unwrap();
    assert_eq!(due, []);
}

#[tokio::test]
async fn pieces_that_a_dead_process_left_are_deleted_when_a_large_upload_is_done() {
    for kind in [Kind::Partial, Kind::Single] {
        let (bucket, store) = opened();
        let stored = created(&store, "a", kind.clone(), Some(LONG)).await;
        is_left(&bucket, &stored, "one").await;
        let stored = in_two(&store, stored).await;
        if kind == Kind::Single {
            let mut change = more(&stored, 0);
            change.phase = Phase::Notified;
            store.update(&stored, &change).await.unwrap();
        }
        assert_eq!(left(&bucket), 0, "{kind:?}");
        assert_eq!(content(&store, &loaded(&store, &stored).await).await, bytes(LONG, 1));
    }
}

#[tokio::test]
async fn pieces_that_cannot_be_deleted_at_once_are_deleted_by_a_sweep() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Partial, Some(LONG)).await;
    is_left(&bucket, &stored, "one").await;
    bucket.next(Operation::List, Fate::Failed);
    let stored = in_two(&store, stored).await;
    assert_eq!(left(&bucket), 2, "a piece, and the marker for the sweep");
    // It fails once more.
    bucket.age(Duration::from_secs(4000));
    bucket.next(Operation::Delete, Fate::Failed);
    store.pending(SystemTime::now()).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(left(&bucket), 2);
    swept(&bucket, &store).await;
    assert_eq!(left(&bucket), 0);
    assert_eq!(content(&store, &stored).await, bytes(LONG, 1));
}

/// The piece is there, and the request that wrote it failed.
#[tokio::test]
async fn a_piece_whose_response_was_lost_is_deleted_when_a_large_upload_is_done() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Partial, Some(LONG)).await;
    let all = bytes(LONG, 1);
    let mut writer = store.open(&stored).await.unwrap();
    writer.write(all.slice(..10).into()).await.unwrap();
    bucket.next(Operation::PutNew, Fate::AnswerLost);
    writer.checkpoint(&hinted(&stored, 0), Hint::Stalled).await.unwrap_err();
    assert_eq!(left(&bucket), 1);
    written(&mut *writer, all.slice(10..)).await.unwrap();
    writer.commit(&more(&stored, LONG)).await.unwrap();
    assert_eq!(left(&bucket), 0);
}

/// One object in one request, from bytes that came in several.
#[tokio::test]
async fn pieces_of_a_small_upload_that_cannot_be_deleted_are_deleted_by_a_sweep() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Partial, Some(20)).await;
    let stored = appended(&store, stored, bytes(10, 1)).await.unwrap();
    bucket.next(Operation::Delete, Fate::Failed);
    let stored = appended(&store, stored, bytes(10, 2)).await.unwrap();
    assert_eq!(left(&bucket), 2);
    swept(&bucket, &store).await;
    assert_eq!(left(&bucket), 0);
    assert_eq!(content(&store, &stored).await, [bytes(10, 1), bytes(10, 2)].concat());
}

/// Of an upload about which the application is notified: its work deletes them.
#[tokio::test]
async fn pieces_that_cannot_be_deleted_are_deleted_when_nothing_is_due_any_more() {
    for length in [20, LONG] {
        let (bucket, store) = opened();
        let stored = created(&store, "a", Kind::Single, Some(length)).await;
        let all = bytes(length, 1);
        let mut writer = store.open(&stored).await.unwrap();
        writer.write(all.slice(..10).into()).await.unwrap();
        let _ = writer.checkpoint(&hinted(&stored, 0), Hint::Stalled).await.unwrap();
        assert_eq!(left(&bucket), 1, "a piece");
        bucket.next(Operation::Delete, Fate::Failed);
        written(&mut *writer, all.slice(10..)).await.unwrap();
        let change = more(&stored, length);
        let version = writer.commit(&change).await.unwrap();
        assert_eq!(left(&bucket), 2, "a piece, and the marker of what is due");
        let stored = stored.changed(&change, version);
        let mut change = more(&stored, 0);
        change.phase = Phase::Notified;
        let version = store.update(&stored, &change).await.unwrap();
        assert_eq!(left(&bucket), 0, "{length} bytes");
        assert_eq!(content(&store, &stored.changed(&change, version)).await, all);
    }
}

/// Two processes assemble a small upload, and one of them dies after it has written the piece.
#[tokio::test]
async fn a_piece_of_a_concatenation_is_deleted_when_nothing_is_due_any_more() {
    let (bucket, store) = opened();
    let part = created(&store, "part", Kind::Partial, Some(20)).await;
    let part = appended(&store, part, bytes(20, 1)).await.unwrap();
    let mut of_part = upload("final", Kind::Final(vec![Part::from(&part.upload)]), None);
    of_part.phase = Phase::Assembling;
    let version = store.create(&of_part).await.unwrap();
    let stored = Stored::new(of_part, version);
    is_left(&bucket, &stored, "one").await;
    let mut change = Change::of(&stored.upload);
    (change.offset, change.length, change.phase) = (20, Some(20), Phase::Notified);
    let version = store.assemble(&stored, &[part], &change).await.unwrap();
    assert_eq!(left(&bucket), 0);
    assert_eq!(content(&store, &stored.changed(&change, version)).await, bytes(20, 1));
}

#[tokio::test]
async fn a_sweep_deletes_no_pieces_of_an_upload_that_is_not_done() {
    let (bucket, store) = opened();
    let stored = created(&store, "a", Kind::Partial, Some(20)).await;
    let stored = appended(&store, stored, bytes(10, 1)).await.unwrap();
    // A process died before the change that it had announced.
    bucket.put(&Path::from(keys::todo(&stored.upload)), "".into()).await.unwrap();
    swept(&bucket, &store).await;
    assert_eq!(left(&bucket), 2, "a piece, and the marker, which it needs when it becomes due");
    let stored = appended(&store, stored, bytes(10, 2)).await.unwrap();
    assert_eq!(content(&store, &stored).await, [bytes(10, 1), bytes(10, 2)].concat());
}
