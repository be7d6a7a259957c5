//! Conformance tests for adding bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tus_core::{Change, Kind, Phase, Stored};

use super::{Fixture, uploads::*};
#[cfg(doc)]
use crate::Storage;
use crate::{Checkpoint, Chunks, Hint, Writer};

/// Bytes past the committed offset do not exist. After a commit they exist, and the record has changed.
pub async fn bytes_exist_after_a_commit(fixture: Fixture) {
    let stored = created(fixture.one(), single("commit")).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    let chunks = ["hello", "", " "].map(|chunk| Bytes::from_static(chunk.as_bytes()));
    writer.write(Chunks::from(chunks.to_vec())).await.unwrap();
    assert_eq!(writer.stored(), 6);
    assert_unheld(&fixture, &stored, b"").await;
    assert!(writer.committed().is_none_or(|offset| offset == 0), "no more is reported than is committed");
    let mut change = adding(&stored, 6);
    change.expires = Some(at(5_000_000_000));
    let version = writer.commit(&change).await.unwrap();
    assert_ne!(version, stored.version, "every change makes a new version");
    let stored = stored.changed(&change, version);
    assert_unheld(&fixture, &stored, b"hello ").await;
    assert!(writer.committed().is_none_or(|offset| offset == 6), "what is committed may be reported");
    // The same writer continues.
    writer.write(Bytes::from_static(b"world").into()).await.unwrap();
    assert_eq!(writer.stored(), 11);
    let mut change = adding(&stored, 5);
    change.expires = None;
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    fixture.assert_has(&stored.changed(&change, version), b"hello world").await;
}

/// While a writer is open, record and bytes are those of the last commit.
async fn assert_unheld(fixture: &Fixture, expected: &Stored, bytes: &[u8]) {
    for storage in [fixture.one(), fixture.other()] {
        let mut loaded = storage.load(&expected.upload.id).await.unwrap().unwrap();
        loaded.held_elsewhere = false;
        assert_eq!(&loaded, expected);
        if let Some(content) = content(storage, &loaded).await {
            assert_eq!(content, bytes);
        }
    }
}

/// [`Writer::commit`]: bytes beyond the offset of the change, which is that of the last commit then, are forgotten.
pub async fn a_commit_may_discard_everything_since_the_last_one(fixture: Fixture) {
    for kept in ["", "abc"] {
        let stored = created(fixture.one(), single(&format!("kept-{kept}"))).await;
        let mut writer = fixture.one().open(&stored).await.unwrap();
        let mut now = stored;
        if !kept.is_empty() {
            writer.write(Bytes::from_static(kept.as_bytes()).into()).await.unwrap();
            let change = adding(&now, 3);
            let version = writer.commit(&change).await.unwrap();
            now = now.changed(&change, version);
        }
        writer.write(Bytes::from_static(b"forgotten").into()).await.unwrap();
        let change = expiring(&now, 4_000_000_000);
        let version = writer.commit(&change).await.unwrap();
        assert_eq!(writer.stored(), kept.len() as u64);
        drop(writer);
        let now = now.changed(&change, version);
        fixture.assert_has(&now, kept.as_bytes()).await;
        let rest = &"abcdefghijk"[kept.len()..];
        let complete = appended(fixture.other(), &now, rest).await;
        fixture.assert_has(&complete, b"abcdefghijk").await;
    }
}

/// Dropping a writer without a commit discards the bytes since the last commit.
pub async fn a_dropped_writer_leaves_no_bytes(fixture: Fixture) {
    let stored = created(fixture.one(), single("dropped")).await;
    let stored = appended(fixture.one(), &stored, "kept ").await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(Bytes::from_static(b"forgotten, and longer").into()).await.unwrap();
    drop(writer);
    fixture.assert_released(&stored.upload.id).await;
    fixture.assert_has(&stored, b"kept ").await;
    let stored = appended(fixture.other(), &stored, "new").await;
    fixture.assert_completes(&stored, b"kept new").await;
}

/// [`Writer::write`] accepts all chunks, in order.
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
    fixture.assert_completes(&stored.changed(&change, version), &expected).await;
}

/// [`Writer::checkpoint`] may commit less, or later. The bytes that a record claims always exist.
pub async fn a_checkpoint_claims_only_existing_bytes(fixture: Fixture) {
    let stored = created(fixture.one(), single("checkpoint")).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    for (end, hint) in [(4, Hint::Streaming), (8, Hint::Stalled)] {
        writer.write(Bytes::from_static(b"abcd").into()).await.unwrap();
        let _ = writer.checkpoint(&adding(&stored, end), hint).await.unwrap();
        assert_eq!(writer.stored(), end);
        for storage in [fixture.one(), fixture.other()] {
            let seen = storage.load(&stored.upload.id).await.unwrap().unwrap();
            // The storage may be committing at the same time.
            let Some(there) = content(storage, &seen).await else { continue };
            assert!((seen.upload.offset..=end).contains(&(there.len() as u64)), "{} of {end}", there.len());
            assert!(b"abcdabcd".starts_with(&there));
        }
    }
    let change = adding(&stored, 8);
    writer.commit(&change).await.unwrap();
    drop(writer);
    let committed = fixture.one().load(&stored.upload.id).await.unwrap().unwrap();
    assert_eq!(committed.upload.offset, 8);
    fixture.assert_completes(&committed, b"abcdabcd").await;
}

/// A hint that allows nothing beyond the last commit changes no record and loses no byte.
pub async fn a_hint_that_allows_nothing_changes_nothing(fixture: Fixture) {
    for (name, hint) in [("streaming", Hint::Streaming), ("stalled", Hint::Stalled)] {
        let mut now = created(fixture.one(), single(name)).await;
        let mut writer = fixture.one().open(&now).await.unwrap();
        for (bytes, before, all) in [("hello", "", 5), (" wor", "hello", 9)] {
            writer.write(Bytes::from_static(bytes.as_bytes()).into()).await.unwrap();
            for _ in 0..2 {
                let _ = writer.checkpoint(&Change::of(&now.upload), hint).await.unwrap();
                assert_eq!(writer.stored(), all);
                assert_unheld(&fixture, &now, before.as_bytes()).await;
            }
            let change = adding(&now, bytes.len() as u64);
            let version = writer.commit(&change).await.unwrap();
            now = now.changed(&change, version);
        }
        drop(writer);
        fixture.assert_has(&now, b"hello wor").await;
        let complete = appended(fixture.other(), &now, "ld").await;
        fixture.assert_has(&complete, b"hello world").await;
    }
}

/// A writer releases its [`Chunks`] with a commit, and when no more bytes arrive, including those that may not be
/// committed yet. It loses none of them.
pub async fn a_writer_releases_its_chunks(fixture: Fixture) {
    let budget = Arc::new(Semaphore::new(5));
    for (name, allowed) in [("committed", None), ("stalled", Some(5)), ("verified", Some(0))] {
        let stored = created(fixture.one(), single(name)).await;
        let mut writer = fixture.one().open(&stored).await.unwrap();
        let share = budget.clone().try_acquire_many_owned(5).unwrap();
        writer.write(Chunks::from(Bytes::from_static(b"hello")).sharing(share)).await.unwrap();
        match allowed {
            None => drop(writer.commit(&adding(&stored, 5)).await.unwrap()),
            Some(bytes) => assert_taken(&mut *writer, &adding(&stored, bytes)).await,
        }
        let free = timeout(TRY * TRIES as u32, budget.acquire_many(5)).await;
        drop(free.expect("it keeps what it was given").unwrap());
        writer.write(Bytes::from_static(b" world").into()).await.unwrap();
        let change = adding(&stored, 11);
        let version = writer.commit(&change).await.unwrap();
        drop(writer);
        fixture.assert_has(&stored.changed(&change, version), b"hello world").await;
    }
}

/// No more bytes arrive: at some point nothing remains to be done.
async fn assert_taken(writer: &mut dyn Writer, change: &Change) {
    for _ in 0..TRIES {
        if writer.checkpoint(change, Hint::Stalled).await.unwrap() == Checkpoint::Taken {
            return;
        }
        sleep(TRY).await;
    }
    panic!("a stalled writer has something left to do after 10 seconds");
}

/// [`Checkpoint::Taken`]: what may be committed is committed, or will be without another call.
pub async fn a_taken_checkpoint_needs_no_further_call(fixture: Fixture) {
    for (name, hint) in [("streaming", Hint::Streaming), ("stalled", Hint::Stalled)] {
        let stored = created(fixture.one(), single(name)).await;
        let mut writer = fixture.one().open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
        if writer.checkpoint(&adding(&stored, 5), hint).await.unwrap() == Checkpoint::Declined {
            // A commit then includes all of them.
            writer.commit(&adding(&stored, 5)).await.unwrap();
        }
        drop(writer);
        let committed = with_offset(fixture.other(), &stored, 5).await;
        fixture.assert_completes(&committed, b"hello").await;
    }
}

/// The commit of the last bytes can complete an upload, and declare that nobody is to be notified.
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

/// Concurrent writers do not mix their uploads.
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
        fixture.assert_completes(&stored, &vec![n as u8; 8 * (1000 + n)]).await;
    }
}

/// [`Storage::tidy`] removes nothing that belongs to an upload, nor what a writer is about to commit.
pub async fn tidying_removes_nothing_that_belongs_to_an_upload(fixture: Fixture) {
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
    fixture.assert_released(&dropped.upload.id).await;
    fixture.one().tidy().await.unwrap();
    fixture.other().tidy().await.unwrap();
    let now = fixture.one().load(&new.upload.id).await.unwrap().unwrap();
    fixture.assert_has(&empty, b"").await;
    for (stored, bytes) in [(&now, "hello"), (&half, "hello"), (&dropped, "")] {
        fixture.assert_completes(stored, bytes.as_bytes()).await;
    }
}
