//! Changes that share a transaction: one that fails alone does not make the others fail.

use std::sync::{Arc, mpsc};

use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, join, join_all},
};
use rusqlite::ffi;
use tokio::sync::oneshot;
use tus_service::Writer;

use super::*;
use crate::{
    Durability,
    moving::{Found, Moving},
    row,
};

type Outcome = LocalBoxFuture<'static, Result<(), StorageError>>;

fn open(directory: &TempDir) -> Sqlite {
    // Without a sync, a commit is in the queue as soon as it is polled.
    Sqlite::options().durability(Durability::Buffered).open(directory).unwrap()
}

/// What futures return that put their changes into the queue when they are first polled. One transaction makes them.
async fn together(sqlite: &Sqlite, futures: impl IntoIterator<Item = Outcome>) -> Vec<Result<(), StorageError>> {
    let (go, gone) = mpsc::channel();
    let (begun, begins) = oneshot::channel();
    let mut begun = Some(begun);
    let database = sqlite.inner().database.clone();
    let block = move |_: &Connection| {
        begun.take().map(|begun| begun.send(()));
        gone.recv().map_err(|error| StorageError::new(Failure::Internal, error))
    };
    let blocking = tokio::spawn(async move { database.write(block).await });
    begins.await.unwrap();
    let (outcomes, ()) = join(join_all(futures), async { go.send(()).unwrap() }).await;
    blocking.await.unwrap().unwrap();
    outcomes
}

/// A change of the database.
fn change<T: Send + 'static>(
    sqlite: &Sqlite,
    operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
) -> Outcome {
    let database = sqlite.inner().database.clone();
    async move { database.write(operation).await.map(drop) }.boxed_local()
}

/// Uploads that have half of their bytes, and writers with the rest.
async fn halves(sqlite: &Sqlite, count: usize) -> Vec<(Stored, Box<dyn Writer>)> {
    let mut halves = Vec::new();
    for number in 0..count {
        let half = stored(sqlite, &format!("u{number}"), Some(10), b"hello").await;
        let mut writer = sqlite.open(&half).await.unwrap();
        writer.write(Bytes::from_static(b"world").into()).await.unwrap();
        halves.push((half, writer));
    }
    halves
}

fn commit((half, mut writer): (Stored, Box<dyn Writer>)) -> Outcome {
    async move { writer.commit(&with_bytes(&half, 5)).await.map(drop) }.boxed_local()
}

/// After another opening, the first of them are complete.
async fn assert_complete(directory: &TempDir, sqlite: Sqlite, count: usize) {
    drop(sqlite);
    let sqlite = open(directory);
    for number in 0..count {
        let now = sqlite.load(&id(&format!("u{number}"))).await.unwrap().unwrap();
        assert_eq!(now.upload.phase, Phase::Complete);
        assert_eq!(content(&sqlite, &now).await, "helloworld");
    }
}

/// A complete upload that is ready to be moved.
async fn film(sqlite: &Sqlite, target: &Path) -> (Arc<Moving>, Found) {
    let film = stored(sqlite, "film", Some(5), b"hello").await;
    let opened = fs::File::open(sqlite.path(&film.upload.id)).unwrap();
    let moving = Moving { inner: sqlite.inner().clone(), id: film.upload.id.clone(), target: target.to_owned() };
    let found = moving.take(Some(opened), film).unwrap().unwrap();
    (Arc::new(moving), found)
}

fn rename((moving, found): (Arc<Moving>, Found)) -> Outcome {
    async move { moving.rename(&found).await.map(|is_renamed| assert!(is_renamed)) }.boxed_local()
}

#[tokio::test]
async fn a_failing_move_fails_alone() {
    let directory = directory();
    let sqlite = open(&directory);
    let target = directory.path().join("films/film");
    let film = film(&sqlite, &target).await;
    // A directory takes the name in the last moment.
    fs::create_dir(&target).unwrap();
    let mut all: Vec<_> = halves(&sqlite, 40).await.into_iter().map(commit).collect();
    all.insert(20, rename(film));
    let mut outcomes = together(&sqlite, all).await;
    let text = outcomes.remove(20).unwrap_err().to_string();
    assert!(text.contains("uploads/film cannot be moved to"), "{text}");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(fs::read(sqlite.path(&id("film"))).unwrap(), b"hello");
    assert_complete(&directory, sqlite, 40).await;
}

/// Changes fail after they have changed something: by themselves, by a limit or a rule of the database, by a panic.
#[tokio::test]
async fn what_a_failed_change_has_made_is_undone_alone() {
    let directory = directory();
    let sqlite = open(&directory);
    let target = directory.path().join("film");
    let film = film(&sqlite, &target).await;
    let other = stored(&sqlite, "other", Some(6), b"other").await;
    let fails = |how: fn(&Connection) -> Result<(), StorageError>| {
        change(&sqlite, move |connection| {
            let sql = "UPDATE uploads SET upload_offset = 0 WHERE id = 'other'";
            assert_eq!(connection.execute(sql, []).unwrap(), 1);
            how(connection)
        })
    };
    let too_large = |connection: &Connection| {
        connection.query_row("SELECT zeroblob(2147483647)", [], |_| Ok(())).map_err(sql_error)
    };
    let twice = |connection: &Connection| {
        let sql = "INSERT INTO uploads SELECT * FROM uploads WHERE id = 'other'";
        connection.execute(sql, []).map(drop).map_err(sql_error)
    };
    let mut all: Vec<_> = halves(&sqlite, 3).await.into_iter().map(commit).collect();
    all.insert(1, fails(|_| Err(Failure::Internal.into())));
    // Made twice, but there is one file to move.
    all.insert(2, rename(film));
    all.extend([fails(too_large), fails(twice), fails(|_| panic!("as a test wants it"))]);
    let outcomes = together(&sqlite, all).await;
    let made: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(made, [true, false, true, true, true, false, false, false], "{outcomes:?}");
    assert_eq!(loaded(&sqlite, &other).await, Some(other));
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    assert_complete(&directory, sqlite, 3).await;
}

/// The application has taken the file from its new place before the change is repeated.
#[tokio::test]
async fn a_move_is_repeated_without_its_file() {
    let directory = directory();
    let sqlite = open(&directory);
    let (target, taken) = (directory.path().join("film"), directory.path().join("taken"));
    let film = film(&sqlite, &target).await;
    let taking = taken.clone();
    let fails = change(&sqlite, move |connection| -> Result<(), StorageError> {
        if !taking.exists() {
            fs::rename(&target, &taking).unwrap();
        }
        connection.execute("UPDATE uploads SET upload_offset = 0", []).map_err(sql_error)?;
        Err(Failure::Internal.into())
    });
    let outcomes = together(&sqlite, [rename(film), fails]).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(_)]), "{outcomes:?}");
    assert_eq!(fs::read(taken).unwrap(), b"hello");
}

/// If the disk fails, all changes fail. An upload whose removal was rolled back still has its file.
#[tokio::test]
async fn a_failing_disk_fails_all_and_deletes_no_file() {
    let directory = directory();
    let sqlite = open(&directory);
    let removed = stored(&sqlite, "removed", Some(11), b"hello").await;
    let halves = halves(&sqlite, 1).await;
    let (inner, seen) = (sqlite.inner().clone(), removed.clone());
    let deletes = async move {
        inner.give_up(seen.upload.id.clone());
        inner.clean(seen.upload.id).await.unwrap().map(drop)
    };
    let seen = removed.clone();
    let removes = change(&sqlite, move |connection| row::remove(connection, &seen));
    let disk = || sql_error(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_WRITE), None));
    let fails = change(&sqlite, move |_| -> Result<(), StorageError> { Err(disk()) });
    let commits = halves.into_iter().map(commit);
    let outcomes = together(&sqlite, commits.chain([removes, deletes.boxed_local(), fails])).await;
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert_eq!(loaded(&sqlite, &removed).await.as_ref(), Some(&removed));
    assert_eq!(content(&sqlite, &removed).await, "hello");
}

/// A row that somebody damaged by hand.
#[tokio::test]
async fn a_damaged_row_fails_no_other_upload() {
    let directory = directory();
    let sqlite = open(&directory);
    let film = film(&sqlite, &directory.path().join("film")).await;
    let mut all: Vec<_> = halves(&sqlite, 2).await.into_iter().map(commit).collect();
    let damages = |connection: &Connection| {
        connection.execute("UPDATE uploads SET kind = 9 WHERE id = 'film'", []).map_err(sql_error)
    };
    assert_eq!(sqlite.inner().database.write(damages).await.unwrap(), 1);
    all.insert(1, rename(film));
    let outcomes = together(&sqlite, all).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(_), Ok(())]), "{outcomes:?}");
    assert!(sqlite.path(&id("film")).exists());
    assert_complete(&directory, sqlite, 2).await;
}
