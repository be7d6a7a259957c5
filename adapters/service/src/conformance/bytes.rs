//! Truths about adding bytes.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tus_core::{Kind, Phase, Stored};

use super::{Fixture, uploads::*};
use crate::{Checkpoint, Chunks, Hint, Storage, Writer};

/// Bytes past the committed offset do not exist; they do after a commit, and so does its change.
pub async fn bytes_exist_after_a_commit(fixture: Fixture) {
    let stored = created(fixture.one(), single("commit")).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    let chunks = ["hello", "", " "].map(|chunk| Bytes::from_static(chunk.as_bytes()));
    writer.write(Chunks::from(chunks.to_vec())).await.unwrap();
    assert_eq!(writer.stored(), 6);
    assert_unheld(&fixture, &stored, b"").await;
    let mut change = adding(&stored, 6);
    change.expires = Some(at(5_000_000_000));
    let version = writer.commit(&change).await.unwrap();
    assert_ne!(version, stored.version, "every change makes a new version");
    let stored = stored.changed(&change, version);
    assert_unheld(&fixture, &stored, b"hello ").await;
    // The same writer goes on.
    writer.write(Bytes::from_static(b"world").into()).await.unwrap();
    assert_eq!(writer.stored(), 11);
    let mut change = adding(&stored, 5);
    change.expires = None;
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    fixture.assert_has(&stored.changed(&change, version), b"hello world").await;
}

/// While a writer is open, the record and the bytes are those that were committed last.
async fn assert_unheld(fixture: &Fixture, expected: &Stored, bytes: &[u8]) {
    for storage in [fixture.one(), fixture.other()] {
        let mut loaded = storage.load(&expected.upload.id).await.unwrap().unwrap();
        loaded.held_elsewhere = false;
        assert_eq!(&loaded, expected);
        assert_eq!(content(storage, &loaded).await, bytes);
    }
}

/// [`Writer::commit`]: bytes beyond the offset of the change are forgotten.
pub async fn a_commit_may_take_less_than_was_written(fixture: Fixture) {
    let stored = created(fixture.one(), single("less")).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(Bytes::from_static(b"abcdef").into()).await.unwrap();
    let change = adding(&stored, 3);
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    let stored = stored.changed(&change, version);
    fixture.assert_has(&stored, b"abc").await;
    let stored = appended(fixture.other(), &stored, "x").await;
    fixture.assert_has(&stored, b"abcx").await;
}

/// Dropping a writer without a commit forgets what was written since the last one.
pub async fn a_dropped_writer_leaves_nothing(fixture: Fixture) {
    let stored = created(fixture.one(), single("dropped")).await;
    let stored = appended(fixture.one(), &stored, "kept ").await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(Bytes::from_static(b"forgotten, and longer").into()).await.unwrap();
    drop(writer);
    fixture.assert_has(&stored, b"kept ").await;
    let stored = appended(fixture.other(), &stored, "new").await;
    fixture.assert_has(&stored, b"kept new").await;
}

/// [`Writer::write`] takes all chunks, in order.
pub async fn many_small_chunks_keep_their_order(fixture: Fixture) {
    let stored = created(fixture.one(), upload("chunks", Kind::Single, None)).await;
    let chunks: Vec<_> = (0..5000u16).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    let expected = chunks.concat();
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(chunks.into()).await.unwrap();
    assert_eq!(writer.stored(), 10_000);
    let change = adding(&stored, 10_000);
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    fixture.assert_has(&stored.changed(&change, version), &expected).await;
}

/// [`Writer::checkpoint`] may commit less or later; what a record claims is there at any time.
pub async fn a_checkpoint_claims_no_more_than_there_is(fixture: Fixture) {
    let stored = created(fixture.one(), single("checkpoint")).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    for (end, hint) in [(4, Hint::Streaming), (8, Hint::Stalled)] {
        writer.write(Bytes::from_static(b"abcd").into()).await.unwrap();
        let _ = writer.checkpoint(&adding(&stored, end), hint).await.unwrap();
        assert_eq!(writer.stored(), end);
        for storage in [fixture.one(), fixture.other()] {
            let seen = storage.load(&stored.upload.id).await.unwrap().unwrap();
            // The storage may be committing meanwhile.
            let there = content(storage, &seen).await;
            assert!((seen.upload.offset..=end).contains(&(there.len() as u64)), "{} of {end}", there.len());
            assert!(b"abcdabcd".starts_with(&there));
        }
    }
    let change = adding(&stored, 8);
    writer.commit(&change).await.unwrap();
    drop(writer);
    let committed = fixture.one().load(&stored.upload.id).await.unwrap().unwrap();
    assert_eq!(committed.upload.offset, 8);
    fixture.assert_has(&committed, b"abcdabcd").await;
}

/// [`Checkpoint::Taken`]: all bytes so far are committed, or will be without another word.
pub async fn a_taken_checkpoint_needs_no_other_word(fixture: Fixture) {
    for (name, hint) in [("streaming", Hint::Streaming), ("stalled", Hint::Stalled)] {
        let stored = created(fixture.one(), single(name)).await;
        let mut writer = fixture.one().open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
        if writer.checkpoint(&adding(&stored, 5), hint).await.unwrap() == Checkpoint::Declined {
            // Then a commit has them all the same.
            writer.commit(&adding(&stored, 5)).await.unwrap();
        }
        drop(writer);
        let committed = with_offset(fixture.other(), &stored, 5).await;
        fixture.assert_has(&committed, b"hello").await;
    }
}

/// The record once it has that offset.
async fn with_offset(storage: &dyn Storage, stored: &Stored, offset: u64) -> Stored {
    for _ in 0..2000 {
        let now = storage.load(&stored.upload.id).await.unwrap().unwrap();
        if now.upload.offset == offset && !now.held_elsewhere {
            return now;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("a checkpoint that was taken was not committed within 10 seconds");
}

/// The commit of the last bytes can complete an upload, and say that nobody is to be notified.
pub async fn a_commit_completes_an_upload(fixture: Fixture) {
    for (name, phase) in [("complete", Phase::Complete), ("unnoticed", Phase::Notified)] {
        let stored = created(fixture.one(), single(name)).await;
        let stored = appended(fixture.one(), &stored, "hello ").await;
        let mut writer = fixture.other().open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"world").into()).await.unwrap();
        let mut change = adding(&stored, 5);
        change.phase = phase;
        let version = writer.commit(&change).await.unwrap();
        drop(writer);
        fixture.assert_has(&stored.changed(&change, version), b"hello world").await;
    }
}

/// Many writers at once do not mix their uploads.
pub async fn many_writers_do_not_mix(fixture: Fixture) {
    let mut writers: Vec<(Stored, Box<dyn Writer>)> = Vec::new();
    for (n, storage) in (0..16).zip(fixture.in_turn()) {
        let stored = created(storage, upload(&format!("mix-{n}"), Kind::Single, None)).await;
        let writer = storage.open(&stored).await.unwrap();
        writers.push((stored, writer));
    }
    for round in 0..8 {
        for (n, (stored, writer)) in writers.iter_mut().enumerate() {
            writer.write(Bytes::from(vec![n as u8; 1000 + n]).into()).await.unwrap();
            if round % 2 == 1 {
                let change = adding(stored, 2 * (1000 + n as u64));
                let version = writer.commit(&change).await.unwrap();
                *stored = stored.clone().changed(&change, version);
            }
        }
    }
    for (n, (stored, writer)) in writers.into_iter().enumerate() {
        drop(writer);
        fixture.assert_has(&stored, &vec![n as u8; 8 * (1000 + n)]).await;
    }
}

/// [`Storage::tidy`] takes nothing that belongs to an upload, nor what a writer is about to commit.
pub async fn tidying_takes_nothing_that_belongs_to_an_upload(fixture: Fixture) {
    let new = created(fixture.one(), single("new")).await;
    let half = created(fixture.one(), single("half")).await;
    let half = appended(fixture.one(), &half, "hello").await;
    let empty = created(fixture.other(), upload("empty", Kind::Single, Some(0))).await;
    let dropped = created(fixture.one(), single("dropped")).await;
    for stored in [&new, &dropped] {
        let mut writer = fixture.one().open(stored).await.unwrap();
        writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
        fixture.one().tidy().await.unwrap();
        fixture.other().tidy().await.unwrap();
        if stored.upload.id == new.upload.id {
            writer.commit(&adding(stored, 5)).await.unwrap();
        }
    }
    fixture.one().tidy().await.unwrap();
    fixture.other().tidy().await.unwrap();
    let now = fixture.one().load(&new.upload.id).await.unwrap().unwrap();
    for (stored, bytes) in [(&now, "hello"), (&half, "hello"), (&empty, ""), (&dropped, "")] {
        fixture.assert_has(stored, bytes.as_bytes()).await;
    }
    let complete = appended(fixture.other(), &now, " world").await;
    fixture.assert_has(&complete, b"hello world").await;
}
