//! The list of truths that every storage must pass: [`check`] it in a storage's tests.
//!
//! Each is a sentence of [`Storage`] or [`Writer`]. What outlives a restart, a crash or a full disk
//! only the storage's own tests can show.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::HeaderValue;
use tus_core::{Failure, Final, Kind, MAX_LENGTH, Metadata, Upload, UploadId};

use crate::{State, Storage, StorageError, Writer};

/// Checks an empty storage. It must hold nothing else meanwhile, and is empty again at the end.
///
/// # Panics
///
/// Where the storage does not keep a promise.
pub async fn check(storage: Arc<dyn Storage>) {
    let storage = &*storage;
    records_come_back_as_they_were(storage).await;
    an_id_is_taken_once(storage).await;
    bytes_exist_after_a_commit(storage).await;
    a_dropped_writer_leaves_nothing(storage).await;
    many_small_chunks_keep_their_order(storage).await;
    a_commit_may_take_less_than_was_written(storage).await;
    the_first_commit_wins(storage).await;
    a_length_is_declared_once(storage).await;
    a_checkpoint_claims_no_more_than_there_is(storage).await;
    a_removed_upload_is_gone(storage).await;
    parts_are_joined_in_order(storage).await;
    a_failed_join_changes_nothing(storage).await;
    uploads_are_listed_by_state(storage).await;
    what_is_expired_is_found(storage).await;
    uploads_do_not_mix(storage).await;
    assert_eq!(storage.list(State::Due, None, 10).await.unwrap(), [], "nothing is left");
    assert_eq!(storage.expired(at(u32::MAX.into()), 10).await.unwrap(), [], "nothing is left");
}

async fn records_come_back_as_they_were(storage: &dyn Storage) {
    let header = HeaderValue::from_static("filename R3LDtsOfZQ==,flag");
    let url = HeaderValue::from_static("final;/files/a http://h/files/b");
    let parts = Final { header: url, partials: vec![id("a"), id("b"), id("a")] };
    let full = Upload {
        id: id("full"),
        kind: Kind::Final(parts),
        offset: 0,
        length: None,
        max_size: Some(MAX_LENGTH),
        metadata: Metadata::parse(&header).unwrap(),
        created: at(1_700_000_000),
        expires: Some(at(4_000_000_000)),
        finished: false,
    };
    let longest = Upload { id: id(&"x".repeat(UploadId::MAX_LEN)), length: Some(MAX_LENGTH), ..single("") };
    for upload in [
        full,
        longest,
        Upload { kind: Kind::Partial, ..single("partial") },
        Upload { length: None, ..single("deferred") },
    ] {
        storage.create(&upload).await.unwrap();
        assert_eq!(storage.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
        storage.remove(&upload.id, None).await.unwrap();
    }
    assert_eq!(storage.load(&id("missing")).await.unwrap(), None);
}

async fn an_id_is_taken_once(storage: &dyn Storage) {
    let upload = created(storage, single("taken")).await;
    assert_failure(storage.create(&Upload { length: Some(7), ..single("taken") }).await, Failure::Exists);
    assert_eq!(storage.load(&upload.id).await.unwrap(), Some(upload.clone()), "it is left as it was");
    storage.remove(&upload.id, None).await.unwrap();
}

async fn bytes_exist_after_a_commit(storage: &dyn Storage) {
    let upload = created(storage, single("commit")).await;
    assert_eq!(content(storage, &upload).await, b"");
    let mut writer = storage.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"hello"), Bytes::new(), Bytes::from_static(b" ")]).await.unwrap();
    assert_eq!(writer.stored(), 6);
    assert_eq!(storage.load(&upload.id).await.unwrap().as_ref(), Some(&upload), "nothing before the commit");
    assert_eq!(content(storage, &upload).await, b"");
    let next = Upload { offset: 6, expires: Some(at(5_000_000_000)), ..upload };
    writer.commit(&next).await.unwrap();
    assert_eq!(storage.load(&next.id).await.unwrap().as_ref(), Some(&next));
    assert_eq!(content(storage, &next).await, b"hello ");
    writer.write(vec![Bytes::from_static(b"world")]).await.unwrap();
    let whole = Upload { offset: 11, expires: None, ..next };
    writer.commit(&whole).await.unwrap();
    drop(writer);
    assert_eq!(storage.load(&whole.id).await.unwrap().as_ref(), Some(&whole));
    assert_eq!(content(storage, &whole).await, b"hello world");
    for (range, expected) in
        [(6..11, &b"world"[..]), (6..MAX_LENGTH, b"world"), (11..20, b""), (50..60, b""), (3..3, b"")]
    {
        assert_eq!(storage.read(&whole, range.clone()).await.unwrap(), expected, "{range:?}");
    }
    storage.remove(&whole.id, None).await.unwrap();
}

async fn a_dropped_writer_leaves_nothing(storage: &dyn Storage) {
    let upload = created(storage, single("dropped")).await;
    let upload = appended(storage, &upload, b"kept ").await;
    let mut writer = storage.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"forgotten, and longer")]).await.unwrap();
    drop(writer);
    assert_eq!(storage.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    let upload = appended(storage, &upload, b"new").await;
    assert_eq!(content(storage, &upload).await, b"kept new");
    storage.remove(&upload.id, None).await.unwrap();
}

async fn many_small_chunks_keep_their_order(storage: &dyn Storage) {
    let upload = created(storage, Upload { length: None, ..single("chunks") }).await;
    let chunks: Vec<_> = (0..5000u16).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    let expected = chunks.concat();
    let mut writer = storage.append(&upload).await.unwrap();
    writer.write(chunks).await.unwrap();
    let next = Upload { offset: 10_000, ..upload };
    writer.commit(&next).await.unwrap();
    assert_eq!(content(storage, &next).await, expected);
    storage.remove(&next.id, None).await.unwrap();
}

async fn a_commit_may_take_less_than_was_written(storage: &dyn Storage) {
    let upload = created(storage, single("less")).await;
    let mut writer = storage.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"abcdef")]).await.unwrap();
    let next = Upload { offset: 3, ..upload };
    writer.commit(&next).await.unwrap();
    drop(writer);
    assert_eq!(content(storage, &next).await, b"abc");
    let next = appended(storage, &next, b"x").await;
    assert_eq!(content(storage, &next).await, b"abcx");
    storage.remove(&next.id, None).await.unwrap();
}

async fn the_first_commit_wins(storage: &dyn Storage) {
    let upload = created(storage, single("race")).await;
    let mut first = storage.append(&upload).await.unwrap();
    match storage.append(&upload).await {
        Err(error) => assert_eq!(error.failure(), Failure::Busy),
        Ok(mut second) => {
            first.write(vec![Bytes::from_static(b"11")]).await.unwrap();
            second.write(vec![Bytes::from_static(b"2222")]).await.unwrap();
            first.commit(&Upload { offset: 2, ..upload.clone() }).await.unwrap();
            assert_failure(second.commit(&Upload { offset: 4, ..upload.clone() }).await, Failure::Conflict);
            assert_eq!(content(storage, &upload).await, b"11");
        }
    }
    drop(first);
    let now = storage.load(&upload.id).await.unwrap().unwrap();
    let stale = Upload { offset: now.offset + 1, ..upload.clone() };
    if let Ok(mut late) = storage.append(&stale).await {
        let failed = late.commit(&Upload { offset: stale.offset, ..upload.clone() }).await;
        assert_failure(failed, Failure::Conflict);
    }
    storage.remove(&upload.id, None).await.unwrap();
}

async fn a_length_is_declared_once(storage: &dyn Storage) {
    let upload = created(storage, Upload { length: None, ..single("declared") }).await;
    let mut writer = storage.append(&upload).await.unwrap();
    writer.commit(&Upload { length: Some(3), ..upload.clone() }).await.unwrap();
    drop(writer);
    if let Ok(mut stale) = storage.append(&upload).await {
        assert_failure(stale.commit(&Upload { length: Some(9), ..upload.clone() }).await, Failure::Conflict);
    }
    assert_eq!(storage.load(&upload.id).await.unwrap().unwrap().length, Some(3));
    storage.remove(&upload.id, None).await.unwrap();
}

async fn a_checkpoint_claims_no_more_than_there_is(storage: &dyn Storage) {
    let upload = created(storage, single("checkpoint")).await;
    let mut writer = storage.append(&upload).await.unwrap();
    for end in [4, 8] {
        writer.write(vec![Bytes::from_static(b"abcd")]).await.unwrap();
        writer.checkpoint(&Upload { offset: end, ..upload.clone() }).await.unwrap();
        let seen = storage.load(&upload.id).await.unwrap().unwrap();
        // The storage may be committing meanwhile.
        let there = content(storage, &seen).await;
        assert!((seen.offset..=end).contains(&(there.len() as u64)), "{} of {end}", there.len());
        assert!(b"abcdabcd".starts_with(&there));
    }
    let whole = Upload { offset: 8, ..upload };
    writer.commit(&whole).await.unwrap();
    drop(writer);
    assert_eq!(content(storage, &whole).await, b"abcdabcd");
    storage.remove(&whole.id, None).await.unwrap();
}

async fn a_removed_upload_is_gone(storage: &dyn Storage) {
    let upload = created(storage, single("removed")).await;
    let upload = appended(storage, &upload, b"secret").await;
    let mut writer = storage.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"late")]).await.unwrap();
    storage.remove(&upload.id, None).await.unwrap();
    assert_failure(writer.commit(&Upload { offset: 10, ..upload.clone() }).await, Failure::NotFound);
    drop(writer);
    assert_eq!(storage.load(&upload.id).await.unwrap(), None);
    assert_failure(storage.remove(&upload.id, None).await, Failure::NotFound);
    assert_failure(storage.finish(&upload.id).await, Failure::NotFound);
    let again = created(storage, single("removed")).await;
    assert_eq!(content(storage, &again).await, b"", "a new upload has nothing of an old one of its name");
    let again = appended(storage, &again, b"new").await;
    assert_eq!(content(storage, &again).await, b"new");
    storage.remove(&again.id, None).await.unwrap();
}

async fn parts_are_joined_in_order(storage: &dyn Storage) {
    let mut partials = Vec::new();
    for (name, bytes) in [("p1", &b"hello"[..]), ("p2", b""), ("p3", b" world")] {
        let partial = Upload { kind: Kind::Partial, length: Some(bytes.len() as u64), ..single(name) };
        let partial = created(storage, partial).await;
        partials.push(if bytes.is_empty() { partial } else { appended(storage, &partial, bytes).await });
    }
    let named: Vec<Upload> = [0, 1, 2, 0].map(|at: usize| partials[at].clone()).into();
    let upload = created(storage, final_of("joined", &named)).await;
    let joined = Upload { offset: 16, length: Some(16), ..upload.clone() };
    storage.join(&joined, &named).await.unwrap();
    assert_eq!(storage.load(&joined.id).await.unwrap().as_ref(), Some(&joined));
    assert_eq!(content(storage, &joined).await, b"hello worldhello");
    assert_failure(storage.join(&joined, &named).await, Failure::Conflict);
    for partial in &partials {
        assert_eq!(storage.load(&partial.id).await.unwrap().as_ref(), Some(partial), "parts stay as they are");
        storage.remove(&partial.id, None).await.unwrap();
    }
    assert_eq!(content(storage, &joined).await, b"hello worldhello", "the whole does not need its parts");
    storage.remove(&joined.id, None).await.unwrap();

    let empty = created(storage, Upload { kind: Kind::Partial, length: Some(0), ..single("p4") }).await;
    let upload = created(storage, final_of("nothing", std::slice::from_ref(&empty))).await;
    let joined = Upload { length: Some(0), finished: true, ..upload };
    storage.join(&joined, std::slice::from_ref(&empty)).await.unwrap();
    assert_eq!(storage.load(&joined.id).await.unwrap().as_ref(), Some(&joined));
    assert_eq!(content(storage, &joined).await, b"");
    storage.remove(&joined.id, None).await.unwrap();
    storage.remove(&empty.id, None).await.unwrap();
}

async fn a_failed_join_changes_nothing(storage: &dyn Storage) {
    let partial = created(storage, Upload { kind: Kind::Partial, length: Some(1), ..single("there") }).await;
    let partial = appended(storage, &partial, b"a").await;
    let gone = Upload { kind: Kind::Partial, offset: 1, length: Some(1), ..single("gone") };
    let named = [partial.clone(), gone];
    let upload = created(storage, final_of("unjoined", &named)).await;
    let joined = Upload { offset: 2, length: Some(2), ..upload.clone() };
    assert_failure(storage.join(&joined, &named).await, Failure::NotFound);
    assert_eq!(storage.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    storage.remove(&upload.id, None).await.unwrap();
    assert_failure(storage.join(&joined, std::slice::from_ref(&partial)).await, Failure::NotFound);
    storage.remove(&partial.id, None).await.unwrap();
}

async fn uploads_are_listed_by_state(storage: &dyn Storage) {
    let whole = created(storage, Upload { length: Some(1), ..single("due-b") }).await;
    created(storage, single("due-unfinished")).await;
    let partial = created(storage, Upload { kind: Kind::Partial, length: Some(0), ..single("due-partial") }).await;
    created(storage, final_of("due-c", std::slice::from_ref(&partial))).await;
    created(storage, Upload { length: Some(0), ..single("due-a") }).await;
    assert_eq!(ids(storage.list(State::Due, None, 10).await.unwrap()), ["due-a", "due-c"]);
    appended(storage, &whole, b"x").await;
    assert_eq!(ids(storage.list(State::Due, None, 2).await.unwrap()), ["due-a", "due-b"]);
    assert_eq!(ids(storage.list(State::Due, Some(&id("due-b")), 2).await.unwrap()), ["due-c"]);
    for _ in 0..2 {
        storage.finish(&whole.id).await.unwrap();
    }
    assert!(storage.load(&whole.id).await.unwrap().unwrap().finished);
    assert_eq!(ids(storage.list(State::Due, None, 10).await.unwrap()), ["due-a", "due-c"]);
    // Where nobody is to be told, the commit that makes an upload whole says so itself.
    let untold = created(storage, Upload { length: Some(1), ..single("due-no") }).await;
    let told = Upload { offset: 1, finished: true, ..untold };
    let mut writer = storage.append(&Upload { offset: 0, finished: false, ..told.clone() }).await.unwrap();
    writer.write(vec![Bytes::from_static(b"x")]).await.unwrap();
    writer.commit(&told).await.unwrap();
    assert_eq!(storage.load(&told.id).await.unwrap().as_ref(), Some(&told));
    assert_eq!(ids(storage.list(State::Due, None, 10).await.unwrap()), ["due-a", "due-c"]);
    storage.remove(&told.id, None).await.unwrap();
    let listed = async |state| ids(storage.list(state, None, 10).await.unwrap());
    assert_eq!(listed(State::Any).await, ["due-a", "due-b", "due-c", "due-partial", "due-unfinished"]);
    assert_eq!(listed(State::Complete).await, ["due-a", "due-b", "due-partial"]);
    assert_eq!(listed(State::Unfinished).await, ["due-c", "due-unfinished"]);
    for name in ["due-a", "due-b", "due-c", "due-unfinished", "due-partial"] {
        storage.remove(&id(name), None).await.unwrap();
    }
}

async fn what_is_expired_is_found(storage: &dyn Storage) {
    for (name, expires) in [("e-late", Some(300)), ("e-never", None), ("e-early", Some(100)), ("e-middle", Some(200))] {
        created(storage, Upload { expires: expires.map(at), ..single(name) }).await;
    }
    assert_eq!(storage.expired(at(99), 10).await.unwrap(), []);
    assert_eq!(storage.expired(at(200), 10).await.unwrap(), [id("e-early"), id("e-middle")]);
    assert_eq!(storage.expired(at(999), 1).await.unwrap(), [id("e-early")]);
    assert_failure(storage.remove(&id("e-late"), Some(at(299))).await, Failure::Conflict);
    assert_failure(storage.remove(&id("e-never"), Some(at(999))).await, Failure::Conflict);
    for name in ["e-early", "e-middle", "e-late"] {
        storage.remove(&id(name), Some(at(300))).await.unwrap();
    }
    assert_eq!(storage.expired(at(999), 10).await.unwrap(), []);
    storage.remove(&id("e-never"), None).await.unwrap();
}

async fn uploads_do_not_mix(storage: &dyn Storage) {
    let mut writers: Vec<(Upload, Box<dyn Writer>)> = Vec::new();
    for n in 0..16u8 {
        let upload = created(storage, Upload { length: None, ..single(&format!("mix-{n}")) }).await;
        let writer = storage.append(&upload).await.unwrap();
        writers.push((upload, writer));
    }
    for round in 0..8 {
        for (n, (upload, writer)) in writers.iter_mut().enumerate() {
            writer.write(vec![Bytes::from(vec![n as u8; 1000 + n])]).await.unwrap();
            upload.offset += 1000 + n as u64;
            if round % 2 == 1 {
                writer.commit(upload).await.unwrap();
            }
        }
    }
    for (n, (upload, writer)) in writers.into_iter().enumerate() {
        drop(writer);
        assert!(content(storage, &upload).await == vec![n as u8; 8 * (1000 + n)]);
        storage.remove(&upload.id, None).await.unwrap();
    }
}

fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn single(name: &str) -> Upload {
    Upload {
        id: if name.is_empty() { id("unnamed") } else { id(name) },
        kind: Kind::Single,
        offset: 0,
        length: Some(11),
        max_size: None,
        metadata: Metadata::default(),
        created: at(1_700_000_000),
        expires: None,
        finished: false,
    }
}

fn final_of(name: &str, partials: &[Upload]) -> Upload {
    let header = HeaderValue::from_static("final;/files/parts");
    let partials = partials.iter().map(|partial| partial.id.clone()).collect();
    Upload { kind: Kind::Final(Final { header, partials }), length: None, ..single(name) }
}

async fn created(storage: &dyn Storage, upload: Upload) -> Upload {
    storage.create(&upload).await.unwrap();
    upload
}

async fn appended(storage: &dyn Storage, upload: &Upload, bytes: &'static [u8]) -> Upload {
    let mut writer = storage.append(upload).await.unwrap();
    writer.write(vec![Bytes::from_static(bytes)]).await.unwrap();
    let next = Upload { offset: upload.offset + bytes.len() as u64, ..upload.clone() };
    writer.commit(&next).await.unwrap();
    next
}

/// All bytes that there are; a storage may read fewer at once than it was asked for.
async fn content(storage: &dyn Storage, upload: &Upload) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let more = storage.read(upload, content.len() as u64..MAX_LENGTH).await.unwrap();
        if more.is_empty() {
            return content;
        }
        content.extend_from_slice(&more);
    }
}

fn ids(uploads: Vec<Upload>) -> Vec<String> {
    uploads.into_iter().map(|upload| upload.id.to_string()).collect()
}

fn assert_failure(result: Result<(), StorageError>, failure: Failure) {
    assert_eq!(result.expect_err("it must fail").failure(), failure);
}
