//! Conformance tests for records: creation, loading and removal.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future;
use tus_core::{Change, Dialect, Failure, Kind, MAX_LENGTH, Metadata, Phase, Upload, UploadId, Verbatim};

use super::{Fixture, uploads::*};

/// A record is loaded as it was created: every field, byte by byte.
pub async fn records_are_loaded_as_stored(fixture: Fixture) {
    let mut full = upload("full", Kind::Final(vec![part("b", u128::MAX), part("a", 1), part("b", 0)]), None);
    full.dialect = Dialect::Draft(9);
    full.max_size = Some(MAX_LENGTH);
    full.metadata =
        Metadata::from_pairs([("z", &b"\xff\0\n"[..]), ("filename", "Größe".as_bytes()), ("a", b"")]).unwrap();
    full.owner = Some("Anna O'Hara; \"Ω\"\n".into());
    full.private = Bytes::from_static(b"\0\x01\xfe\xff");
    full.verbatim = Verbatim::from_bytes(&b"upload-metadata:\xe4,  \n"[..]);
    full.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(4_000_000_000_001));
    let longest = upload(&"x".repeat(UploadId::MAX_LEN), Kind::Single, Some(MAX_LENGTH));
    let mut draft = single("draft");
    draft.dialect = Dialect::Draft(u8::MAX);
    let mut empty = upload("empty", Kind::Single, Some(0));
    empty.phase = Phase::Notified;
    let mut nobody = partial("partial", 3);
    nobody.owner = Some(String::new());
    let others = [partial("part-of-nothing", 0), upload("deferred", Kind::Single, None), final_of("no-parts", &[])];
    for upload in [full, longest, draft, empty, nobody].into_iter().chain(others) {
        let stored = created(fixture.one(), upload).await;
        fixture.assert_has(&stored, b"").await;
    }
}

/// Times are stored at least to the millisecond, and other changes do not affect them.
pub async fn times_are_stored_to_the_millisecond(fixture: Fixture) {
    let mut upload = single("times");
    upload.created = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
    upload.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(4_000_000_000_987_654_321));
    let stored = created(fixture.one(), upload.clone()).await;
    let near = |now: &Upload| {
        let (created, expires) = (now.created, now.expires.unwrap());
        for (now, then) in [(created, upload.created), (expires, upload.expires.unwrap())] {
            let apart = now.duration_since(then).unwrap_or_else(|before| before.duration());
            assert!(apart <= Duration::from_millis(1), "{apart:?}");
        }
        created
    };
    let loaded = fixture.other().load(&upload.id).await.unwrap().unwrap();
    let created = near(&loaded.upload);
    appended(fixture.one(), &stored, "hello").await;
    let loaded = fixture.other().load(&upload.id).await.unwrap().unwrap();
    assert_eq!(near(&loaded.upload), created);
}

/// [`Storage::create`](crate::Storage::create) leaves an existing upload with that id unchanged.
pub async fn an_id_can_be_created_once(fixture: Fixture) {
    let taken = created(fixture.one(), single("taken")).await;
    let taken = appended(fixture.one(), &taken, "hello").await;
    for (storage, again) in fixture.in_turn().zip([single("taken"), partial("taken", 0), taken.upload.clone()]) {
        assert_eq!(failure(storage.create(&again).await), Failure::Exists);
    }
    fixture.assert_completes(&taken, b"hello").await;
}

/// Of concurrent creations with one id, one succeeds.
pub async fn one_of_many_creations_of_an_id_succeeds(fixture: Fixture) {
    let uploads: Vec<_> = (0..8).map(|length| upload("race", Kind::Single, Some(length + 1))).collect();
    let creations = fixture.in_turn().zip(&uploads).map(|(storage, upload)| storage.create(upload));
    let mut winners = Vec::new();
    for (upload, creation) in uploads.iter().zip(future::join_all(creations).await) {
        match creation {
            Ok(version) => winners.push(tus_core::Stored::new(upload.clone(), version)),
            Err(error) => assert_eq!(error.failure(), Failure::Exists),
        }
    }
    assert_eq!(winners.len(), 1);
    fixture.assert_completes(&winners[0], b"").await;
}

/// [`Storage::load_all`](crate::Storage::load_all) returns what [`Storage::load`](crate::Storage::load) would, in the
/// order of the ids.
pub async fn loads_are_in_the_order_of_the_ids(fixture: Fixture) {
    let c = created(fixture.one(), single("c")).await;
    let a = created(fixture.one(), final_of("a", &["c"])).await;
    let b = created(fixture.one(), partial("b", 5)).await;
    let b = appended(fixture.one(), &b, "he").await;
    let ids = ["c", "none", "a", "c", "b"].map(id);
    let expected = [Some(&c), None, Some(&a), Some(&c), Some(&b)].map(Option::<&_>::cloned);
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(storage.load_all(&ids).await.unwrap(), expected);
        assert_eq!(storage.load_all(&[]).await.unwrap(), []);
        assert_eq!(storage.load_all(&[id("none")]).await.unwrap(), [None]);
    }
    let many: Vec<_> = (0..MANY).map(|n| single(&format!("many-{n}"))).collect();
    let ids: Vec<_> = many.iter().map(|upload| upload.id.clone()).collect();
    let expected: Vec<_> = all_created(fixture.one(), many).await.into_iter().map(Some).collect();
    assert_eq!(fixture.other().load_all(&ids).await.unwrap(), expected);
}

/// [`Storage::remove`](crate::Storage::remove): afterwards nobody finds the upload.
pub async fn a_removed_upload_is_gone(fixture: Fixture) {
    let mut upload = single("removed");
    upload.expires = Some(at(10));
    let upload = created(fixture.one(), upload).await;
    let upload = appended(fixture.one(), &upload, "hello world").await;
    let waiting = created(fixture.one(), final_of("removed-final", &["part"])).await;
    let other = created(fixture.one(), single("other")).await;
    fixture.other().remove(&upload).await.unwrap();
    fixture.one().remove(&waiting).await.unwrap();
    for gone in [&upload, &waiting] {
        fixture.assert_gone(&gone.upload.id).await;
        for storage in [fixture.one(), fixture.other()] {
            assert_eq!(failure(storage.remove(gone).await), Failure::NotFound);
            assert_eq!(failure(storage.read(gone, 0..11).await), Failure::NotFound);
            let change = Change::of(&gone.upload);
            assert_eq!(failure(storage.update(gone, &change).await), Failure::NotFound);
        }
    }
    assert_eq!(ids(fixture.one().list(Default::default(), None)).await, ["other"]);
    assert_eq!(ids(fixture.one().pending(at(20))).await, [""; 0]);
    assert_eq!(fixture.one().waiting_for(&id("part"), usize::MAX).await.unwrap(), []);
    fixture.assert_is(&other).await;
}
