//! Uploads for all conformance tests, and common operations on them.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{TryStreamExt, future};
use tokio::time::sleep;
use tus_core::{Change, Failure, Incarnation, Kind, Part, Phase, Stored, Upload, UploadId};

use super::Fixture;
use crate::{Storage, StorageError, StoredStream};

/// The most bytes in a piece of a stream.
const PIECE: usize = crate::MAX_PIECE;

pub(super) fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// An upload of 11 bytes.
pub(super) fn single(name: &str) -> Upload {
    upload(name, Kind::Single, Some(11))
}

pub(super) fn partial(name: &str, length: u64) -> Upload {
    upload(name, Kind::Partial, Some(length))
}

pub(super) fn final_of(name: &str, parts: &[&str]) -> Upload {
    upload(name, Kind::Final(parts.iter().map(|name| part(name, 0)).collect()), None)
}

/// A part, from its id and the bits of its incarnation. A storage gets the records of the parts when it assembles
/// them, and stores this for the machine.
pub(super) fn part(name: &str, bits: u128) -> Part {
    Part::new(id(name), Incarnation::from_random(bits))
}

/// An upload with a new incarnation.
pub(super) fn upload(name: &str, kind: Kind, length: Option<u64>) -> Upload {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let bits = u128::from(LAST.fetch_add(1, Relaxed)) << 64 | 0x7d5;
    let mut upload = Upload::new(id(name), Incarnation::from_random(bits), kind);
    upload.length = length;
    upload.created = at(1_700_000_000);
    if length == Some(0) {
        upload.phase = Phase::Complete;
    }
    upload
}

/// The change that adds this many bytes. It completes an upload that then has all of them.
pub(super) fn adding(stored: &Stored, bytes: u64) -> Change {
    let mut change = Change::of(&stored.upload);
    change.offset += bytes;
    if change.length == Some(change.offset) {
        change.phase = Phase::Complete;
    }
    change
}

pub(super) fn to_phase(stored: &Stored, phase: Phase) -> Change {
    let mut change = Change::of(&stored.upload);
    change.phase = phase;
    change
}

pub(super) fn expiring(stored: &Stored, seconds: u64) -> Change {
    let mut change = Change::of(&stored.upload);
    change.expires = Some(at(seconds));
    change
}

/// The change that assembles an upload of this many bytes.
pub(super) fn assembled(stored: &Stored, bytes: u64) -> Change {
    let mut change = to_phase(stored, Phase::Complete);
    (change.offset, change.length) = (bytes, Some(bytes));
    change
}

#[track_caller]
pub(super) fn failure<T>(result: Result<T, StorageError>) -> Failure {
    result.err().expect("it must fail").failure()
}

pub(super) async fn created(storage: &dyn Storage, upload: Upload) -> Stored {
    let version = storage.create(&upload).await.unwrap();
    Stored::new(upload, version)
}

/// Creates them concurrently, because a storage may need one round trip for all.
pub(super) async fn all_created(storage: &dyn Storage, uploads: impl IntoIterator<Item = Upload>) -> Vec<Stored> {
    future::join_all(uploads.into_iter().map(|upload| created(storage, upload))).await
}

pub(super) async fn updated(storage: &dyn Storage, stored: &Stored, change: &Change) -> Stored {
    let version = storage.update(stored, change).await.unwrap();
    stored.clone().changed(change, version)
}

pub(super) async fn appended(storage: &dyn Storage, stored: &Stored, bytes: impl Into<Bytes>) -> Stored {
    try_append(storage, stored, bytes.into()).await.unwrap()
}

/// A storage may notice immediately or at the commit that an upload has changed.
pub(super) async fn try_append(storage: &dyn Storage, stored: &Stored, bytes: Bytes) -> Result<Stored, StorageError> {
    let change = adding(stored, bytes.len() as u64);
    try_commit(storage, stored, bytes, &change).await
}

pub(super) async fn committed(
    storage: &dyn Storage,
    stored: &Stored,
    bytes: impl Into<Bytes>,
    change: &Change,
) -> Stored {
    try_commit(storage, stored, bytes.into(), change).await.unwrap()
}

async fn try_commit(
    storage: &dyn Storage,
    stored: &Stored,
    bytes: Bytes,
    change: &Change,
) -> Result<Stored, StorageError> {
    let mut writer = storage.open(stored).await?;
    if !bytes.is_empty() {
        writer.write(bytes.into()).await?;
    }
    let version = writer.commit(change).await?;
    Ok(stored.clone().changed(change, version))
}

/// How often, and at what interval, a test polls: ten seconds in all.
pub(super) const TRIES: usize = 2000;
pub(super) const TRY: Duration = Duration::from_millis(5);

/// The record, once it has that offset and no other process holds it.
pub(super) async fn with_offset(storage: &dyn Storage, stored: &Stored, offset: u64) -> Stored {
    for _ in 0..TRIES {
        let now = storage.load(&stored.upload.id).await.unwrap().unwrap();
        if now.upload.offset == offset && !now.held_elsewhere {
            return now;
        }
        sleep(TRY).await;
    }
    panic!("a checkpoint that was taken was not committed within 10 seconds");
}

/// More than most storages read at once.
pub(super) const MANY: usize = 300;

/// All existing bytes, in pieces of limited size. `None` if the upload is not complete and the storage cannot read
/// it.
pub(super) async fn content(storage: &dyn Storage, stored: &Stored) -> Option<Vec<u8>> {
    match try_content(storage, stored).await {
        Err(error) if error.failure() == Failure::Conflict && !stored.upload.is_complete() => None,
        content => Some(content.unwrap()),
    }
}

pub(super) async fn try_content(storage: &dyn Storage, stored: &Stored) -> Result<Vec<u8>, StorageError> {
    let pieces: Vec<Bytes> = storage.read(stored, 0..u64::MAX).await?.try_collect().await?;
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE), "pieces have at most 32 KiB");
    Ok(pieces.concat())
}

pub(super) async fn all(stream: StoredStream<'_>) -> Vec<Stored> {
    stream.try_collect().await.unwrap()
}

/// The ids in the order of the stream.
pub(super) async fn ids(stream: StoredStream<'_>) -> Vec<String> {
    all(stream).await.into_iter().map(|stored| stored.upload.id.to_string()).collect()
}

/// The ids of an unordered stream, each of which must occur once.
pub(super) async fn distinct(stream: StoredStream<'_>) -> BTreeSet<String> {
    let ids = ids(stream).await;
    let distinct: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(distinct.len(), ids.len(), "each is there once: {ids:?}");
    distinct
}

pub(super) fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

impl Fixture {
    /// Both processes find this record, and no open writer changes that.
    pub(super) async fn assert_is(&self, expected: &Stored) {
        for storage in [self.one(), self.other()] {
            assert_eq!(storage.load(&expected.upload.id).await.unwrap().as_ref(), Some(expected));
        }
    }

    /// Both processes find the record, and the bytes up to its offset. If the upload is not complete, a storage need
    /// not be able to read it: see [`Fixture::assert_completes`].
    pub(super) async fn assert_has(&self, expected: &Stored, bytes: &[u8]) {
        self.assert_is(expected).await;
        for storage in [self.one(), self.other()] {
            if let Some(content) = content(storage, expected).await {
                assert!(content == bytes, "{} bytes of {}", content.len(), bytes.len());
            }
        }
    }

    /// Both processes find the record. The upload can be completed, and then both find the bytes. Returns the complete
    /// record.
    pub(super) async fn assert_completes(&self, expected: &Stored, bytes: &[u8]) -> Stored {
        self.assert_has(expected, bytes).await;
        let upload = &expected.upload;
        let rest = upload.length.map_or(3, |length| length - upload.offset);
        let rest = vec![b'.'; rest.try_into().unwrap()];
        let mut change = adding(expected, rest.len() as u64);
        (change.length, change.phase) = (Some(change.offset), Phase::Complete);
        let mut writer = self.other().open(expected).await.unwrap();
        writer.write(Bytes::from(rest.clone()).into()).await.unwrap();
        let version = writer.commit(&change).await.unwrap();
        drop(writer);
        let complete = expected.clone().changed(&change, version);
        self.assert_has(&complete, &[bytes, &rest].concat()).await;
        complete
    }

    /// Both processes find that no other process holds the upload, soon after its writer was dropped without a
    /// commit.
    pub(super) async fn assert_released(&self, id: &UploadId) {
        for storage in [self.one(), self.other()] {
            let is_held = async || storage.load(id).await.unwrap().is_some_and(|stored| stored.held_elsewhere);
            for _ in 0..TRIES {
                if !is_held().await {
                    break;
                }
                sleep(TRY).await;
            }
            assert!(!is_held().await, "a writer that was dropped still holds its upload");
        }
    }

    pub(super) async fn assert_gone(&self, id: &UploadId) {
        for storage in [self.one(), self.other()] {
            assert_eq!(storage.load(id).await.unwrap(), None);
        }
    }
}
