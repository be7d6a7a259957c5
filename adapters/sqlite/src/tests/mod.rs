//! Survival of restarts, tampering and a second process.

mod conformance;
mod damage;
mod finals;
mod incarnations;
mod log;
mod migration;
mod moving;
mod orphans;
mod processes;
mod together;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use rusqlite::Connection;
use tempfile::TempDir;
use tus_service::{
    Change, Dialect, Failure, Incarnation, Kind, Phase, Storage, StorageError, Stored, Upload, UploadFilter, UploadId,
};

use crate::{OpenError, Sqlite, error::sql_error};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

/// A new incarnation with each call.
fn upload(name: &str, length: Option<u64>) -> Upload {
    of_kind(name, Kind::Single, length)
}

fn of_kind(name: &str, kind: Kind, length: Option<u64>) -> Upload {
    static INCARNATIONS: AtomicU64 = AtomicU64::new(1);
    let bits = u128::from(INCARNATIONS.fetch_add(1, Relaxed)) << 64;
    let mut upload = Upload::new(id(name), Incarnation::from_random(bits), kind);
    upload.length = length;
    upload.created = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    upload
}

async fn created(sqlite: &Sqlite, upload: Upload) -> Stored {
    let version = sqlite.create(&upload).await.unwrap();
    Stored::new(upload, version)
}

/// Stores an upload with these bytes.
async fn stored(sqlite: &Sqlite, name: &str, length: Option<u64>, bytes: &'static [u8]) -> Stored {
    let stored = created(sqlite, upload(name, length)).await;
    appended(sqlite, &stored, bytes).await.unwrap()
}

/// The change for an upload that gets this many bytes.
fn with_bytes(stored: &Stored, bytes: usize) -> Change {
    let mut change = Change::of(&stored.upload);
    change.offset += bytes as u64;
    if change.length == Some(change.offset) {
        change.phase = Phase::Complete;
    }
    change
}

async fn appended(sqlite: &Sqlite, stored: &Stored, bytes: &'static [u8]) -> Result<Stored, StorageError> {
    let mut writer = sqlite.open(stored).await?;
    writer.write(Bytes::from_static(bytes).into()).await?;
    let change = with_bytes(stored, bytes.len());
    let version = writer.commit(&change).await?;
    Ok(stored.clone().changed(&change, version))
}

async fn in_phase(sqlite: &Sqlite, stored: &Stored, phase: Phase) -> Stored {
    let mut change = Change::of(&stored.upload);
    change.phase = phase;
    let version = sqlite.update(stored, &change).await.unwrap();
    stored.clone().changed(&change, version)
}

async fn loaded(sqlite: &Sqlite, stored: &Stored) -> Option<Stored> {
    sqlite.load(&stored.upload.id).await.unwrap()
}

async fn content(sqlite: &Sqlite, stored: &Stored) -> Bytes {
    let pieces: Vec<_> = sqlite.read(stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    pieces.concat().into()
}

async fn pending(sqlite: &Sqlite) -> Vec<Stored> {
    sqlite.pending(SystemTime::now()).try_collect().await.unwrap()
}

fn failure<T>(result: Result<T, StorageError>) -> Failure {
    result.err().expect("it must fail").failure()
}

#[tokio::test]
async fn uploads_survive_a_restart() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello ").await;
    let mut writer = sqlite.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b"lost with the process").into()).await.unwrap();
    drop((writer, sqlite));

    let sqlite = Sqlite::open(&directory).unwrap();
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload));
    let complete = appended(&sqlite, &upload, b"world").await.unwrap();
    assert_eq!(fs::read(sqlite.path(&complete.upload.id)).unwrap(), b"hello world");
    assert_eq!(pending(&sqlite).await, [complete]);
}

#[tokio::test]
async fn an_empty_upload_has_a_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let mut empty = upload("empty", Some(0));
    empty.phase = Phase::Complete;
    sqlite.create(&empty).await.unwrap();
    assert_eq!(fs::read(sqlite.path(&id("empty"))).unwrap(), b"");
}

#[tokio::test]
async fn a_file_shorter_than_its_row_resets_the_offset() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "short", Some(11), b"hello world").await;
    fs::write(sqlite.path(&upload.upload.id), b"hell").unwrap();
    let back = sqlite.load(&upload.upload.id).await.unwrap().unwrap();
    assert_eq!((back.upload.offset, back.upload.length), (4, Some(11)));
    assert_eq!(failure(appended(&sqlite, &upload, b"!").await), Failure::Conflict, "the old offset is gone");
    let complete = appended(&sqlite, &back, b"o world").await.unwrap();
    assert_eq!(content(&sqlite, &complete).await, "hello world");

    let half = stored(&sqlite, "missing", Some(11), b"hello").await;
    fs::remove_file(sqlite.path(&half.upload.id)).unwrap();
    assert_eq!(sqlite.load(&half.upload.id).await.unwrap().unwrap().upload.offset, 0);
}

/// The offset of an upload of the draft must not decrease.
#[tokio::test]
async fn an_upload_of_the_draft_that_lost_bytes_is_invalid() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    for (name, there) in [("short", Some(&b"hell"[..])), ("missing", None), ("kept", Some(b"hello and more"))] {
        let mut new = upload(name, Some(11));
        new.dialect = Dialect::Draft(8);
        let new = created(&sqlite, new).await;
        let seen = appended(&sqlite, &new, b"hello").await.unwrap();
        let file = sqlite.path(&seen.upload.id);
        match there {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let all = sqlite.load_all(std::slice::from_ref(&seen.upload.id)).await.unwrap();
        let now = all.into_iter().next().unwrap().unwrap();
        let phase = if name == "kept" { Phase::Receiving } else { Phase::Invalid };
        assert_eq!((now.upload.phase, loaded(&sqlite, &seen).await.as_ref()), (phase, Some(&now)), "{name}");
        // Nobody continues it: no byte is appended behind a gap.
        let continued = appended(&sqlite, &now, b" world").await;
        assert_eq!(continued.is_ok(), phase == Phase::Receiving, "{name}: {continued:?}");
        sqlite.remove(&loaded(&sqlite, &seen).await.unwrap()).await.unwrap();
        assert_eq!(loaded(&sqlite, &seen).await, None);
    }
}

#[tokio::test]
async fn a_finished_upload_whose_file_was_moved_away_stays_complete() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "moved", Some(5), b"hello").await;
    let upload = in_phase(&sqlite, &upload, Phase::Notified).await;
    fs::rename(sqlite.path(&upload.upload.id), directory.path().join("film")).unwrap();
    assert!(sqlite.load(&upload.upload.id).await.unwrap().unwrap().upload.is_complete());
    assert_eq!(failure(sqlite.read(&upload, 0..5).await), Failure::Gone);
    sqlite.remove(&upload).await.unwrap();
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap(), None);
}

#[tokio::test]
async fn links_in_the_directory_are_not_followed() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    symlink(&secret, sqlite.path(&id("planted"))).unwrap();
    assert_eq!(failure(sqlite.create(&upload("planted", Some(6))).await), Failure::Exists);

    let replaced = stored(&sqlite, "replaced", Some(6), b"own").await;
    fs::remove_file(sqlite.path(&replaced.upload.id)).unwrap();
    symlink(&secret, sqlite.path(&replaced.upload.id)).unwrap();
    assert_eq!(failure(sqlite.open(&replaced).await), Failure::Internal);
    assert_eq!(failure(sqlite.read(&replaced, 0..3).await), Failure::Internal);
    sqlite.remove(&replaced).await.unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
}

#[tokio::test]
async fn bytes_that_belong_to_no_row_are_not_overwritten() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "orphan", Some(5), b"hello").await;
    drop(sqlite);
    fs::remove_file(directory.path().join("uploads.db")).unwrap();
    let sqlite = Sqlite::open(&directory).unwrap();
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap(), None);
    assert_eq!(failure(sqlite.create(&upload.upload).await), Failure::Exists);
    assert_eq!(fs::read(sqlite.path(&upload.upload.id)).unwrap(), b"hello");
}

/// Two handles share nothing but the directory, like two processes.
#[tokio::test]
async fn a_second_process_waits_for_the_first() {
    let directory = directory();
    let (one, two) = (Sqlite::open(&directory).unwrap(), Sqlite::open(&directory).unwrap());
    let upload = stored(&one, "shared", Some(11), b"hello ").await;
    assert_eq!(two.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload));
    let mut writer = one.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b"w").into()).await.unwrap();
    let waiting = tokio::spawn({
        let (two, upload) = (two.clone(), upload.clone());
        async move { two.open(&upload).await.map(drop) }
    });
    writer.commit(&with_bytes(&upload, 1)).await.unwrap();
    drop(writer);
    assert_eq!(failure(waiting.await.unwrap()), Failure::Conflict, "its version is outdated");
    let now = two.load(&upload.upload.id).await.unwrap().unwrap();
    let complete = appended(&two, &now, b"orld").await.unwrap();
    assert_eq!(content(&one, &complete).await, "hello world");
}

#[tokio::test]
async fn many_writers_share_the_database() {
    let directory = directory();
    let handles = [Sqlite::open(&directory).unwrap(), Sqlite::open(&directory).unwrap()];
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let sqlite = handles[n % 2].clone();
            tokio::spawn(async move { stored(&sqlite, &format!("u{n}"), Some(5), b"hello").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pending(&handles[0]).await.len(), 64);
}

#[tokio::test]
async fn a_locked_database_is_busy_and_then_serves_again() {
    let directory = directory();
    let sqlite = Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory).unwrap();
    let upload = stored(&sqlite, "busy", Some(11), b"hello ").await;
    let other = Connection::open(directory.path().join("uploads.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(failure(appended(&sqlite, &upload, b"world").await), Failure::Busy);
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload), "reading still works");
    assert!(matches!(
        Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory),
        Err(OpenError::Database(_))
    ));
    other.execute_batch("ROLLBACK").unwrap();
    appended(&sqlite, &upload, b"world").await.unwrap();
}

#[tokio::test]
async fn any_patience_with_another_process_is_possible() {
    let directory = directory();
    for timeout in [Duration::MAX, Duration::from_secs(25 * 24 * 60 * 60)] {
        let sqlite = Sqlite::options().busy_timeout(timeout).open(&directory).unwrap();
        let upload = stored(&sqlite, "patient", Some(5), b"hello").await;
        sqlite.remove(&upload).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_database_keeps_what_it_has() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "kept", Some(11), b"hello ").await;
    let limit = |pages: &'static str| {
        sqlite.inner().database.write(move |connection| connection.query_row(pages, [], |_| Ok(())).map_err(sql_error))
    };
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let mut full = None;
    for n in 0..10_000 {
        let more = sqlite.create(&self::upload(&format!("{n}-{}", "x".repeat(100)), Some(1))).await;
        if let Err(error) = more {
            full = Some(error.failure());
            break;
        }
    }
    assert_eq!(full, Some(Failure::Full));
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload));
    limit("PRAGMA max_page_count = 1000000").await.unwrap();
    appended(&sqlite, &upload, b"world").await.unwrap();
}

#[tokio::test]
async fn a_read_only_database_is_an_error_and_can_still_be_read() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "readonly", Some(11), b"hello ").await;
    let becomes_read_only = sqlite
        .inner()
        .database
        .write(|connection| connection.execute_batch("PRAGMA query_only = TRUE").map_err(sql_error));
    becomes_read_only.await.unwrap();
    let error = appended(&sqlite, &upload, b"world").await.unwrap_err();
    assert_eq!(error.failure(), Failure::Internal);
    assert!(error.to_string().contains("readonly"), "{error}");
    assert_eq!(sqlite.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload));
    drop(sqlite);
    appended(&Sqlite::open(&directory).unwrap(), &upload, b"world").await.unwrap();
}

#[test]
fn an_unusable_directory_is_a_clear_error() {
    let directory = directory();
    let database = directory.path().join("uploads.db");
    let error = |path: &Path| Sqlite::open(path).unwrap_err().to_string();

    drop(Sqlite::open(&directory).unwrap());
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(error(directory.path()).contains("schema version 99, but this program supports versions up to 5"));

    fs::remove_file(&database).unwrap();
    Connection::open(&database).unwrap().execute_batch("CREATE TABLE accounts (id)").unwrap();
    assert!(error(directory.path()).contains("another program"));

    fs::write(&database, "this is no database, and long enough not to be taken for an empty one").unwrap();
    assert!(error(directory.path()).contains("not a database"));

    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    assert!(error(directory.path()).contains("uploads.db cannot be used"));

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(error(&file).contains("file cannot be used"));
}

#[test]
fn opening_a_newer_database_changes_nothing() {
    let directory = directory();
    drop(Sqlite::open(&directory).unwrap());
    let connection = Connection::open(directory.path().join("uploads.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Sqlite::open(&directory), Err(OpenError::Newer { found: 99, known: 5, .. })));
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn an_outdated_writer_adds_nothing_to_a_complete_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let unaware = stored(&sqlite, "declared", None, b"hello").await;
    let mut writer = sqlite.open(&unaware).await.unwrap();
    let mut change = Change::of(&unaware.upload);
    (change.length, change.phase) = (Some(5), Phase::Complete);
    writer.commit(&change).await.unwrap();
    drop(writer);
    assert_eq!(failure(appended(&sqlite, &unaware, b" world").await), Failure::Conflict);
    assert_eq!(fs::read(sqlite.path(&unaware.upload.id)).unwrap(), b"hello");
}

#[tokio::test]
async fn missing_files_of_all_uploads_are_an_error_at_opening() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "unmounted", Some(5), b"hell").await;
    drop(sqlite);
    let (mounted, away) = (directory.path().join("uploads"), directory.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    assert!(matches!(Sqlite::open(&directory), Err(OpenError::FilesMissing(_))));
    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    assert_eq!(Sqlite::open(&directory).unwrap().load(&upload.upload.id).await.unwrap(), Some(upload));
}

#[tokio::test]
async fn an_empty_upload_that_is_complete_later_has_a_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let empty = created(&sqlite, upload("empty", None)).await;
    let mut change = Change::of(&empty.upload);
    (change.length, change.phase) = (Some(0), Phase::Complete);
    sqlite.update(&empty, &change).await.unwrap();
    assert_eq!(fs::read(sqlite.path(&id("empty"))).unwrap(), b"");
}

#[tokio::test]
async fn pending_uploads_are_found_beyond_the_first_page() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    for n in 0..600 {
        let mut upload = upload(&format!("u{n}"), Some(1));
        upload.expires = (n % 2 == 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(n / 100));
        upload.phase = if n % 3 == 0 { Phase::Complete } else { Phase::Receiving };
        (upload.length, upload.owner) = (Some(0), Some("anna".into()).filter(|_| n % 5 == 0));
        created(&sqlite, upload).await;
    }
    // 300 have expired; 100 of the others are due.
    let found = pending(&sqlite).await;
    let ids: std::collections::BTreeSet<_> = found.iter().map(|stored| stored.upload.id.clone()).collect();
    assert_eq!((found.len(), ids.len()), (400, 400));
    let all: Vec<_> = sqlite.list(UploadFilter::default(), None).try_collect().await.unwrap();
    assert!(all.is_sorted_by_key(|stored| stored.upload.id.clone()) && all.len() == 600);
    let of_anna = UploadFilter::default().owner("anna").phase(Phase::Complete);
    let of_anna: Vec<_> = sqlite.list(of_anna, Some(&id("u1"))).try_collect().await.unwrap();
    assert_eq!(of_anna.len(), 39, "40, less the first of them");
}

#[tokio::test]
async fn no_file_is_left_behind() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let half = stored(&sqlite, "half", Some(11), b"hello").await;
    let mut empty = upload("empty", Some(0));
    empty.phase = Phase::Complete;
    let empty = created(&sqlite, empty).await;
    let (part, waiting, change) = finals::part_and_final(&sqlite).await;
    let mut longer = part.clone();
    longer.upload.offset = 7;
    assert!(sqlite.assemble(&waiting, &[longer], &change).await.is_err());
    let opened = created(&sqlite, upload("opened", Some(5))).await;
    drop(sqlite.open(&opened).await.unwrap());
    for stored in [half, empty, part, waiting, opened] {
        sqlite.remove(&stored).await.unwrap();
    }
    assert_eq!(fs::read_dir(directory.path().join("uploads")).unwrap().count(), 0);
}
