//! Conformance tests for reused ids: operations apply to one incarnation, or not at all.

use bytes::Bytes;
use tus_core::{Failure, Phase, Stored};

use super::{Fixture, uploads::*};

/// A change that was based on another incarnation is a conflict, and the new incarnation does not change.
pub async fn a_reused_id_is_a_different_upload(fixture: Fixture) {
    let (old, new) = used_again(&fixture, "again").await;
    for storage in [fixture.one(), fixture.other()] {
        for stale in look_alikes(&old, &new) {
            assert_eq!(failure(storage.update(&stale, &to_phase(&stale, Phase::Invalid)).await), Failure::Conflict);
            assert_eq!(failure(storage.remove(&stale).await), Failure::Conflict);
            for bytes in ["late", ""] {
                let bytes = Bytes::from_static(bytes.as_bytes());
                assert_eq!(failure(try_append(storage, &stale, bytes).await), Failure::Conflict);
            }
        }
    }
    fixture.assert_completes(&new, b"neu").await;

    let part = created(fixture.one(), partial("part", 0)).await;
    let old = created(fixture.one(), final_of("final", &["part"])).await;
    fixture.one().remove(&old).await.unwrap();
    let new = created(fixture.other(), final_of("final", &["part"])).await;
    for storage in [fixture.one(), fixture.other()] {
        for stale in look_alikes(&old, &new) {
            let assembly = storage.assemble(&stale, std::slice::from_ref(&part), &assembled(&stale, 0)).await;
            assert_eq!(failure(assembly), Failure::Conflict);
        }
    }
    fixture.assert_is(&new).await;
}

/// A writer that was opened for another incarnation adds nothing to the new one.
pub async fn a_writer_of_an_old_incarnation_adds_nothing_to_the_new_one(fixture: Fixture) {
    let old = created(fixture.one(), single("again")).await;
    let old = appended(fixture.one(), &old, "old").await;
    let mut writer = fixture.one().open(&old).await.unwrap();
    writer.write(Bytes::from_static(b" late").into()).await.unwrap();
    fixture.other().remove(&old).await.unwrap();
    let new = created(fixture.other(), single("again")).await;
    let new = appended(fixture.other(), &new, "new").await;
    assert_eq!(failure(writer.commit(&adding(&old, 5)).await), Failure::Conflict);
    drop(writer);
    fixture.assert_has(&new, b"new").await;
    let new = appended(fixture.other(), &new, "er").await;
    fixture.assert_completes(&new, b"newer").await;
}

/// [`Storage::read`](crate::Storage::read) does not find the bytes of another incarnation.
pub async fn an_old_incarnation_is_not_read(fixture: Fixture) {
    let (old, new) = used_again(&fixture, "again").await;
    for storage in [fixture.one(), fixture.other()] {
        for stale in look_alikes(&old, &new) {
            for range in [0..3, 1..2, 0..u64::MAX] {
                assert_eq!(failure(storage.read(&stale, range).await), Failure::NotFound);
            }
        }
    }
    fixture.assert_completes(&new, b"neu").await;
    let empty = created(fixture.one(), single("without-bytes")).await;
    fixture.assert_completes(&empty, b"").await;
}

/// An upload that is gone and one that exists, with the same id, length and number of changes.
async fn used_again(fixture: &Fixture, name: &str) -> (Stored, Stored) {
    let old = created(fixture.one(), single(name)).await;
    let old = appended(fixture.one(), &old, "old").await;
    fixture.one().remove(&old).await.unwrap();
    let new = created(fixture.other(), single(name)).await;
    fixture.assert_has(&new, b"").await;
    (old, appended(fixture.other(), &new, "neu").await)
}

/// Records of the old upload, including versions that look like the new one's.
fn look_alikes(old: &Stored, new: &Stored) -> [Stored; 2] {
    let mut look_alike = old.clone();
    look_alike.version = new.version.clone();
    [old.clone(), look_alike]
}
