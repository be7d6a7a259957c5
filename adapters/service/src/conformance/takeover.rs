//! Conformance tests for two processes that want one upload: the newer request wins, and no byte is lost.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, future};
use tokio::time::timeout;
use tus_core::{Failure, Kind, Stored, server::Access};

use super::{Fixture, uploads::*};
use crate::{Checkpoint, Hint, Storage, Writer};

/// Longer than any storage should take.
const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(300);

/// [`Stored::held_elsewhere`] reports that another process is adding bytes that the record does not include yet, at
/// the latest after a hint. In the process itself, no [`Stored`] reports it.
pub async fn bytes_arriving_in_another_process_are_reported(fixture: Fixture) {
    let stored = created(fixture.one(), single("held")).await;
    let stored = appended(fixture.one(), &stored, "hel").await;
    let other = created(fixture.one(), single("other")).await;
    fixture.assert_is(&stored).await;
    let (writer, stored) = written(fixture.one(), &stored, "lo").await;
    let held = held(fixture.two(), &stored).await;
    assert_eq!(fixture.one().load(&stored.upload.id).await.unwrap().as_ref(), Some(&stored));
    let ids = ["other", "held"].map(id);
    assert_eq!(fixture.two().load_all(&ids).await.unwrap(), [Some(other.clone()), Some(held)]);
    assert_eq!(fixture.one().load_all(&ids).await.unwrap(), [Some(other), Some(stored.clone())]);
    drop(writer);
    fixture.assert_released(&stored.upload.id).await;
    fixture.assert_completes(&stored, &b"hello"[..stored.upload.offset as usize]).await;
}

/// [`Storage::settle`] asks the process that adds bytes to commit and leave. The upload is then free, with all of its
/// bytes.
pub async fn an_upload_is_taken_over_without_losing_bytes(fixture: Fixture) {
    let stored = created(fixture.one(), single("wanted")).await;
    let stored = appended(fixture.one(), &stored, "hello").await;
    let (writer, now) = written(fixture.one(), &stored, " wor").await;
    let held = held(fixture.two(), &now).await;
    let (committed, settled) =
        future::join(leaves(writer, &stored, 4), fixture.two().settle(&held, Access::Write, PATIENCE)).await;
    assert_eq!(settled.unwrap().as_ref(), Some(&committed));
    let settled = committed;
    fixture.assert_has(&settled, b"hello wor").await;
    let complete = appended(fixture.two(), &settled, "ld").await;
    fixture.assert_has(&complete, b"hello world").await;
}

/// The process that had to leave can take the upload back, repeatedly.
pub async fn an_upload_moves_back_and_forth(fixture: Fixture) {
    let mut now = created(fixture.one(), upload("wanted", Kind::Single, Some(12))).await;
    for (one, two) in [(fixture.one(), fixture.two()), (fixture.two(), fixture.one())].repeat(2) {
        let (writer, seen) = written(one, &now, "ab").await;
        let held = held(two, &seen).await;
        let (committed, settled) =
            future::join(leaves(writer, &now, 2), two.settle(&held, Access::Write, PATIENCE)).await;
        assert_eq!(settled.unwrap().as_ref(), Some(&committed));
        now = appended(two, &committed, "c").await;
        assert_eq!(failure(try_append(one, &committed, "d".into()).await), Failure::Conflict);
    }
    fixture.assert_has(&now, b"abcabcabcabc").await;
}

/// Of two requests that wait for an upload, the newer one gets it. The older one fails immediately: it neither adds
/// to nor deletes what the newer one continues with.
pub async fn the_newer_of_two_requests_wins(fixture: Fixture) {
    let stored = created(fixture.one(), single("wanted")).await;
    let (writer, now) = written(fixture.one(), &stored, "hello").await;
    let held = held(fixture.two(), &now).await;
    let older = fixture.two().settle(&held, Access::Write, PATIENCE);
    // Its request is registered when the writer is asked to leave.
    let older = match future::select(older, writer.asked_to_leave()).await {
        future::Either::Left(_) => panic!("nobody has left yet"),
        future::Either::Right(((), older)) => older,
    };
    let newer = fixture.two().settle(&held, Access::Write, PATIENCE);
    // The older one ends although nobody has left. The writer leaves only after that.
    let leaving = async {
        assert_eq!(failure(older.await), Failure::Busy, "somebody else asked later");
        assert_eq!(failure(fixture.two().open(&held).await), Failure::Busy);
        leaves(writer, &stored, 5).await
    };
    let (committed, newer) = future::join(leaving, newer).await;
    assert_eq!(newer.unwrap(), Some(committed.clone()));
    let complete = appended(fixture.two(), &committed, " world").await;
    fixture.assert_has(&complete, b"hello world").await;
}

/// A request that only reads also makes the process that adds bytes leave, and does not take the upload from a
/// request that waits to write.
pub async fn a_reader_waits_without_taking_over(fixture: Fixture) {
    let stored = created(fixture.one(), single("read")).await;
    let (writer, now) = written(fixture.one(), &stored, "hel").await;
    let seen = held(fixture.two(), &now).await;
    let reader = fixture.two().settle(&seen, Access::Read, PATIENCE);
    let (committed, read) = future::join(leaves(writer, &stored, 3), reader).await;
    assert_eq!(read.unwrap().as_ref(), Some(&committed));
    // Now one waits to write, too, and came first.
    let (writer, now) = written(fixture.one(), &committed, "lo").await;
    let seen = held(fixture.two(), &now).await;
    let waiting = fixture.two().settle(&seen, Access::Write, PATIENCE);
    let waiting = match future::select(waiting, writer.asked_to_leave()).await {
        future::Either::Left(_) => panic!("nobody has left yet"),
        future::Either::Right(((), waiting)) => waiting,
    };
    let mut reader = fixture.two().settle(&seen, Access::Read, PATIENCE);
    assert!(timeout(IMPATIENCE, &mut reader).await.is_err(), "the bytes that come are not committed yet");
    let (committed, waited, read) = future::join3(leaves(writer, &committed, 2), waiting, reader).await;
    assert_eq!((waited.unwrap(), read.unwrap()), (Some(committed.clone()), Some(committed.clone())));
    let complete = appended(fixture.two(), &committed, " world").await;
    fixture.assert_has(&complete, b"hello world").await;
}

/// [`Storage::settle`] waits no longer than its patience, and reports that the upload is still held.
pub async fn a_writer_that_does_not_leave_is_reported(fixture: Fixture) {
    let stored = created(fixture.one(), single("kept")).await;
    let (mut writer, now) = written(fixture.one(), &stored, "hello").await;
    let held = held(fixture.two(), &now).await;
    let began = Instant::now();
    let settled = timeout(PATIENCE, fixture.two().settle(&held, Access::Write, IMPATIENCE))
        .await
        .expect("it is not that patient");
    assert_eq!(settled.unwrap().as_ref(), Some(&held));
    assert!(began.elapsed() >= IMPATIENCE, "it was not patient");
    // It was not changed.
    let change = adding(&stored, 5);
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    let stored = stored.changed(&change, version);
    assert_eq!(fixture.two().settle(&held, Access::Write, PATIENCE).await.unwrap().as_ref(), Some(&stored));
    fixture.assert_completes(&stored, b"hello").await;
}

/// [`Writer::asked_to_leave`] does not complete for a writer that was not asked: not because of a load, nor because
/// of another upload.
pub async fn writers_are_not_asked_to_leave_without_reason(fixture: Fixture) {
    let wanted = created(fixture.one(), single("wanted")).await;
    let other = created(fixture.one(), single("other")).await;
    let (wanted_writer, wanted_now) = written(fixture.one(), &wanted, "hello").await;
    let (other_writer, other_now) = written(fixture.one(), &other, "hello").await;
    held(fixture.two(), &other_now).await;
    let held = held(fixture.two(), &wanted_now).await;
    assert!(timeout(IMPATIENCE, wanted_writer.asked_to_leave()).await.is_err());
    let (committed, settled) =
        future::join(leaves(wanted_writer, &wanted, 5), fixture.two().settle(&held, Access::Write, PATIENCE)).await;
    assert_eq!(settled.unwrap().as_ref(), Some(&committed));
    assert_eq!(other_writer.asked_to_leave().now_or_never(), None);
    fixture.assert_completes(&committed, b"hello").await;
}

/// An upload that is removed while its writer is asked to leave is gone.
pub async fn a_removed_upload_is_not_held(fixture: Fixture) {
    let stored = created(fixture.one(), single("removed")).await;
    let (writer, stored) = written(fixture.one(), &stored, "hello").await;
    let held = held(fixture.two(), &stored).await;
    let removed = async {
        writer.asked_to_leave().await;
        fixture.one().remove(&stored).await.unwrap();
        drop(writer);
    };
    let ((), settled) = future::join(removed, fixture.two().settle(&held, Access::Write, PATIENCE)).await;
    assert_eq!(settled.unwrap(), None);
    fixture.assert_gone(&stored.upload.id).await;
}

/// [`Storage::settle`] returns the record immediately if no other process adds bytes.
pub async fn settling_an_own_upload_returns_the_record(fixture: Fixture) {
    let stored = created(fixture.one(), single("own")).await;
    let stored = appended(fixture.one(), &stored, "hello").await;
    for storage in [fixture.one(), fixture.other()] {
        let settled = timeout(PATIENCE / 2, storage.settle(&stored, Access::Write, PATIENCE))
            .await
            .expect("there is nobody to wait for");
        assert_eq!(settled.unwrap().as_ref(), Some(&stored));
    }
    fixture.one().remove(&stored).await.unwrap();
    assert_eq!(fixture.other().settle(&stored, Access::Write, PATIENCE).await.unwrap(), None);
}

/// A writer with bytes that the record does not include, and the record. The storage got a hint after the first of
/// them and may have committed that one, but not the others.
async fn written(storage: &dyn Storage, stored: &Stored, bytes: &'static str) -> (Box<dyn Writer>, Stored) {
    let (first, others) = bytes.as_bytes().split_at(1);
    let mut writer = storage.open(stored).await.unwrap();
    writer.write(Bytes::from_static(first).into()).await.unwrap();
    let change = adding(stored, 1);
    let hinted = writer.checkpoint(&change, Hint::Streaming).await.unwrap();
    writer.write(Bytes::from_static(others).into()).await.unwrap();
    assert_eq!(writer.stored(), bytes.len() as u64);
    let now = match hinted {
        Checkpoint::Taken => with_offset(storage, stored, change.offset).await,
        Checkpoint::Declined => stored.clone(),
    };
    (writer, now)
}

/// The record as another process sees it: the same one, and held.
async fn held(storage: &dyn Storage, stored: &Stored) -> Stored {
    let mut held = stored.clone();
    held.held_elsewhere = true;
    assert_eq!(storage.load(&stored.upload.id).await.unwrap().as_ref(), Some(&held));
    held
}

/// Waits until the writer is asked to leave, commits what has arrived, and leaves.
async fn leaves(mut writer: Box<dyn Writer>, stored: &Stored, bytes: u64) -> Stored {
    timeout(PATIENCE, writer.asked_to_leave()).await.expect("nobody has asked");
    let change = adding(stored, bytes);
    let version = writer.commit(&change).await.unwrap();
    stored.clone().changed(&change, version)
}
