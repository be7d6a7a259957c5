//! Conformance tests for assembling.

use bytes::Bytes;
use tus_core::{Failure, Kind, Phase, Stored};

use super::{Fixture, uploads::*};
use crate::Storage;

/// A final upload gets the bytes of its parts, in order; a part may occur several times. The parts do not change.
pub async fn parts_are_assembled_in_order(fixture: Fixture) {
    let parts = three_parts(fixture.one()).await;
    let named: Vec<_> = [0, 1, 2, 2].map(|at: usize| parts[at].clone()).into();
    let complete = created(fixture.one(), final_of("complete", &["p1", "p2", "p3", "p3"])).await;
    let change = assembled(&complete, 17);
    let version = fixture.other().assemble(&complete, &named, &change).await.unwrap();
    let complete = complete.changed(&change, version);
    fixture.assert_has(&complete, b"hello world world").await;
    for (part, bytes) in parts.iter().zip(["hello", "", " world"]) {
        fixture.assert_has(part, bytes.as_bytes()).await;
    }
}

/// An upload of empty parts, or of no parts, is empty. The change may lead to [`Phase::Notified`] directly.
pub async fn empty_parts_make_an_empty_upload(fixture: Fixture) {
    let part = created(fixture.one(), partial("part", 0)).await;
    for (name, parts) in [("empty", &[part][..]), ("of-none", &[])] {
        let named: Vec<_> = parts.iter().map(|part| part.upload.id.as_str()).collect();
        let complete = created(fixture.one(), final_of(name, &named)).await;
        let mut change = assembled(&complete, 0);
        change.phase = Phase::Notified;
        let version = fixture.other().assemble(&complete, parts, &change).await.unwrap();
        fixture.assert_has(&complete.changed(&change, version), b"").await;
    }
}

/// An assembled upload does not depend on its parts.
pub async fn an_assembled_upload_does_not_need_its_parts(fixture: Fixture) {
    let parts = three_parts(fixture.one()).await;
    let complete = created(fixture.one(), final_of("complete", &["p1", "p2", "p3"])).await;
    let change = assembled(&complete, 11);
    let version = fixture.one().assemble(&complete, &parts, &change).await.unwrap();
    let complete = complete.changed(&change, version);
    for part in &parts {
        fixture.other().remove(part).await.unwrap();
    }
    fixture.assert_has(&complete, b"hello world").await;
    fixture.other().remove(&complete).await.unwrap();
}

/// If a part is missing or replaced, or the final upload has changed, nothing changes.
pub async fn a_failed_assembly_changes_nothing(fixture: Fixture) {
    let parts = three_parts(fixture.one()).await;
    let stale = created(fixture.one(), final_of("complete", &["p1", "p2", "p3"])).await;
    let complete = updated(fixture.other(), &stale, &expiring(&stale, 4_000_000_000)).await;
    let conflict = fixture.one().assemble(&stale, &parts, &assembled(&stale, 11)).await;
    assert_eq!(failure(conflict), Failure::Conflict);
    fixture.assert_has(&complete, b"").await;

    let change = assembled(&complete, 11);
    fixture.other().remove(&parts[2]).await.unwrap();
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(failure(storage.assemble(&complete, &parts, &change).await), Failure::NotFound);
        fixture.assert_has(&complete, b"").await;
    }
    let again = created(fixture.one(), partial("p3", 6)).await;
    let again = appended(fixture.one(), &again, " WORLD").await;
    assert_eq!(failure(fixture.other().assemble(&complete, &parts, &change).await), Failure::NotFound);
    fixture.assert_has(&complete, b"").await;
    fixture.assert_has(&again, b" WORLD").await;
    // The failures did no harm: with the right parts, it succeeds.
    let parts = [parts[0].clone(), parts[1].clone(), again];
    let version = fixture.other().assemble(&complete, &parts, &change).await.unwrap();
    fixture.assert_has(&complete.changed(&change, version), b"hello WORLD").await;
}

/// An upload is assembled once. Another attempt, with the old record or the new one, is a conflict.
pub async fn an_upload_is_assembled_once(fixture: Fixture) {
    let parts = three_parts(fixture.one()).await;
    let assembling = created(fixture.one(), final_of("complete", &["p1", "p2", "p3"])).await;
    let change = assembled(&assembling, 11);
    let version = fixture.one().assemble(&assembling, &parts, &change).await.unwrap();
    let complete = assembling.clone().changed(&change, version);
    for storage in [fixture.one(), fixture.other()] {
        for seen in [&assembling, &complete] {
            assert_eq!(failure(storage.assemble(seen, &parts, &change).await), Failure::Conflict);
        }
    }
    fixture.assert_has(&complete, b"hello world").await;
}

/// An upload that is assembling but not final is completed from its own bytes.
pub async fn an_upload_without_parts_is_assembled_from_its_own_bytes(fixture: Fixture) {
    for (name, kind) in [("single", Kind::Single), ("partial", Kind::Partial)] {
        let stored = created(fixture.one(), upload(name, kind, Some(11))).await;
        let stored = appended(fixture.one(), &stored, "hello ").await;
        let mut writer = fixture.one().open(&stored).await.unwrap();
        writer.write(Bytes::from_static(b"world").into()).await.unwrap();
        let mut change = adding(&stored, 5);
        change.phase = Phase::Assembling;
        let version = writer.commit(&change).await.unwrap();
        drop(writer);
        let assembling = stored.changed(&change, version);
        fixture.assert_is(&assembling).await;
        let change = to_phase(&assembling, Phase::Complete);
        let version = fixture.other().assemble(&assembling, &[], &change).await.unwrap();
        let complete = assembling.clone().changed(&change, version);
        fixture.assert_has(&complete, b"hello world").await;
        assert_eq!(failure(fixture.one().assemble(&assembling, &[], &change).await), Failure::Conflict);
    }
}

/// [`Storage::waiting_for`] returns the final uploads that name the part and are not assembled yet, each once.
pub async fn waiting_final_uploads_are_found_by_part(fixture: Fixture) {
    let part = created(fixture.one(), partial("part", 0)).await;
    let waiting = async |storage: &dyn Storage, part| {
        let mut finals = storage.waiting_for(&id(part), usize::MAX).await.unwrap();
        finals.sort();
        finals.into_iter().map(|id| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(waiting(fixture.one(), "part").await, [""; 0]);
    let one = created(fixture.one(), final_of("one", &["part", "missing", "part"])).await;
    let two = created(fixture.other(), final_of("two", &["part", "part"])).await;
    created(fixture.one(), final_of("another", &["other"])).await;
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(waiting(storage, "part").await, ["one", "two"]);
        assert_eq!(waiting(storage, "missing").await, ["one"]);
        assert_eq!(waiting(storage, "other").await, ["another"]);
        assert_eq!(waiting(storage, "par").await, [""; 0]);
        assert_eq!(storage.waiting_for(&id("part"), 1).await.unwrap().len(), 1);
    }
    // Changing another field does not end the waiting.
    let one = updated(fixture.other(), &one, &expiring(&one, 4_000_000_000)).await;
    let change = assembled(&two, 0);
    fixture.one().assemble(&two, &[part.clone(), part], &change).await.unwrap();
    assert_eq!(waiting(fixture.other(), "part").await, ["one"]);
    fixture.one().update(&one, &to_phase(&one, Phase::Invalid)).await.unwrap();
    assert_eq!(waiting(fixture.other(), "part").await, [""; 0]);
    let again = created(fixture.other(), final_of("again", &["part"])).await;
    fixture.other().remove(&again).await.unwrap();
    assert_eq!(waiting(fixture.one(), "part").await, [""; 0]);
}

/// [`Storage::pending_finals`] counts the final uploads that are not assembled yet, up to the given limit.
pub async fn pending_final_uploads_are_counted(fixture: Fixture) {
    let part = created(fixture.one(), partial("part", 0)).await;
    created(fixture.one(), partial("unfinished", 5)).await;
    created(fixture.one(), upload("single", Kind::Single, Some(5))).await;
    let counted = async |at_most| {
        let one = fixture.one().pending_finals(at_most).await.unwrap();
        assert_eq!(fixture.other().pending_finals(at_most).await.unwrap(), one);
        one
    };
    assert_eq!(counted(9).await, 0);
    let one = created(fixture.one(), final_of("one", &["part", "missing"])).await;
    let two = created(fixture.other(), final_of("two", &["part", "part"])).await;
    let three = created(fixture.one(), final_of("three", &["part"])).await;
    assert_eq!([counted(9).await, counted(3).await, counted(2).await, counted(0).await], [3, 3, 2, 0]);
    updated(fixture.other(), &three, &expiring(&three, 4_000_000_000)).await;
    assert_eq!(counted(9).await, 3);
    let mut change = assembled(&two, 0);
    change.phase = Phase::Notified;
    fixture.one().assemble(&two, &[part.clone(), part], &change).await.unwrap();
    assert_eq!(counted(9).await, 2);
    fixture.other().remove(&one).await.unwrap();
    assert_eq!(counted(9).await, 1);
}

/// "hello", nothing, and " world".
async fn three_parts(storage: &dyn Storage) -> [Stored; 3] {
    let one = created(storage, partial("p1", 5)).await;
    let two = created(storage, partial("p2", 0)).await;
    let three = created(storage, partial("p3", 6)).await;
    [appended(storage, &one, "hello").await, two, appended(storage, &three, " world").await]
}
