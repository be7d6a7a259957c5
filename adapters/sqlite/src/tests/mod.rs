//! What outlives a restart, a foreign hand and a second process.

mod damage;
mod strays;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;
use tus_service::{Failure, Kind, Metadata, State, Storage, StorageError, Upload, UploadId, conformance};

use crate::{Durability, OpenError, Sqlite};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn id(text: &str) -> UploadId {
    text.parse().unwrap()
}

fn upload(name: &str, length: Option<u64>) -> Upload {
    Upload {
        id: id(name),
        kind: Kind::Single,
        offset: 0,
        length,
        max_size: None,
        metadata: Metadata::default(),
        created: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        expires: None,
        finished: false,
    }
}

/// Stores an upload with these bytes.
async fn stored(sqlite: &Sqlite, name: &str, length: Option<u64>, bytes: &'static [u8]) -> Upload {
    let upload = upload(name, length);
    sqlite.create(&upload).await.unwrap();
    appended(sqlite, &upload, bytes).await.unwrap()
}

async fn appended(sqlite: &Sqlite, upload: &Upload, bytes: &'static [u8]) -> Result<Upload, StorageError> {
    let mut writer = sqlite.append(upload).await?;
    writer.write(vec![Bytes::from_static(bytes)]).await?;
    let next = Upload { offset: upload.offset + bytes.len() as u64, ..upload.clone() };
    writer.commit(&next).await.map(|()| next)
}

async fn content(sqlite: &Sqlite, upload: &Upload) -> Bytes {
    sqlite.read(upload, 0..u64::MAX).await.unwrap()
}

fn failure<T>(result: Result<T, StorageError>) -> Failure {
    result.err().expect("it must fail").failure()
}

#[tokio::test]
async fn keeps_what_a_storage_promises() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let directory = directory();
        let sqlite = Sqlite::options().durability(durability).open(&directory).unwrap();
        conformance::check(Arc::new(sqlite)).await;
        assert_eq!(fs::read_dir(directory.path().join("uploads")).unwrap().count(), 0, "no file is left behind");
    }
}

#[tokio::test]
async fn uploads_outlive_a_restart() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello ").await;
    let mut writer = sqlite.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"lost with the process")]).await.unwrap();
    drop((writer, sqlite));

    let sqlite = Sqlite::open(&directory).unwrap();
    assert_eq!(sqlite.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    let whole = appended(&sqlite, &upload, b"world").await.unwrap();
    assert_eq!(fs::read(sqlite.path(&whole.id)).unwrap(), b"hello world");
    assert_eq!(sqlite.list(State::Due, None, 9).await.unwrap(), [whole]);
}

#[tokio::test]
async fn an_empty_upload_has_a_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    sqlite.create(&upload("empty", Some(0))).await.unwrap();
    assert_eq!(fs::read(sqlite.path(&id("empty"))).unwrap(), b"");
}

#[tokio::test]
async fn a_file_shorter_than_its_row_sets_the_offset_back() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "short", Some(11), b"hello world").await;
    fs::write(sqlite.path(&upload.id), b"hell").unwrap();
    let back = sqlite.load(&upload.id).await.unwrap().unwrap();
    assert_eq!((back.offset, back.length), (4, Some(11)));
    assert_eq!(failure(appended(&sqlite, &upload, b"!").await), Failure::Conflict, "the old offset is gone");
    let whole = appended(&sqlite, &back, b"o world").await.unwrap();
    assert_eq!(content(&sqlite, &whole).await, "hello world");

    let half = stored(&sqlite, "missing", Some(11), b"hello").await;
    fs::remove_file(sqlite.path(&half.id)).unwrap();
    assert_eq!(sqlite.load(&half.id).await.unwrap().unwrap().offset, 0);
}

#[tokio::test]
async fn a_finished_upload_whose_file_was_moved_away_stays_whole() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "moved", Some(5), b"hello").await;
    sqlite.finish(&upload.id).await.unwrap();
    fs::rename(sqlite.path(&upload.id), directory.path().join("film")).unwrap();
    assert!(sqlite.load(&upload.id).await.unwrap().unwrap().is_complete());
    let error = sqlite.read(&upload, 0..5).await.unwrap_err();
    assert!(error.to_string().contains("moved"), "{error}");
    sqlite.remove(&upload.id, None).await.unwrap();
    assert_eq!(sqlite.load(&upload.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_complete_upload_is_taken_away() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "taken", Some(5), b"hello").await;
    let target = directory.path().join("film");
    assert_eq!(failure(sqlite.take(&id("none"), &target).await), Failure::NotFound);
    let half = stored(&sqlite, "half", Some(5), b"hell").await;
    assert_eq!(failure(sqlite.take(&half.id, &target).await), Failure::Conflict);
    assert_eq!(failure(sqlite.take(&upload.id, directory.path().join("no/such")).await), Failure::Internal);
    assert!(sqlite.path(&upload.id).exists(), "nothing is lost");
    sqlite.take(&upload.id, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    // A client that lost the last response is told; and if the process died before that was recorded, the
    // application takes it again.
    assert_eq!(sqlite.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    assert_eq!(sqlite.list(State::Due, None, 9).await.unwrap(), std::slice::from_ref(&upload));
    sqlite.take(&upload.id, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    sqlite.remove(&upload.id, None).await.unwrap();
    assert_eq!(sqlite.load(&upload.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_link_in_the_directory_leads_nowhere() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    symlink(&secret, sqlite.path(&id("planted"))).unwrap();
    assert_eq!(failure(sqlite.create(&upload("planted", Some(6))).await), Failure::Exists);

    let replaced = stored(&sqlite, "replaced", Some(6), b"own").await;
    fs::remove_file(sqlite.path(&replaced.id)).unwrap();
    symlink(&secret, sqlite.path(&replaced.id)).unwrap();
    assert_eq!(failure(sqlite.append(&replaced).await), Failure::Internal);
    assert_eq!(failure(sqlite.read(&replaced, 0..3).await), Failure::Internal);
    sqlite.remove(&replaced.id, None).await.unwrap();
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
    assert_eq!(sqlite.load(&upload.id).await.unwrap(), None);
    assert_eq!(failure(sqlite.create(&upload).await), Failure::Exists);
    assert_eq!(fs::read(sqlite.path(&upload.id)).unwrap(), b"hello");
}

/// Two handles have nothing in common but the directory, as two processes.
#[tokio::test]
async fn a_second_process_waits_for_the_first() {
    let directory = directory();
    let (one, two) = (Sqlite::open(&directory).unwrap(), Sqlite::open(&directory).unwrap());
    let upload = stored(&one, "shared", Some(11), b"hello ").await;
    assert_eq!(two.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    let mut writer = one.append(&upload).await.unwrap();
    writer.write(vec![Bytes::from_static(b"w")]).await.unwrap();
    let waiting = tokio::spawn({
        let (two, upload) = (two.clone(), upload.clone());
        async move { two.append(&upload).await.map(drop) }
    });
    writer.commit(&Upload { offset: 7, ..upload.clone() }).await.unwrap();
    drop(writer);
    assert_eq!(failure(waiting.await.unwrap()), Failure::Conflict, "what it wanted to go on from is past");
    let now = two.load(&upload.id).await.unwrap().unwrap();
    let whole = appended(&two, &now, b"orld").await.unwrap();
    assert_eq!(content(&one, &whole).await, "hello world");
}

#[tokio::test]
async fn many_at_once_share_the_database() {
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
    assert_eq!(handles[0].list(State::Due, None, 100).await.unwrap().len(), 64);
}

#[tokio::test]
async fn a_locked_database_is_busy_and_then_serves_again() {
    let directory = directory();
    let sqlite = Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory).unwrap();
    let upload = stored(&sqlite, "busy", Some(11), b"hello ").await;
    let other = Connection::open(directory.path().join("uploads.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(failure(appended(&sqlite, &upload, b"world").await), Failure::Busy);
    assert_eq!(sqlite.load(&upload.id).await.unwrap().as_ref(), Some(&upload), "reading goes on");
    assert!(matches!(
        Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory),
        Err(OpenError::Database(_))
    ));
    other.execute_batch("ROLLBACK").unwrap();
    appended(&sqlite, &upload, b"world").await.unwrap();
}

#[tokio::test]
async fn a_full_database_keeps_what_it_has() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "kept", Some(11), b"hello ").await;
    let limit = |pages: &'static str| {
        sqlite
            .database()
            .write(move |connection| connection.query_row(pages, [], |_| Ok(())).map_err(crate::database::sql_error))
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
    assert_eq!(sqlite.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    limit("PRAGMA max_page_count = 1000000").await.unwrap();
    appended(&sqlite, &upload, b"world").await.unwrap();
}

#[tokio::test]
async fn a_database_that_became_read_only_is_an_error_and_is_still_read() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "readonly", Some(11), b"hello ").await;
    let becomes_read_only = sqlite
        .database()
        .write(|connection| connection.execute_batch("PRAGMA query_only = TRUE").map_err(crate::database::sql_error));
    becomes_read_only.await.unwrap();
    let error = appended(&sqlite, &upload, b"world").await.unwrap_err();
    assert_eq!(error.failure(), Failure::Internal);
    assert!(error.to_string().contains("readonly"), "{error}");
    assert_eq!(sqlite.load(&upload.id).await.unwrap().as_ref(), Some(&upload));
    drop(sqlite);
    appended(&Sqlite::open(&directory).unwrap(), &upload, b"world").await.unwrap();
}

#[test]
fn a_directory_that_cannot_be_used_says_why() {
    let directory = directory();
    let database = directory.path().join("uploads.db");
    let error = |path: &Path| Sqlite::open(path).unwrap_err().to_string();

    drop(Sqlite::open(&directory).unwrap());
    Connection::open(&database).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(error(directory.path()).contains("schema version 99, and this program knows up to 2"));

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
fn an_open_of_a_newer_database_changes_nothing() {
    let directory = directory();
    drop(Sqlite::open(&directory).unwrap());
    let connection = Connection::open(directory.path().join("uploads.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Sqlite::open(&directory), Err(OpenError::Newer { found: 99, known: 2, .. })));
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_of_a_removed_upload_goes_at_the_next_start() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "killed", Some(11), b"hello").await;
    // The process dies between the row and the file.
    let removed = upload.id.clone();
    sqlite.database().write(move |connection| crate::row::remove(connection, &removed, None)).await.unwrap();
    let path = sqlite.path(&upload.id);
    assert!(path.exists());
    drop(sqlite);
    let sqlite = Sqlite::open(&directory).unwrap();
    // Behind what is queued.
    let left = sqlite.database().write(crate::row::removed).await.unwrap();
    assert_eq!(left, []);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_new_upload_of_a_removed_one_s_name_keeps_its_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let old = stored(&sqlite, "again", Some(5), b"old").await;
    let removed = old.id.clone();
    sqlite.database().write(move |connection| crate::row::remove(connection, &removed, None)).await.unwrap();
    assert_eq!(failure(sqlite.create(&upload("again", Some(5))).await), Failure::Exists, "the old file is still there");
    fs::remove_file(sqlite.path(&old.id)).unwrap();
    let new = stored(&sqlite, "again", Some(5), b"new").await;
    drop(sqlite);
    let sqlite = Sqlite::open(&directory).unwrap();
    assert_eq!(content(&sqlite, &new).await, "new");
}

#[tokio::test]
async fn a_file_that_was_made_for_a_removed_upload_goes() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = upload("late", Some(5));
    sqlite.create(&upload).await.unwrap();
    // Another request has read the row before.
    sqlite.remove(&upload.id, None).await.unwrap();
    assert_eq!(failure(appended(&sqlite, &upload, b"hello").await), Failure::NotFound);
    // Behind what is queued.
    sqlite.database().write(|_| Ok(())).await.unwrap();
    assert!(!sqlite.path(&upload.id).exists());
    stored(&sqlite, "late", Some(5), b"again").await;
}

#[tokio::test]
async fn a_writer_of_a_removed_upload_does_not_speak_for_a_new_one_of_its_name() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = upload("again", Some(5));
    sqlite.create(&upload).await.unwrap();
    let mut old = sqlite.append(&upload).await.unwrap();
    old.write(vec![Bytes::from_static(b"old")]).await.unwrap();
    sqlite.remove(&upload.id, None).await.unwrap();
    sqlite.create(&upload).await.unwrap();
    assert_eq!(failure(old.commit(&Upload { offset: 3, ..upload.clone() }).await), Failure::NotFound);
    drop(old);
    let new = appended(&sqlite, &upload, b"new").await.unwrap();
    assert_eq!(content(&sqlite, &new).await, "new");
}

#[tokio::test]
async fn who_has_not_seen_the_length_adds_nothing_to_a_complete_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let unaware = stored(&sqlite, "declared", None, b"hello").await;
    let mut writer = sqlite.append(&unaware).await.unwrap();
    writer.commit(&Upload { length: Some(5), ..unaware.clone() }).await.unwrap();
    drop(writer);
    assert_eq!(failure(appended(&sqlite, &unaware, b" world").await), Failure::Conflict);
    assert_eq!(fs::read(sqlite.path(&unaware.id)).unwrap(), b"hello");
}

#[tokio::test]
async fn files_that_are_all_away_are_not_taken_for_lost() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "unmounted", Some(5), b"hell").await;
    drop(sqlite);
    let (mounted, away) = (directory.path().join("uploads"), directory.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    assert!(matches!(Sqlite::open(&directory), Err(OpenError::FilesMissing(_))));
    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    assert_eq!(Sqlite::open(&directory).unwrap().load(&upload.id).await.unwrap(), Some(upload));
}

#[tokio::test]
async fn a_final_upload_that_was_cut_is_joined_again() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let part = Upload { kind: Kind::Partial, ..upload("part", Some(5)) };
    sqlite.create(&part).await.unwrap();
    let part = appended(&sqlite, &part, b"hello").await.unwrap();
    let header = http::HeaderValue::from_static("final;/files/part");
    let kind = Kind::Final(tus_service::Final { header, partials: vec![part.id.clone()] });
    let whole = Upload { kind, ..upload("whole", None) };
    sqlite.create(&whole).await.unwrap();
    let joined = Upload { offset: 5, length: Some(5), ..whole.clone() };
    sqlite.join(&joined, std::slice::from_ref(&part)).await.unwrap();
    fs::write(sqlite.path(&whole.id), b"he").unwrap();
    assert_eq!(sqlite.load(&whole.id).await.unwrap().unwrap(), whole);
    sqlite.join(&joined, &[part]).await.unwrap();
    assert_eq!(content(&sqlite, &joined).await, "hello");
}
