//! Uploads for all tests, and common operations on them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tus_service::{Change, Incarnation, Kind, Phase, Storage, StorageError, Stored, Upload, Writer};

use crate::ObjectStore;

/// Bytes of which no two windows are equal.
pub(super) fn bytes(length: u64, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length as usize).collect()
}

pub(super) fn upload(name: &str, kind: Kind, length: Option<u64>) -> Upload {
    static LAST: AtomicU64 = AtomicU64::new(1);
    let bits = u128::from(LAST.fetch_add(1, Relaxed));
    let mut upload = Upload::new(name.parse().unwrap(), Incarnation::from_random(bits), kind);
    upload.length = length;
    upload
}

pub(super) async fn created(store: &ObjectStore, name: &str, kind: Kind, length: Option<u64>) -> Stored {
    let upload = upload(name, kind, length);
    let version = store.create(&upload).await.unwrap();
    Stored::new(upload, version)
}

/// The change to commit when this many more bytes have arrived.
pub(super) fn more(stored: &Stored, bytes: u64) -> Change {
    let mut change = Change::of(&stored.upload);
    change.offset += bytes;
    if Some(change.offset) == change.length {
        change.phase = Phase::Complete;
    }
    change
}

/// The same for a hint: it never completes.
pub(super) fn hinted(stored: &Stored, bytes: u64) -> Change {
    let mut change = Change::of(&stored.upload);
    change.offset += bytes;
    change
}

pub(super) async fn written(writer: &mut dyn Writer, mut bytes: Bytes) -> Result<(), StorageError> {
    while !bytes.is_empty() {
        writer.write(bytes.split_to(bytes.len().min(10_000)).into()).await?;
    }
    Ok(())
}

pub(super) async fn appended(store: &ObjectStore, stored: Stored, bytes: Bytes) -> Result<Stored, StorageError> {
    let change = more(&stored, bytes.len() as u64);
    let mut writer = store.open(&stored).await?;
    written(&mut *writer, bytes).await?;
    let version = writer.commit(&change).await?;
    Ok(stored.changed(&change, version))
}

pub(super) async fn loaded(store: &ObjectStore, stored: &Stored) -> Stored {
    store.load(&stored.upload.id).await.unwrap().unwrap()
}

pub(super) async fn content(store: &ObjectStore, stored: &Stored) -> Bytes {
    let stream = store.read(stored, 0..u64::MAX).await.unwrap();
    stream.try_collect::<Vec<_>>().await.unwrap().concat().into()
}
