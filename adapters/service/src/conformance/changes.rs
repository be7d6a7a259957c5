//! Conformance tests for compare-and-set: a change applies to the version that was seen, or not at all.

use bytes::Bytes;
use futures_util::future;
use tus_core::{Change, Failure, Kind, Phase, Stored, Verbatim};

use super::{Fixture, uploads::*};
#[cfg(doc)]
use crate::Storage;

/// [`Storage::update`] makes the change and changes nothing else.
pub async fn an_update_changes_only_its_fields(fixture: Fixture) {
    let mut upload = upload("updated", Kind::Single, None);
    upload.owner = Some("anna".into());
    let stored = created(fixture.one(), upload).await;
    let mut now = appended(fixture.one(), &stored, "hello").await;
    let mut versions = vec![stored.version, now.version.clone()];
    for (phase, storage) in Phase::ALL.into_iter().zip(fixture.in_turn()) {
        for (length, expires) in [(Some(5), Some(at(100))), (Some(9), None), (None, Some(at(5_000_000_000)))] {
            let mut change = to_phase(&now, phase);
            (change.length, change.expires) = (length, expires);
            now = updated(storage, &now, &change).await;
            assert!(!versions.contains(&now.version), "every change makes a new version");
            versions.push(now.version.clone());
            fixture.assert_has(&now, b"hello").await;
        }
    }
}

/// [`Upload::verbatim`](tus_core::Upload::verbatim) changes only if the change includes it.
pub async fn an_update_changes_verbatim_values(fixture: Fixture) {
    let mut upload = upload("repeated", Kind::Single, None);
    upload.verbatim = Verbatim::from_bytes("upload-metadata:a\n");
    let stored = created(fixture.one(), upload).await;
    let mut now = appended(fixture.one(), &stored, "hello").await;
    let large = [&b">POST /\n<200\n\n"[..], &[0xff; 70_000]].concat();
    let verbatims = [Some(Verbatim::from_bytes(large)), None, Some(Verbatim::default()), None];
    for (verbatim, storage) in verbatims.into_iter().zip(fixture.in_turn()) {
        let mut change = to_phase(&now, Phase::Complete);
        change.verbatim = verbatim.map(Box::new);
        now = updated(storage, &now, &change).await;
        fixture.assert_has(&now, b"hello").await;
    }
}

/// [`Storage::update_all`] makes each change that [`Storage::update`] would make, and passes over the others.
pub async fn many_changes_are_made_each_or_not_at_all(fixture: Fixture) {
    let mut changes = Vec::new();
    let (stale, changed) = changed_meanwhile(&fixture, "many-stale").await;
    let gone = created(fixture.one(), upload("many-gone", Kind::Single, None)).await;
    fixture.one().remove(&gone).await.unwrap();
    let mut expected = Vec::new();
    for name in ["many-1", "many-2", "many-3"] {
        let stored = created(fixture.one(), upload(name, Kind::Partial, Some(5))).await;
        expected.push(appended(fixture.one(), &stored, "hello").await);
    }
    for (place, stored) in [&expected[0], &stale, &expected[1], &gone, &expected[2]].into_iter().enumerate() {
        let mut change = to_phase(stored, if place == 4 { Phase::Invalid } else { Phase::Complete });
        change.expires = Some(at(100 + place as u64));
        changes.push((stored.clone(), change));
    }
    fixture.other().update_all(&changes).await.unwrap();
    for ((stored, change), now) in [&changes[0], &changes[2], &changes[4]].into_iter().zip(&expected) {
        let found = fixture.one().load(&stored.upload.id).await.unwrap().unwrap();
        assert_ne!(found.version, now.version, "every change makes a new version");
        fixture.assert_has(&now.clone().changed(change, found.version), b"hello").await;
    }
    fixture.assert_completes(&changed, b"hello").await;
    assert_eq!(fixture.one().load(&gone.upload.id).await.unwrap(), None);
    fixture.one().update_all(&[]).await.unwrap();

    // Changes of the expiry alone, which a storage may make together.
    let (stale, changed) = changed_meanwhile(&fixture, "expiry-stale").await;
    let gone = created(fixture.one(), upload("expiry-gone", Kind::Single, None)).await;
    fixture.one().remove(&gone).await.unwrap();
    let mut seen = vec![stale, gone];
    for number in 0..70 {
        seen.push(created(fixture.one(), upload(&format!("expiry-{number}"), Kind::Partial, Some(5))).await);
    }
    let expires = Some(at(1000));
    let change = |stored: &Stored| {
        let mut change = to_phase(stored, stored.upload.phase);
        change.expires = expires;
        change
    };
    let changes: Vec<_> = seen.iter().map(|stored| (stored.clone(), change(stored))).collect();
    fixture.one().update_all(&changes).await.unwrap();
    for stored in &seen[2..] {
        let found = fixture.other().load(&stored.upload.id).await.unwrap().unwrap();
        assert_eq!(found.upload.expires, expires);
        assert_ne!(found.version, stored.version, "every change makes a new version");
    }
    fixture.assert_completes(&changed, b"hello").await;
}

/// An update of an outdated version is a conflict and changes nothing.
pub async fn an_update_of_an_outdated_version_fails(fixture: Fixture) {
    let (stale, now) = changed_meanwhile(&fixture, "stale-update").await;
    for storage in [fixture.one(), fixture.other()] {
        for phase in [Phase::Receiving, Phase::Complete, Phase::Invalid] {
            assert_eq!(failure(storage.update(&stale, &to_phase(&stale, phase)).await), Failure::Conflict);
        }
    }
    fixture.assert_completes(&now, b"hello").await;
}

/// A removal of an outdated version is a conflict and removes nothing.
pub async fn a_removal_of_an_outdated_version_fails(fixture: Fixture) {
    let (stale, now) = changed_meanwhile(&fixture, "stale-removal").await;
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(failure(storage.remove(&stale).await), Failure::Conflict);
    }
    let complete = fixture.assert_completes(&now, b"hello").await;
    fixture.other().remove(&complete).await.unwrap();
}

/// Bytes are not added to an outdated version, whether its writer was opened before or after the change.
pub async fn a_commit_to_an_outdated_version_fails(fixture: Fixture) {
    let (stale, now) = changed_meanwhile(&fixture, "stale-open").await;
    for storage in [fixture.one(), fixture.other()] {
        for bytes in ["late!", ""] {
            let bytes = Bytes::from_static(bytes.as_bytes());
            assert_eq!(failure(try_append(storage, &stale, bytes).await), Failure::Conflict);
        }
    }
    fixture.assert_has(&now, b"hello").await;

    let mut writer = fixture.one().open(&now).await.unwrap();
    writer.write(Bytes::from_static(b" late").into()).await.unwrap();
    let changed = updated(fixture.other(), &now, &expiring(&now, 4_000_000_000)).await;
    assert_eq!(failure(writer.commit(&adding(&now, 5)).await), Failure::Conflict);
    drop(writer);
    fixture.assert_released(&now.upload.id).await;
    fixture.assert_has(&changed, b"hello").await;
    let complete = appended(fixture.other(), &changed, " world").await;
    fixture.assert_has(&complete, b"hello world").await;
}

/// A version of an upload, and the next one with the bytes "hello".
async fn changed_meanwhile(fixture: &Fixture, name: &str) -> (Stored, Stored) {
    let stale = created(fixture.one(), single(name)).await;
    let now = appended(fixture.one(), &stale, "hello").await;
    (stale, now)
}

/// Of two writers of one upload, the first commit wins, unless the second writer cannot be opened at all.
pub async fn the_first_commit_wins(fixture: Fixture) {
    let stored = created(fixture.one(), single("race")).await;
    let mut first = fixture.one().open(&stored).await.unwrap();
    first.write(Bytes::from_static(b"11").into()).await.unwrap();
    let mut second = fixture.other().open(&stored).await;
    if let Ok(second) = &mut second {
        second.write(Bytes::from_static(b"2222").into()).await.unwrap();
    }
    let change = adding(&stored, 2);
    let version = first.commit(&change).await.unwrap();
    match second {
        Err(error) => assert_eq!(error.failure(), Failure::Busy),
        Ok(mut second) => assert_eq!(failure(second.commit(&adding(&stored, 4)).await), Failure::Conflict),
    }
    drop(first);
    let stored = stored.changed(&change, version);
    fixture.assert_released(&stored.upload.id).await;
    fixture.assert_has(&stored, b"11").await;
    let stored = appended(fixture.other(), &stored, "33").await;
    fixture.assert_completes(&stored, b"1133").await;
}

/// Of concurrent changes to one version, one succeeds.
pub async fn one_of_many_updates_succeeds(fixture: Fixture) {
    let stored = created(fixture.one(), single("updates")).await;
    let mut now = appended(fixture.one(), &stored, "hello").await;
    for round in 0..4 {
        let changes: Vec<_> = (0..8).map(|n| expiring(&now, 1000 * round + n)).collect();
        let updates = fixture.in_turn().zip(&changes).map(|(storage, change)| storage.update(&now, change));
        let mut made = Vec::new();
        for (change, update) in changes.iter().zip(future::join_all(updates).await) {
            match update {
                Ok(version) => made.push(now.clone().changed(change, version)),
                Err(error) => assert_eq!(error.failure(), Failure::Conflict),
            }
        }
        assert_eq!(made.len(), 1);
        now = made.remove(0);
        fixture.assert_has(&now, b"hello").await;
    }
    fixture.assert_completes(&now, b"hello").await;
}

/// A request that declares a length notices if another one was declared first.
pub async fn a_length_is_declared_once(fixture: Fixture) {
    let stored = created(fixture.one(), upload("declared", Kind::Single, None)).await;
    let declared = |length| {
        let mut change = Change::of(&stored.upload);
        change.length = Some(length);
        change
    };
    let mut writer = fixture.one().open(&stored).await.unwrap();
    let version = writer.commit(&declared(3)).await.unwrap();
    drop(writer);
    if let Ok(mut late) = fixture.other().open(&stored).await {
        assert_eq!(failure(late.commit(&declared(9)).await), Failure::Conflict);
    }
    assert_eq!(failure(fixture.other().update(&stored, &declared(9)).await), Failure::Conflict);
    fixture.assert_released(&stored.upload.id).await;
    fixture.assert_completes(&stored.clone().changed(&declared(3), version), b"").await;
}

/// Changes and open writers fail after the upload is gone.
pub async fn a_missing_upload_cannot_be_changed(fixture: Fixture) {
    let stored = created(fixture.one(), single("gone")).await;
    let stored = appended(fixture.one(), &stored, "secret").await;
    let part = created(fixture.one(), partial("gone-part", 0)).await;
    let complete = created(fixture.one(), final_of("gone-final", &["gone-part"])).await;
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(Bytes::from_static(b"late").into()).await.unwrap();
    fixture.other().remove(&stored).await.unwrap();
    fixture.other().remove(&complete).await.unwrap();
    assert_eq!(failure(writer.commit(&adding(&stored, 4)).await), Failure::NotFound);
    drop(writer);
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(failure(storage.update(&stored, &to_phase(&stored, Phase::Invalid)).await), Failure::NotFound);
        assert_eq!(failure(storage.remove(&stored).await), Failure::NotFound);
        let assembly = storage.assemble(&complete, std::slice::from_ref(&part), &assembled(&complete, 0)).await;
        assert_eq!(failure(assembly), Failure::NotFound);
        let appended = try_append(storage, &stored, Bytes::from_static(b"late")).await;
        // For a storage that only compares versions, a missing upload may look like a changed one.
        assert!(matches!(failure(appended), Failure::NotFound | Failure::Conflict));
    }
    fixture.assert_gone(&stored.upload.id).await;
    fixture.assert_gone(&complete.upload.id).await;
}
