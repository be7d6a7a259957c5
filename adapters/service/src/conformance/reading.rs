//! Conformance tests for reading.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tus_core::{Change, Kind, Phase, Stored};

use super::{Fixture, uploads::*};
use crate::Storage;

/// [`Storage::read`] returns all existing bytes of the range.
pub async fn a_range_ends_with_the_bytes(fixture: Fixture) {
    let stored = created(fixture.one(), single("range")).await;
    let stored = appended(fixture.one(), &stored, "hello ").await;
    let stored = appended(fixture.other(), &stored, "world").await;
    let ranges = [
        (0..11, &b"hello world"[..]),
        (0..u64::MAX, b"hello world"),
        (0..1, b"h"),
        (4..8, b"o wo"),
        (6..u64::MAX, b"world"),
        (10..20, b"d"),
        (11..20, b""),
        (50..60, b""),
        (3..3, b""),
        (u64::MAX - 1..u64::MAX, b""),
    ];
    for (range, expected) in ranges {
        for storage in [fixture.one(), fixture.other()] {
            let pieces: Vec<_> = storage.read(&stored, range.clone()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(pieces.concat(), expected, "{range:?}");
        }
    }
}

/// Pieces have at most 32 KiB, and together they are the range.
pub async fn bytes_are_read_in_small_pieces(fixture: Fixture) {
    let (stored, bytes) = large(fixture.one(), "pieces", 3).await;
    fixture.assert_has(&stored, &bytes).await;
    let range = 100_000..900_000;
    let pieces: Vec<_> = fixture.other().read(&stored, range).await.unwrap().try_collect().await.unwrap();
    assert!(pieces.concat() == bytes[100_000..900_000]);
}

/// An upload that has all its bytes but is not complete yet can be read after [`Storage::make_readable`], by any process. It
/// stays as it is, also when this is repeated, and becomes complete or invalid afterwards.
pub async fn an_upload_can_be_read_before_it_is_complete(fixture: Fixture) {
    for (name, completes) in [("right", true), ("wrong", false)] {
        let (created, bytes) = unfinished(fixture.one(), name, 5).await;
        let change = all_but_complete(&created);
        let stored = committed(fixture.one(), &created, bytes.clone(), &change).await;
        let mut now = stored.clone();
        for storage in fixture.in_turn().take(3) {
            now.version = storage.make_readable(&now).await.unwrap();
            assert!(content(storage, &now).await.as_ref() == Some(&bytes));
            let loaded = fixture.other().load(&now.upload.id).await.unwrap().unwrap();
            assert_eq!((&loaded.upload, &loaded.version), (&stored.upload, &now.version));
        }
        // Its last request may be repeated.
        let now = committed(fixture.other(), &now, "", &expiring(&now, 4_000_000_000)).await;
        if completes {
            let complete = updated(fixture.one(), &now, &to_phase(&now, Phase::Notified)).await;
            fixture.assert_has(&complete, &bytes).await;
        } else {
            let invalid = updated(fixture.one(), &now, &to_phase(&now, Phase::Invalid)).await;
            fixture.one().remove(&invalid).await.unwrap();
        }
    }
}

/// The request that is repeated may also complete the upload, because it need not be verified any more.
pub async fn a_readable_upload_is_completed_by_a_commit(fixture: Fixture) {
    let (created, bytes) = unfinished(fixture.one(), "readable", 5).await;
    let change = all_but_complete(&created);
    let mut stored = committed(fixture.one(), &created, bytes.clone(), &change).await;
    stored.version = fixture.other().make_readable(&stored).await.unwrap();
    let complete = committed(fixture.other(), &stored, "", &to_phase(&stored, Phase::Notified)).await;
    fixture.assert_has(&complete, &bytes).await;
}

/// Dropping a stream early does no harm: the upload can be read, changed and removed.
pub async fn dropping_a_stream_early_does_no_harm(fixture: Fixture) {
    let (stored, bytes) = large(fixture.one(), "early", 3).await;
    for storage in [fixture.one(), fixture.other()] {
        drop(storage.read(&stored, 0..u64::MAX).await.unwrap());
        let mut stream = storage.read(&stored, 0..u64::MAX).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        drop(stream);
        assert!(!first.is_empty() && bytes.starts_with(&first));
        assert!(content(storage, &stored).await.as_ref() == Some(&bytes));
    }
    let stored = updated(fixture.other(), &stored, &to_phase(&stored, Phase::Notified)).await;
    fixture.one().remove(&stored).await.unwrap();
}

/// A stream never contains bytes of two uploads: after a removal it continues with its own, or ends with an error.
pub async fn a_stream_contains_bytes_of_one_upload(fixture: Fixture) {
    let (old, old_bytes) = large(fixture.one(), "again", 3).await;
    let mut unread = fixture.one().read(&old, 0..u64::MAX).await.unwrap();
    let mut begun = fixture.other().read(&old, 0..u64::MAX).await.unwrap();
    let mut read = begun.next().await.unwrap().unwrap().to_vec();
    fixture.one().remove(&old).await.unwrap();
    let (new, new_bytes) = large(fixture.other(), "again", 7).await;
    let mut rest = Vec::new();
    for (stream, read) in [(&mut begun, &mut read), (&mut unread, &mut rest)] {
        let mut failed = false;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => read.extend_from_slice(&piece),
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
        assert!(old_bytes.starts_with(read), "bytes of another upload, or out of order");
        assert!(failed || read.len() == old_bytes.len(), "it ended without an error, but too early");
    }
    fixture.assert_has(&new, &new_bytes).await;
}

/// A complete upload of one megabyte, no two pieces of which are equal.
async fn large(storage: &dyn Storage, name: &str, seed: u32) -> (Stored, Vec<u8>) {
    let (stored, bytes) = unfinished(storage, name, seed).await;
    (appended(storage, &stored, Bytes::from(bytes.clone())).await, bytes)
}

/// All bytes have been received; what remains is to verify them.
fn all_but_complete(created: &Stored) -> Change {
    let mut change = Change::of(&created.upload);
    change.offset = created.upload.length.unwrap();
    change
}

/// A new upload, and the bytes to send.
async fn unfinished(storage: &dyn Storage, name: &str, seed: u32) -> (Stored, Vec<u8>) {
    let words = 0..262_147u32;
    let bytes: Vec<u8> = words.flat_map(|n| n.wrapping_mul(2 * seed + 1).wrapping_add(seed).to_le_bytes()).collect();
    (created(storage, upload(name, Kind::Single, Some(bytes.len() as u64))).await, bytes)
}
