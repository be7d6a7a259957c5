//! Moving the file of a complete upload to where the application wants it.

use std::{os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use super::*;
use crate::moving::Moving;

/// A directory on a different file system from those of the other tests; `None` if there is none.
fn elsewhere() -> Option<TempDir> {
    let here = fs::metadata(std::env::temp_dir()).unwrap().dev();
    let others = [PathBuf::from("/dev/shm"), PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")];
    let other = others.into_iter().find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.dev() != here))?;
    Some(tempfile::tempdir_in(other).unwrap())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_complete_upload_is_moved() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "moved", Some(5), b"hello").await;
    let id_of = &upload.upload.id;
    let target = directory.path().join("films/new/film");
    assert_eq!(failure(sqlite.move_to(&id("none"), &target).await), Failure::NotFound);
    let half = stored(&sqlite, "half", Some(5), b"hell").await;
    assert_eq!(failure(sqlite.move_to(&half.upload.id, &target).await), Failure::Conflict);
    let part = created(&sqlite, of_kind("part", Kind::Partial, Some(5))).await;
    let part = appended(&sqlite, &part, b"hello").await.unwrap();
    assert_eq!(failure(sqlite.move_to(&part.upload.id, &target).await), Failure::Conflict, "its final one needs it");

    sqlite.move_to(id_of, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    assert!(!sqlite.path(id_of).exists());
    // A client that lost the last response learns it. If the process died before that was recorded, the application
    // moves the file again.
    assert_eq!(sqlite.load(id_of).await.unwrap().as_ref(), Some(&upload));
    assert!(pending(&sqlite).await.contains(&upload));
    sqlite.move_to(id_of, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    assert_eq!(failure(sqlite.read(&upload, 0..5).await), Failure::Gone);
    let error = sqlite.move_to(id_of, directory.path().join("other")).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Gone, "{error}");
    sqlite.remove(&upload).await.unwrap();
    assert_eq!(sqlite.load(id_of).await.unwrap(), None);
    assert_eq!(fs::read(&target).unwrap(), b"hello");
}

#[tokio::test]
async fn an_empty_upload_is_moved_too() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let mut empty = upload("empty", Some(0));
    empty.phase = Phase::Complete;
    let empty = created(&sqlite, empty).await;
    let target = directory.path().join("film");
    sqlite.move_to(&empty.upload.id, &target).await.unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"");
    assert_eq!(failure(sqlite.read(&empty, 0..0).await), Failure::Gone);
}

#[tokio::test]
async fn an_upload_is_moved_to_another_file_system() {
    let Some(other) = elsewhere() else {
        eprintln!("skipped: there is one file system only");
        return;
    };
    for durability in [crate::Durability::Synced, crate::Durability::Buffered] {
        let directory = directory();
        let sqlite = Sqlite::options().durability(durability).open(&directory).unwrap();
        let upload = stored(&sqlite, "far", Some(5), b"hello").await;
        let films = other.path().join(format!("{durability:?}/films"));
        let target = films.join("film");
        // What a process that was killed in the middle has left, and what was there before.
        fs::create_dir_all(&films).unwrap();
        fs::write(films.join(format!(".{}.moving", upload.upload.incarnation)), b"a longer beginning").unwrap();
        fs::write(&target, b"an older film").unwrap();
        sqlite.move_to(&upload.upload.id, &target).await.unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
        assert_eq!(names(&films), ["film"]);
        assert!(!sqlite.path(&upload.upload.id).exists());
        sqlite.move_to(&upload.upload.id, &target).await.unwrap();
        assert_eq!(sqlite.load(&upload.upload.id).await.unwrap().as_ref(), Some(&upload));

        // A process that died after the target had its name has left the source.
        fs::write(sqlite.path(&upload.upload.id), b"hello").unwrap();
        sqlite.move_to(&upload.upload.id, &target).await.unwrap();
        assert_eq!((names(&films), sqlite.path(&upload.upload.id).exists()), (vec!["film".to_owned()], false));
    }
}

#[tokio::test]
async fn a_failed_move_leaves_the_file_and_names_both_paths() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "stays", Some(5), b"hello").await;
    let source = sqlite.path(&upload.upload.id);
    let blocked = directory.path().join("file/film");
    fs::write(directory.path().join("file"), b"in the way").unwrap();
    let occupied = directory.path().join("occupied");
    fs::create_dir_all(occupied.join("x")).unwrap();
    for target in [blocked, occupied] {
        let error = sqlite.move_to(&upload.upload.id, &target).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.failure(), Failure::Internal, "{text}");
        for path in [&source, &target] {
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
        assert_eq!(fs::read(&source).unwrap(), b"hello", "nothing is lost");
    }
}

#[tokio::test]
async fn a_failed_copy_leaves_nothing_behind() {
    let Some(other) = elsewhere() else {
        eprintln!("skipped: there is one file system only");
        return;
    };
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "short", Some(5), b"hello").await;
    let source = sqlite.path(&upload.upload.id);
    fs::write(&source, b"hell").unwrap();
    assert_eq!(failure(sqlite.move_to(&upload.upload.id, other.path().join("film")).await), Failure::Internal);
    assert_eq!(names(other.path()), [""; 0], "no part of a copy stays");
    assert_eq!(fs::read(&source).unwrap(), b"hell");
}

/// A directory below `/proc` cannot be synced, so an error shows who tries to.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_earlier_move_is_made_durable() {
    use crate::Durability::{Buffered, Synced};
    let target = Path::new("/proc/version");
    assert_eq!(fs::metadata(target).unwrap().len(), 0);
    for (durability, expected) in [(Synced, Some(Failure::Internal)), (Buffered, None)] {
        let directory = directory();
        let sqlite = Sqlite::options().durability(durability).open(&directory).unwrap();
        let mut empty = upload("empty", Some(0));
        empty.phase = Phase::Complete;
        let empty = created(&sqlite, empty).await;
        fs::remove_file(sqlite.path(&empty.upload.id)).unwrap();
        let moved = sqlite.move_to(&empty.upload.id, target).await;
        assert_eq!(moved.err().map(|error| error.failure()), expected, "{durability:?}");
    }
}

#[tokio::test]
async fn other_files_at_the_target_are_not_mistaken_for_the_upload() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "lost", Some(5), b"hello").await;
    fs::remove_file(sqlite.path(&upload.upload.id)).unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("shorter"), b"hell").unwrap();
    fs::write(at("longer"), b"hello world").unwrap();
    // It has the length of the upload but is not a file.
    symlink("12345", at("link")).unwrap();
    fs::write(at("12345"), b"hello").unwrap();
    for name in ["shorter", "longer", "link", "nothing", "shorter/film"] {
        let error = sqlite.move_to(&upload.upload.id, at(name)).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Gone, "{name}: {error}");
    }
    sqlite.move_to(&upload.upload.id, at("12345")).await.unwrap();
}

#[tokio::test]
async fn a_file_whose_name_was_reused_is_not_moved() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "replaced", Some(5), b"hello").await;
    let (source, target) = (sqlite.path(&upload.upload.id), directory.path().join("film"));
    let moving = Moving { inner: sqlite.inner().clone(), id: upload.upload.id.clone(), target: target.clone() };
    let opened = fs::File::open(&source).unwrap();
    let take = || moving.take(Some(opened.try_clone().unwrap()), upload.clone());
    // The application's own link keeps the file from losing its last name.
    fs::rename(&source, directory.path().join("link")).unwrap();
    fs::write(&source, b"world").unwrap();
    fs::write(&target, b"older").unwrap();
    assert_eq!(failure(take()), Failure::Busy);
    fs::remove_file(&source).unwrap();
    assert!(take().unwrap().is_none(), "somebody else has moved it");
    fs::remove_file(&target).unwrap();
    assert_eq!(failure(take()), Failure::Gone);
}

#[tokio::test]
async fn a_rename_without_a_source_succeeds_only_if_the_target_is_that_file() {
    for is_moved in [true, false] {
        let directory = directory();
        let sqlite = Sqlite::options().busy_timeout(Duration::from_secs(60)).open(&directory).unwrap();
        let upload = stored(&sqlite, "vanished", Some(5), b"hello").await;
        let (source, films) = (sqlite.path(&upload.upload.id), directory.path().join("films"));
        let target = films.join("film");
        let other = Connection::open(directory.path().join("uploads.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let moving = tokio::spawn({
            let (sqlite, id, target) = (sqlite.clone(), upload.upload.id.clone(), target.clone());
            async move { sqlite.move_to(&id, target).await }
        });
        // The last step before the database is waited for.
        while !films.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if is_moved {
            fs::rename(&source, &target).unwrap();
        } else {
            fs::write(&target, b"other").unwrap();
            fs::remove_file(&source).unwrap();
        }
        other.execute_batch("ROLLBACK").unwrap();
        let moved = moving.await.unwrap();
        assert_eq!(moved.is_ok(), is_moved, "{moved:?}");
    }
}

#[tokio::test]
async fn no_change_of_the_database_waits_for_another_file_system() {
    let Some(other) = elsewhere() else {
        eprintln!("skipped: there is one file system only");
        return;
    };
    let directory = directory();
    let sqlite = Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory).unwrap();
    let upload = stored(&sqlite, "far", Some(5), b"hello").await;
    let (near, far) = (directory.path().join("film"), other.path().join("film"));
    let connection = Connection::open(directory.path().join("uploads.db")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(failure(sqlite.move_to(&upload.upload.id, &near).await), Failure::Busy);
    assert!(!near.exists(), "a rename is a change of the database");
    assert_eq!(failure(sqlite.move_to(&upload.upload.id, &far).await), Failure::Busy);
    assert_eq!(fs::read(&far).unwrap(), b"hello", "a copy is made before the database is asked for anything");
    assert!(sqlite.path(&upload.upload.id).exists());
    connection.execute_batch("ROLLBACK").unwrap();
    sqlite.move_to(&upload.upload.id, &far).await.unwrap();
    assert!(!sqlite.path(&upload.upload.id).exists());
}

#[tokio::test]
async fn a_directory_is_refused_before_anything_is_copied() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "film", Some(5), b"hello").await;
    let other = elsewhere();
    for base in [Some(directory.path()), other.as_ref().map(TempDir::path)].into_iter().flatten() {
        let (target, temporary) = (base.join("films"), format!(".{}.moving", upload.upload.incarnation));
        fs::create_dir(&target).unwrap();
        // If a copy is started, this is overwritten and then removed.
        fs::write(base.join(&temporary), b"older").unwrap();
        let text = sqlite.move_to(&upload.upload.id, &target).await.unwrap_err().to_string();
        assert!(text.contains(&format!("{}: the target is a directory", target.display())), "{text}");
        assert_eq!(fs::read(base.join(&temporary)).unwrap(), b"older");
    }
    assert!(sqlite.path(&upload.upload.id).exists());
}

#[tokio::test]
async fn the_storages_own_directory_is_rejected_as_the_target() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "film", Some(5), b"hello").await;
    let neighbour = stored(&sqlite, "neighbour", Some(5), b"world").await;
    let own = sqlite.path(&upload.upload.id).parent().unwrap().to_owned();
    let linked = directory.path().join("linked");
    symlink(&own, &linked).unwrap();
    fs::create_dir(own.join("deep")).unwrap();
    let beside = |name: &str| directory.path().join(name);
    let targets = [
        own.join("neighbour"),
        own.join("film"),
        own.join("new"),
        linked.join("new"),
        own.join("deep/new"),
        own.join("deep/deeper/new"),
        linked.join("missing/new"),
        beside("uploads.db"),
        beside("uploads.db-wal"),
        beside("uploads.reserve"),
        beside("uploads/../uploads.db"),
        beside("missing/../uploads.db"),
        beside("missing-too/../uploads/neighbour"),
        beside("missing-as-well/../uploads/film"),
    ];
    let refused = async || {
        for target in &targets {
            let text = sqlite.move_to(&upload.upload.id, target).await.unwrap_err().to_string();
            assert!(
                text.contains(&format!("{}: the target is among the storage's own files", target.display())),
                "{text}"
            );
        }
    };
    refused().await;
    assert_eq!(
        (names(&own), names(&own.join("deep"))),
        (["deep", "film", "neighbour"].map(str::to_owned).into(), vec![])
    );
    // Nor does it exist if another upload's file has this name.
    fs::remove_file(own.join("film")).unwrap();
    refused().await;
    assert_eq!(content(&sqlite, &neighbour).await, "world");
}

#[tokio::test]
async fn one_at_a_time_moves_a_file() {
    let directory = directory();
    let (one, two) = (Sqlite::open(&directory).unwrap(), Sqlite::open(&directory).unwrap());
    let upload = stored(&one, "raced", Some(5), b"hello").await;
    let target = directory.path().join("film");
    let locked = fs::File::open(one.path(&upload.upload.id)).unwrap();
    assert!(crate::files::lock(&locked).unwrap());
    assert_eq!(failure(two.move_to(&upload.upload.id, &target).await), Failure::Busy);
    drop(locked);
    let moves = [&one, &two].map(|sqlite| sqlite.move_to(&upload.upload.id, &target));
    for moved in futures_util::future::join_all(moves).await {
        if let Err(error) = moved {
            assert_eq!(error.failure(), Failure::Busy, "{error}");
        }
    }
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    one.move_to(&upload.upload.id, &target).await.unwrap();
}

/// To rename a file to another name of its own does nothing, and says that it succeeded.
#[tokio::test]
async fn a_target_that_is_a_link_to_the_file_is_its_only_name_afterwards() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "linked", Some(5), b"hello").await;
    let (source, target) = (sqlite.path(&upload.upload.id), directory.path().join("film"));
    fs::hard_link(&source, &target).unwrap();
    for _ in 0..2 {
        sqlite.move_to(&upload.upload.id, &target).await.unwrap();
        assert_eq!((fs::read(&target).unwrap(), source.exists()), (b"hello".to_vec(), false));
    }
    assert_eq!(failure(sqlite.read(&upload, 0..5).await), Failure::Gone);
}

/// What the path of the target leads to may hang by the time when the database is changed, and with it all changes.
#[tokio::test]
async fn the_path_of_the_target_is_followed_once_and_not_within_a_change() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "film", Some(5), b"hello").await;
    let (films, link) = (directory.path().join("films"), directory.path().join("link"));
    fs::create_dir(&films).unwrap();
    symlink(&films, &link).unwrap();
    let (inner, id, target) = (sqlite.inner().clone(), upload.upload.id.clone(), link.join("film"));
    let moving = Arc::new(Moving { inner, id, target });
    let opened = fs::File::open(sqlite.path(&upload.upload.id)).unwrap();
    let found = moving.take(Some(opened), upload.clone()).unwrap().unwrap();
    fs::remove_file(&link).unwrap();
    symlink(&link, &link).unwrap();
    assert!(moving.rename(&found).await.unwrap());
    assert_eq!(fs::read(films.join("film")).unwrap(), b"hello");
}
