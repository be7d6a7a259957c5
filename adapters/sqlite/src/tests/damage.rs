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

/// Pages of lists are read on, whatever is in them: one invalid row among valid ones, a page of invalid ones, and ids
/// that are invalid themselves.
#[tokio::test]
async fn a_page_of_invalid_records_does_not_end_a_list() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let damage = |connection: &Connection| {
        let rows = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600)
            INSERT INTO uploads (id, incarnation, version, kind, phase, upload_offset, created, expires)
            SELECT CASE n % 100 WHEN 0 THEN CAST(?1 || printf('%04d', n) || x'ff' AS TEXT)
                   ELSE ?1 || printf('%04d', n) END, randomblob(16), 1, 9, ?2, 0, 0, ?3 FROM numbers";
        for (name, phase, expires) in [("m", 1, None), ("mm", 0, Some(1))] {
            connection.execute(rows, (name, phase, expires)).map_err(sql_error)?;
        }
        Ok(())
    };
    sqlite.inner().database.write(damage).await.unwrap();
    let mut expected = Vec::new();
    for (name, expires) in [("a", Some(1)), ("m0000", None), ("mm0300", Some(1)), ("z", Some(2))] {
        let mut upload = of_kind(name, Kind::Final(Vec::new()), None);
        upload.phase = Phase::Assembling;
        upload.expires = expires.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        expected.push(created(&sqlite, upload).await);
    }
    let listed: Vec<_> = sqlite.list(UploadFilter::default(), None).try_collect().await.unwrap();
    assert_eq!(listed, expected);
    let mut pending = pending(&sqlite).await;
    pending.sort_by(|one, other| one.upload.id.cmp(&other.upload.id));
    assert_eq!(pending, expected);
}

#[tokio::test]
async fn invalid_rows_about_other_files_are_passed_over() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "removed", Some(11), b"hello").await;
    let file = sqlite.path(&upload.upload.id);
    fs::write(directory.path().join("copy"), b"hello").unwrap();
    sqlite.remove(&upload).await.unwrap();
    let database = sqlite.inner().database.clone();
    let damage = |connection: &Connection| {
        connection.execute_batch("INSERT INTO removed VALUES ('not/an/id'), ('removed')").map_err(sql_error)?;
        let wanted = "INSERT INTO wanted (id, since, asker, writes) VALUES ('not/an/id', 1, x'', 1), (?1, ?2, x'', 1)";
        connection.execute(wanted, ("wanted", crate::asks::Tick::now().0)).map(drop).map_err(sql_error)
    };
    database.write(damage).await.unwrap();
    let wanted = database.read(crate::asks::wanted).unwrap();
    assert_eq!(wanted.iter().map(|wanted| wanted.id.as_str()).collect::<Vec<_>>(), ["wanted"]);
    fs::rename(directory.path().join("copy"), &file).unwrap();
    drop((sqlite, database));
    // The next opening deletes what was left.
    let sqlite = Sqlite::open(&directory).unwrap();
    sqlite.inner().database.write(|_| Ok(())).await.unwrap();
    assert!(!file.exists());
}
