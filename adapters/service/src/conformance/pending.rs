//! Conformance tests for work without a request.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::StreamExt;
use tus_core::{Dialect, Kind, Phase, Upload};

use super::{Fixture, uploads::*};
use crate::{Checkpoint, Hint};

/// [`Storage::pending`](crate::Storage::pending) returns the uploads that have expired at the given time.
pub async fn expired_uploads_are_pending(fixture: Fixture) {
    for (name, expires) in [("late", Some(300)), ("never", None), ("early", Some(100)), ("middle", Some(200))] {
        let mut upload = single(name);
        upload.expires = expires.map(at);
        created(fixture.one(), upload).await;
    }
    for storage in [fixture.one(), fixture.other()] {
        for (now, expected) in [
            (99, names([])),
            (100, names(["early"])),
            (200, names(["early", "middle"])),
            (u32::MAX.into(), names(["early", "middle", "late"])),
        ] {
            assert_eq!(distinct(storage.pending(at(now))).await, expected, "at {now}");
        }
    }
    // They are returned as stored, with the expiry of the last change.
    let early = fixture.one().load(&id("early")).await.unwrap().unwrap();
    assert_eq!(all(fixture.other().pending(at(100))).await, std::slice::from_ref(&early));
    let early = updated(fixture.other(), &early, &expiring(&early, 250)).await;
    let never = fixture.one().load(&id("never")).await.unwrap().unwrap();
    let never = updated(fixture.one(), &never, &expiring(&never, 150)).await;
    assert_eq!(distinct(fixture.other().pending(at(200))).await, names(["middle", "never"]));
    let mut change = expiring(&early, 0);
    change.expires = None;
    updated(fixture.one(), &early, &change).await;
    fixture.other().remove(&never).await.unwrap();
    assert_eq!(distinct(fixture.one().pending(at(250))).await, names(["middle"]));
}

/// The expiry may come with any change.
pub async fn an_expiry_of_any_change_is_pending(fixture: Fixture) {
    let changed = created(fixture.one(), single("updated")).await;
    updated(fixture.one(), &changed, &expiring(&changed, 100)).await;

    let stored = created(fixture.one(), single("committed")).await;
    let mut change = adding(&stored, 5);
    change.expires = Some(at(100));
    committed(fixture.one(), &stored, "hello", &change).await;

    let stored = created(fixture.one(), single("completed")).await;
    let mut change = adding(&stored, 11);
    (change.phase, change.expires) = (Phase::Notified, Some(at(100)));
    committed(fixture.one(), &stored, "hello world", &change).await;

    let part = created(fixture.one(), partial("part", 0)).await;
    let stored = created(fixture.one(), final_of("assembled", &["part"])).await;
    let mut change = assembled(&stored, 0);
    (change.phase, change.expires) = (Phase::Notified, Some(at(100)));
    fixture.one().assemble(&stored, &[part], &change).await.unwrap();

    let stored = created(fixture.one(), single("checkpoint")).await;
    let mut change = adding(&stored, 5);
    change.expires = Some(at(100));
    let mut writer = fixture.one().open(&stored).await.unwrap();
    writer.write(Bytes::from_static(b"hello").into()).await.unwrap();
    let taken = writer.checkpoint(&change, Hint::Stalled).await.unwrap();
    drop(writer);
    let mut expected = names(["updated", "committed", "completed", "assembled"]);
    if taken == Checkpoint::Taken {
        with_offset(fixture.other(), &stored, 5).await;
        expected.insert("checkpoint".into());
    }
    assert_eq!(distinct(fixture.other().pending(at(99))).await, names([]));
    assert_eq!(distinct(fixture.other().pending(at(100))).await, expected);
}

/// [`Storage::pending`](crate::Storage::pending) returns the uploads that are due, and no others.
pub async fn due_uploads_are_pending(fixture: Fixture) {
    let mut expected = BTreeSet::new();
    let kinds = [("single", Kind::Single), ("partial", Kind::Partial), ("final", Kind::Final(vec![part("part", 0)]))];
    for (kind, of_kind) in kinds {
        for phase in Phase::ALL {
            let mut upload: Upload = upload(&format!("{kind}-{phase:?}"), of_kind.clone(), Some(0));
            upload.phase = phase;
            if phase == Phase::Receiving {
                upload.dialect = Dialect::Draft(9);
            }
            expected.extend(upload.is_due().then(|| upload.id.to_string()));
            created(fixture.one(), upload).await;
        }
    }
    assert_eq!(expected.len(), 5);
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(distinct(storage.pending(at(0))).await, expected);
        assert_eq!(distinct(storage.pending(at(u32::MAX.into()))).await, expected);
    }
    // Uploads that become due by a commit are found; those that are done are not.
    let stored = created(fixture.one(), single("committed")).await;
    let stored = appended(fixture.one(), &stored, "hello world").await;
    expected.insert("committed".into());
    assert_eq!(distinct(fixture.other().pending(at(0))).await, expected);
    updated(fixture.other(), &stored, &to_phase(&stored, Phase::Notified)).await;
    expected.remove("committed");
    assert_eq!(distinct(fixture.one().pending(at(0))).await, expected);
}

/// Each pending upload is found once, however many there are, even if it is both due and expired.
pub async fn every_pending_upload_is_found(fixture: Fixture) {
    let pending = |n: usize| {
        let mut upload = upload(&format!("pending-{n}"), Kind::Single, Some(0));
        let expires = match n % 3 {
            // Due and expired, some at the same time.
            0 => 100 + n as u64 % 7,
            // Expired.
            1 => {
                upload.phase = Phase::Notified;
                100
            }
            // Due.
            _ => 1000,
        };
        upload.expires = Some(at(expires));
        upload
    };
    let uploads: Vec<_> = (0..MANY).map(pending).collect();
    let expected: BTreeSet<_> = uploads.iter().map(|upload| upload.id.to_string()).collect();
    all_created(fixture.one(), uploads.into_iter().chain((0..MANY).map(|n| single(&format!("other-{n}"))))).await;
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(distinct(storage.pending(at(200))).await, expected);
        let early: Vec<_> = storage.pending(at(200)).take(3).collect().await;
        assert!(early.len() == 3 && early.iter().all(Result::is_ok));
        let due = distinct(storage.pending(at(0))).await;
        assert_eq!(due.len(), 2 * MANY / 3);
    }
}

/// Pending work can be done while the list is read: a changed or removed upload hides no other.
pub async fn pending_work_can_be_done_while_listing(fixture: Fixture) {
    let pending = |n: usize| {
        let mut upload = upload(&format!("pending-{n}"), Kind::Single, Some(0));
        upload.expires = n.is_multiple_of(2).then(|| at(100 + n as u64));
        upload
    };
    all_created(fixture.one(), (0..MANY).map(pending)).await;
    let mut stream = fixture.one().pending(at(1000));
    let mut done = BTreeSet::new();
    while let Some(stored) = stream.next().await {
        let stored = stored.unwrap();
        match stored.upload.expires {
            Some(_) => fixture.other().remove(&stored).await.unwrap(),
            None => drop(updated(fixture.other(), &stored, &to_phase(&stored, Phase::Notified)).await),
        }
        assert!(done.insert(stored.upload.id));
    }
    assert_eq!(done.len(), MANY);
    assert_eq!(distinct(fixture.other().pending(at(1000))).await, names([]));
}
