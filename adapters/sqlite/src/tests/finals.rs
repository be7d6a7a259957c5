//! Final uploads and their parts.

use super::*;

/// A part, and a final upload that waits for it.
pub(super) async fn part_and_final(sqlite: &Sqlite) -> (Stored, Stored, Change) {
    let part = created(sqlite, of_kind("part", Kind::Partial, Some(5))).await;
    let part = appended(sqlite, &part, b"hello").await.unwrap();
    let final_one = created(sqlite, of_kind("final", Kind::Final(vec![(&part.upload).into()]), None)).await;
    let mut change = Change::of(&final_one.upload);
    (change.offset, change.length, change.phase) = (5, Some(5), Phase::Complete);
    (part, final_one, change)
}

#[tokio::test]
async fn a_truncated_final_upload_is_assembled_again() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let (part, final_one, change) = part_and_final(&sqlite).await;
    let waiting = async || sqlite.waiting_for(&part.upload.id, usize::MAX).await.unwrap();
    assert_eq!(waiting().await, std::slice::from_ref(&final_one.upload.id));
    sqlite.assemble(&final_one, std::slice::from_ref(&part), &change).await.unwrap();
    assert_eq!(waiting().await, []);
    fs::write(sqlite.path(&final_one.upload.id), b"he").unwrap();
    let back = loaded(&sqlite, &final_one).await.unwrap();
    assert_eq!(back.upload, final_one.upload);
    assert_ne!(back.version, final_one.version);
    assert_eq!(waiting().await, std::slice::from_ref(&final_one.upload.id));
    let version = sqlite.assemble(&back, &[part], &change).await.unwrap();
    assert_eq!(content(&sqlite, &back.changed(&change, version)).await, "hello");
}

#[tokio::test]
async fn a_failed_assembly_leaves_no_bytes_and_can_be_repeated() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let (part, final_one, change) = part_and_final(&sqlite).await;
    let mut longer = part.clone();
    longer.upload.offset = 7;
    assert_eq!(failure(sqlite.assemble(&final_one, &[longer], &change).await), Failure::Internal);
    assert_eq!(fs::read(sqlite.path(&final_one.upload.id)).unwrap(), b"");
    let version = sqlite.assemble(&final_one, &[part], &change).await.unwrap();
    let final_one = final_one.changed(&change, version);
    assert_eq!(loaded(&sqlite, &final_one).await, Some(final_one.clone()));
    assert_eq!(content(&sqlite, &final_one).await, "hello");
}
