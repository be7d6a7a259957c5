//! An id is reused: operations on the earlier upload do not affect the new one.

use super::*;

#[tokio::test]
async fn files_of_removed_uploads_are_deleted_at_the_next_start() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "killed", Some(11), b"hello").await;
    // The process dies between the row and the file.
    let removed = upload.clone();
    sqlite.inner().database.write(move |connection| crate::row::remove(connection, &removed)).await.unwrap();
    let path = sqlite.path(&upload.upload.id);
    assert!(path.exists());
    drop(sqlite);
    let sqlite = Sqlite::open(&directory).unwrap();
    // Waits for what is queued.
    let left = sqlite.inner().database.write(crate::leftovers::removed).await.unwrap();
    assert_eq!(left, []);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_new_upload_with_a_reused_id_keeps_its_file() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let old = stored(&sqlite, "again", Some(5), b"old").await;
    let removed = old.clone();
    sqlite.inner().database.write(move |connection| crate::row::remove(connection, &removed)).await.unwrap();
    assert_eq!(failure(sqlite.create(&upload("again", Some(5))).await), Failure::Exists, "the old file is still there");
    fs::remove_file(sqlite.path(&old.upload.id)).unwrap();
    let new = stored(&sqlite, "again", Some(5), b"new").await;
    drop(sqlite);
    let sqlite = Sqlite::open(&directory).unwrap();
    assert_eq!(content(&sqlite, &new).await, "new");
}

#[tokio::test]
async fn a_file_created_for_a_removed_upload_is_deleted() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let late = created(&sqlite, upload("late", Some(5))).await;
    // Another request has read the row before.
    sqlite.remove(&late).await.unwrap();
    assert_eq!(failure(appended(&sqlite, &late, b"hello").await), Failure::NotFound);
    // Waits for what is queued.
    sqlite.inner().database.write(|_| Ok(())).await.unwrap();
    assert!(!sqlite.path(&late.upload.id).exists());
    stored(&sqlite, "late", Some(5), b"again").await;
}

#[tokio::test]
async fn a_writer_of_a_removed_upload_does_not_affect_a_new_one_with_its_id() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let first = created(&sqlite, upload("again", Some(5))).await;
    let mut old = sqlite.open(&first).await.unwrap();
    old.write(Bytes::from_static(b"old").into()).await.unwrap();
    sqlite.remove(&first).await.unwrap();
    let second = created(&sqlite, upload("again", Some(5))).await;
    assert_eq!(failure(old.commit(&with_bytes(&first, 3)).await), Failure::Conflict);
    drop(old);
    let new = appended(&sqlite, &second, b"new").await.unwrap();
    assert_eq!(content(&sqlite, &new).await, "new");
}

#[tokio::test]
async fn a_late_writer_leaves_nothing_in_the_file_of_another_upload() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let old = stored(&sqlite, "again", Some(11), b"hello").await;
    sqlite.remove(&old).await.unwrap();
    let new = stored(&sqlite, "again", Some(5), b"other").await;
    assert_eq!(failure(sqlite.read(&old, 0..5).await), Failure::NotFound);
    assert_eq!(failure(sqlite.update(&old, &Change::of(&old.upload)).await), Failure::Conflict);
    assert_eq!(failure(sqlite.remove(&old).await), Failure::Conflict);
    assert_eq!(failure(appended(&sqlite, &old, b" world").await), Failure::Conflict);
    assert_eq!(fs::read(sqlite.path(&new.upload.id)).unwrap(), b"other");
    assert_eq!(loaded(&sqlite, &new).await, Some(new));
}

#[tokio::test]
async fn a_download_stays_with_its_upload() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let old = stored(&sqlite, "again", Some(5), b"first").await;
    let mut bytes = sqlite.read(&old, 0..5).await.unwrap();
    sqlite.remove(&old).await.unwrap();
    let new = stored(&sqlite, "again", Some(5), b"later").await;
    assert_eq!(bytes.try_next().await.unwrap().unwrap(), "first");
    assert_eq!(bytes.try_next().await.unwrap(), None);
    assert_eq!(content(&sqlite, &new).await, "later");
}
