//! Files that belong to no upload.

use super::*;

/// Looks for orphans, as after a start, and waits until the queued work is done.
async fn tidied(directory: &TempDir) -> Sqlite {
    let sqlite = Sqlite::open(directory).unwrap();
    sqlite.tidy().await.unwrap();
    sqlite.inner().database.write(|_| Ok(())).await.unwrap();
    sqlite
}

/// Makes the recorded orphans one day older.
async fn a_day_passes(sqlite: &Sqlite) {
    let past = |connection: &Connection| {
        connection.execute("UPDATE strays SET seen = seen - 24 * 60 * 60 * 1000", []).map_err(sql_error)
    };
    sqlite.inner().database.write(past).await.unwrap();
}

#[tokio::test]
async fn an_orphan_is_kept_for_a_day() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let kept = stored(&sqlite, "kept", Some(5), b"hell").await;
    let orphan = sqlite.path(&id("orphan"));
    fs::write(&orphan, "nobody's").unwrap();
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    assert!(orphan.exists(), "it was only noted");
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    assert!(orphan.exists(), "the day is not over");
    a_day_passes(&sqlite).await;
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    assert!(!orphan.exists());
    assert_eq!(content(&sqlite, &kept).await, "hell");
}

#[tokio::test]
async fn an_orphan_whose_upload_comes_back_is_kept() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let file = sqlite.path(&id("back"));
    fs::write(&file, "").unwrap();
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    a_day_passes(&sqlite).await;
    fs::remove_file(&file).unwrap();
    let back = stored(&sqlite, "back", Some(5), b"hello").await;
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    assert_eq!(content(&sqlite, &back).await, "hello");
}

#[tokio::test]
async fn files_older_than_the_database_are_left_alone() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let orphan = stored(&sqlite, "orphan", Some(11), b"precious").await;
    let path = sqlite.path(&orphan.upload.id);
    drop(sqlite);
    for name in ["uploads.db", "uploads.db-wal", "uploads.db-shm"] {
        let _ = fs::remove_file(directory.path().join(name));
    }
    for _ in 0..2 {
        let sqlite = tidied(&directory).await;
        a_day_passes(&sqlite).await;
    }
    assert_eq!(fs::read(path).unwrap(), b"precious");
}

#[tokio::test]
async fn files_that_cannot_be_uploads_are_left_alone() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let uploads = directory.path().join("uploads");
    fs::create_dir(uploads.join("lost+found")).unwrap();
    fs::create_dir(uploads.join("folder")).unwrap();
    fs::write(uploads.join("not an id"), "").unwrap();
    symlink("/etc/passwd", uploads.join("link")).unwrap();
    drop(sqlite);
    let sqlite = tidied(&directory).await;
    a_day_passes(&sqlite).await;
    drop(sqlite);
    tidied(&directory).await;
    assert_eq!(fs::read_dir(uploads).unwrap().count(), 4);
}
