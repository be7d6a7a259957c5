//! The file of a complete upload is moved to where the application wants it.

use std::{os::unix::fs::MetadataExt, path::PathBuf};

use super::*;

/// A directory on another file system than those of the other tests; `None` where there is none at hand.
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
    // A client that lost the last response learns it; and if the process died before that was recorded, the
    // application moves it again.
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
async fn what_cannot_be_moved_stays_and_the_error_names_both_paths() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "stays", Some(5), b"hello").await;
    let source = sqlite.path(&upload.upload.id);
    let blocked = directory.path().join("file/film");
    fs::write(directory.path().join("file"), b"in the way").unwrap();
    let occupied = directory.path().join("occupied");
    fs::create_dir_all(occupied.join("x")).unwrap();
    let mut targets = vec![(blocked, None), (occupied, None)];
    let other = elsewhere();
    if let Some(other) = &other {
        // The copy is made, and cannot get this name.
        let occupied = other.path().join("occupied");
        fs::create_dir_all(occupied.join("x")).unwrap();
        targets.push((occupied, Some(other.path())));
    }
    for (target, beside) in targets {
        let error = sqlite.move_to(&upload.upload.id, &target).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.failure(), Failure::Internal, "{text}");
        for path in [&source, &target] {
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
        assert_eq!(fs::read(&source).unwrap(), b"hello", "nothing is lost");
        if let Some(beside) = beside {
            assert_eq!(names(beside), ["occupied"], "no part of a copy stays");
        }
    }
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
