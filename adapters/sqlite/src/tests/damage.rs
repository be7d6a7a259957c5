//! The database is tampered with while it is in use.

use super::*;

const DATABASE: [&str; 2] = ["uploads.db", "uploads.db-wal"];

#[tokio::test]
async fn a_moved_database_accepts_no_changes_until_it_is_back() {
    for name in DATABASE {
        let directory = directory();
        let sqlite = Sqlite::open(&directory).unwrap();
        let upload = stored(&sqlite, "a", Some(11), b"hello ").await;
        let (file, away) = (directory.path().join(name), directory.path().join("away"));
        fs::rename(&file, &away).unwrap();
        let error = appended(&sqlite, &upload, b"world").await.unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("moved, deleted or replaced"), "{error}");
        fs::copy(&away, &file).unwrap();
        assert_eq!(failure(appended(&sqlite, &upload, b"world").await), Failure::Internal, "a copy is not the file");
        fs::rename(&away, &file).unwrap();
        let upload = appended(&sqlite, &upload, b"world").await.unwrap();
        drop(sqlite);
        let sqlite = Sqlite::open(&directory).unwrap();
        assert_eq!(sqlite.load(&upload.upload.id).await.unwrap(), Some(upload.clone()));
        assert_eq!(content(&sqlite, &upload).await, "hello world");
    }
}

#[tokio::test]
async fn a_replaced_directory_accepts_no_changes_until_it_is_back() {
    let above = directory();
    let (data, away) = (above.path().join("data"), above.path().join("away"));
    let sqlite = Sqlite::open(&data).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello ").await;
    fs::rename(&data, &away).unwrap();
    drop(Sqlite::open(&data).unwrap());
    assert_eq!(failure(appended(&sqlite, &upload, b"world").await), Failure::Internal);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    let upload = appended(&sqlite, &upload, b"world").await.unwrap();
    assert_eq!(content(&sqlite, &upload).await, "hello world");
}

#[tokio::test]
async fn an_overwritten_database_is_an_error_and_loses_no_byte() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello ").await;
    let file = directory.path().join("uploads.db");
    let log = directory.path().join("uploads.db-wal");
    // The content of the database is in its file, not in the log.
    Connection::open(&file).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let (good, good_log) = (fs::read(&file).unwrap(), fs::read(&log).unwrap());
    fs::write(&file, vec![0x5a; good.len()]).unwrap();
    // Another process makes the connections discard what they have cached.
    fs::write(&log, b"").unwrap();
    let outcome = appended(&sqlite, &upload, b"world").await;
    fs::write(&file, &good).unwrap();
    fs::write(&log, &good_log).unwrap();
    drop(sqlite);
    let sqlite = Sqlite::open(&directory).unwrap();
    let kept = sqlite.load(&upload.upload.id).await.unwrap().unwrap();
    assert!(kept.upload.offset >= upload.upload.offset, "{outcome:?}");
    assert!(content(&sqlite, &kept).await.starts_with(b"hello "));
    let kept = if kept.upload.offset == 6 { appended(&sqlite, &kept, b"world").await.unwrap() } else { kept };
    assert_eq!(content(&sqlite, &kept).await, "hello world");
}

#[tokio::test]
async fn a_panicking_change_is_an_error_and_the_next_one_succeeds() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let panicked =
        sqlite.inner().database.write(|_| -> Result<(), StorageError> { panic!("as a test wants it") }).await;
    assert_eq!(failure(panicked), Failure::Internal);
    let upload = stored(&sqlite, "a", Some(5), b"hello").await;
    assert_eq!(content(&sqlite, &upload).await, "hello");
}

/// A row that somebody changed by hand blocks neither lists nor the background work on other uploads.
#[tokio::test]
async fn an_invalid_record_does_not_hide_others() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    for name in ["a", "b", "c"] {
        let mut upload = upload(name, Some(5));
        upload.expires = Some(SystemTime::UNIX_EPOCH);
        created(&sqlite, upload).await;
    }
    let break_it = |connection: &Connection| {
        connection.execute("UPDATE uploads SET metadata = x'00' WHERE id = 'b'", []).map_err(sql_error)
    };
    assert_eq!(sqlite.inner().database.write(break_it).await.unwrap(), 1);
    let ids = |all: Vec<Stored>| all.into_iter().map(|stored| stored.upload.id.to_string()).collect::<Vec<_>>();
    let listed = sqlite.list(UploadFilter::default(), None).try_collect().await.unwrap();
    let pending = sqlite.pending(SystemTime::now()).try_collect().await.unwrap();
    assert_eq!(
        (ids(listed), ids(pending)),
        (vec!["a".to_owned(), "c".to_owned()], vec!["a".to_owned(), "c".to_owned()])
    );
    assert_eq!(failure(sqlite.load(&id("b")).await), Failure::Internal);
}
