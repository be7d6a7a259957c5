//! Conformance tests for reading.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tus_core::{Kind, Phase, Stored};

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
    let words = 0..262_147u32;
    let bytes: Vec<u8> = words.flat_map(|n| n.wrapping_mul(2 * seed + 1).wrapping_add(seed).to_le_bytes()).collect();
    let stored = created(storage, upload(name, Kind::Single, Some(bytes.len() as u64))).await;
    (appended(storage, &stored, Bytes::from(bytes.clone())).await, bytes)
}
