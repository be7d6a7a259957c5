//! Several processes on one directory. Two storages share nothing but the directory, like two processes.

use std::{
    panic::catch_unwind,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use futures_util::stream;
use http::Request;
use tus_service::{Access, Checkpoint, Hint, Mount, StreamBody, Tus, Writer};

use super::*;
use crate::asks::{self, Tick, Wanted};

/// Serves one request: continues until it is asked to leave, and then commits what it has.
async fn receive(mut writer: Box<dyn Writer>, stored: Stored, bytes: &'static [u8]) -> Stored {
    writer.write(Bytes::from_static(bytes).into()).await.unwrap();
    writer.asked_to_leave().await;
    let change = with_bytes(&stored, bytes.len());
    let version = writer.commit(&change).await.unwrap();
    stored.changed(&change, version)
}

fn two(directory: &TempDir) -> (Sqlite, Sqlite) {
    (Sqlite::open(directory).unwrap(), Sqlite::open(directory).unwrap())
}

/// The first upload of a directory, and its last one, may come and go while another process starts.
#[test]
fn a_process_starts_while_another_creates_and_removes_uploads() {
    let directory = directory();
    let one = Sqlite::open(&directory).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                while !is_done.load(Ordering::Relaxed) {
                    let upload = stored(&one, "first", Some(11), b"hello").await;
                    one.remove(&upload).await.unwrap();
                }
            });
        });
        let opened = catch_unwind(|| (0..200).try_for_each(|_| Sqlite::open(&directory).map(drop)));
        is_done.store(true, Ordering::Relaxed);
        opened.unwrap().unwrap();
    });
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_request_gets_the_upload_within_a_second_and_no_byte_is_lost() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "wanted", Some(11), b"hel").await;
    let mut took = Vec::new();
    let mut now = upload;
    for bytes in [&b"lo"[..], b" w", b"or", b"l"] {
        let (here, there) = if now.upload.offset % 2 == 1 { (&one, &two) } else { (&two, &one) };
        let older = tokio::spawn(receive(here.open(&now).await.unwrap(), now.clone(), bytes));
        let seen = loaded(there, &now).await.unwrap();
        assert!(seen.held_elsewhere && seen.upload == now.upload);
        assert!(!loaded(here, &now).await.unwrap().held_elsewhere, "here it is no secret");
        let began = Instant::now();
        let settled = there.settle(&seen, Access::Write, PATIENCE).await.unwrap().unwrap();
        took.push(began.elapsed());
        assert_eq!(settled, older.await.unwrap());
        now = appended(there, &settled, b"").await.unwrap();
    }
    println!("takeovers took {took:?}");
    // Not all of them, if the machine is busy with other tests.
    assert!(took.iter().min() < Some(&Duration::from_secs(1)), "{took:?}");
    let complete = appended(&two, &now, b"d").await.unwrap();
    assert_eq!(content(&one, &complete).await, "hello world");
    assert_eq!(one.inner().database.write(wanted).await.unwrap(), 0, "no request is waiting");
}

fn wanted(connection: &Connection) -> Result<i64, StorageError> {
    connection.query_row("SELECT count(*) FROM wanted", [], |row| row.get(0)).map_err(sql_error)
}

#[tokio::test]
async fn a_process_that_does_not_leave_is_reported() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "kept", Some(11), b"hello").await;
    let writer = one.open(&upload).await.unwrap();
    let seen = loaded(&two, &upload).await.unwrap();
    let began = Instant::now();
    assert!(two.settle(&seen, Access::Write, Duration::from_millis(300)).await.unwrap().unwrap().held_elsewhere);
    assert!(began.elapsed() >= Duration::from_millis(300));
    drop(writer);
    assert_eq!(two.settle(&seen, Access::Write, PATIENCE).await.unwrap(), Some(upload));
}

#[tokio::test]
async fn an_upload_of_an_unresponsive_owner_is_soon_busy() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "kept", Some(11), b"hello").await;
    let _writer = one.open(&upload).await.unwrap();
    let seen = loaded(&two, &upload).await.unwrap();
    let held = two.settle(&seen, Access::Write, Duration::from_millis(100)).await.unwrap().unwrap();
    assert_eq!(two.inner().database.write(wanted).await.unwrap(), 0, "it asks no more");
    let began = Instant::now();
    assert_eq!(failure(two.open(&held).await), Failure::Busy);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2), "it may leave still: {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// This takes a little longer than a request's patience.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_the_upload_of_a_frozen_process_fails_and_loses_nothing() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "frozen", Some(11), b"hello").await;
    let mut writer = one.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b" wor").into()).await.unwrap();
    let request = Request::patch("/files/frozen")
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", "5")
        .header("content-type", "application/offset+octet-stream");
    let body = StreamBody(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b" world"))]));
    let tus = Tus::builder(two.clone()).build();
    let response = tus.handle(request.body(body).unwrap(), &Mount::at("/files")).await;
    assert_eq!(response.status(), 423);
    assert!(response.headers().contains_key("retry-after"));
    // It continues as if nothing had happened.
    let change = with_bytes(&upload, 4);
    let version = writer.commit(&change).await.unwrap();
    drop(writer);
    let upload = upload.changed(&change, version);
    assert_eq!(content(&two, &appended(&two, &upload, b"ld").await.unwrap()).await, "hello world");
}

#[tokio::test]
async fn a_hint_that_allows_nothing_does_nothing() {
    let directory = directory();
    let sqlite = Sqlite::open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello").await;
    let mut writer = sqlite.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b" wor").into()).await.unwrap();
    // Others hold all permits, without which nothing is synced or changed.
    let turns = sqlite.inner().checkpoints.clone();
    let _turns = turns.try_acquire_many_owned(turns_in(&sqlite)).unwrap();
    for hint in [Hint::Streaming, Hint::Stalled] {
        assert_eq!(writer.checkpoint(&Change::of(&upload.upload), hint).await.unwrap(), Checkpoint::Taken);
        assert_eq!(writer.checkpoint(&with_bytes(&upload, 4), hint).await.unwrap(), Checkpoint::Declined);
    }
    assert_eq!(loaded(&sqlite, &upload).await, Some(upload));
}

/// No more bytes arrive that would cause another checkpoint.
#[tokio::test]
async fn a_checkpoint_whose_row_could_not_be_written_is_retried() {
    let directory = directory();
    let sqlite = Sqlite::options().busy_timeout(Duration::from_millis(10)).open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello").await;
    let mut writer = sqlite.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b" wor").into()).await.unwrap();
    let other = Connection::open(directory.path().join("uploads.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let change = with_bytes(&upload, 4);
    assert_eq!(writer.checkpoint(&change, Hint::Stalled).await.unwrap(), Checkpoint::Taken);
    // It fails at least once.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(loaded(&sqlite, &upload).await.as_ref(), Some(&upload));
    other.execute_batch("ROLLBACK").unwrap();
    while loaded(&sqlite, &upload).await.unwrap().upload.offset < 9 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nor does a dropped writer take back what it has promised: another one waits until the row is written.
#[tokio::test]
async fn a_checkpoint_of_a_dropped_writer_is_retried() {
    let directory = directory();
    let options = Sqlite::options().durability(crate::Durability::Buffered).busy_timeout(Duration::from_millis(10));
    let sqlite = options.open(&directory).unwrap();
    let upload = stored(&sqlite, "a", Some(11), b"hello").await;
    let mut writer = sqlite.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b" wor").into()).await.unwrap();
    let other = Connection::open(directory.path().join("uploads.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(writer.checkpoint(&with_bytes(&upload, 4), Hint::Stalled).await.unwrap(), Checkpoint::Taken);
    // The checkpoint puts its change into the queue, and fails before this one.
    tokio::task::yield_now().await;
    assert_eq!(failure(sqlite.inner().database.write(|_| Ok(())).await), Failure::Busy);
    drop(writer);
    tokio::task::yield_now().await;
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(failure(sqlite.open(&upload).await), Failure::Conflict);
    let now = loaded(&sqlite, &upload).await.unwrap();
    assert_eq!(now.upload.offset, 9);
    let complete = appended(&sqlite, &now, b"ld").await.unwrap();
    assert_eq!(content(&sqlite, &complete).await, "hello world");
}

fn turns_in(sqlite: &Sqlite) -> u32 {
    sqlite.inner().checkpoints.available_permits() as u32
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_requests_gets_the_upload() {
    let directory = directory();
    let (one, two) = two(&directory);
    let three = Sqlite::open(&directory).unwrap();
    let upload = stored(&one, "wanted", Some(11), b"hello").await;
    let writer = one.open(&upload).await.unwrap();
    let seen = loaded(&two, &upload).await.unwrap();
    let earlier = tokio::spawn({
        let (two, seen) = (two.clone(), seen.clone());
        async move { two.settle(&seen, Access::Write, PATIENCE).await }
    });
    while two.inner().database.read(wanted).unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let later = tokio::spawn({
        let (three, seen) = (three.clone(), seen.clone());
        async move { three.settle(&seen, Access::Write, PATIENCE).await.unwrap().unwrap() }
    });
    assert_eq!(failure(earlier.await.unwrap()), Failure::Busy, "it gives up although nobody has left");
    writer.asked_to_leave().await;
    drop(writer);
    assert_eq!(later.await.unwrap(), upload);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_request_does_not_displace_a_newer_writer() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "wanted", Some(11), b"hello").await;
    let before = Tick::now();
    let want = |since, asker: &'static [u8]| {
        let id = upload.upload.id.clone();
        two.inner().database.write(move |connection| asks::want(connection, &id, Access::Write, since, asker))
    };
    want(before, b"killed").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let writer = one.open(&upload).await.unwrap();
    let asked = writer.asked_to_leave();
    assert!(tokio::time::timeout(Duration::from_millis(600), asked).await.is_err());
    let newest = Tick::now();
    want(newest, b"newer").await.unwrap();
    want(before, b"late").await.unwrap();
    let is_outdone = |since, asker: &'static [u8]| {
        two.inner().database.read(|connection| asks::is_outdone(connection, &upload.upload.id, since, asker)).unwrap()
    };
    assert!(is_outdone(before, b"late") && !is_outdone(newest, b"newer"), "somebody has asked later");
    tokio::time::timeout(PATIENCE, writer.asked_to_leave()).await.unwrap();
}

#[tokio::test]
async fn rows_of_dead_requests_are_ignored_and_deleted() {
    let directory = directory();
    let (one, _two) = two(&directory);
    let upload = stored(&one, "wanted", Some(11), b"hello").await;
    let now = Tick::now().0;
    for (name, since) in [("wanted", now - 16_000_000), ("before-the-boot", now + 3_600_000_000), ("alive", now)] {
        let ask = move |connection: &Connection| asks::want(connection, &id(name), Access::Write, Tick(since), b"dead");
        one.inner().database.write(ask).await.unwrap();
    }
    let recent = one.inner().database.read(asks::wanted).unwrap();
    assert_eq!(recent, [Wanted { id: id("alive"), since: Tick(now), access: Access::Write }]);
    // If the machine has been restarted since, a newer request counts nevertheless.
    for name in ["before-the-boot", "wanted"] {
        let now = Tick::now();
        let ask = move |connection: &Connection| asks::want(connection, &id(name), Access::Write, now, b"new");
        one.inner().database.write(ask).await.unwrap();
        let look = |connection: &Connection| asks::is_outdone(connection, &id(name), now, b"new");
        assert!(!one.inner().database.read(look).unwrap());
    }
    one.tidy().await.unwrap();
    assert_eq!(one.inner().database.write(wanted).await.unwrap(), 3);
    assert_eq!(loaded(&one, &upload).await, Some(upload));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_without_writers_does_not_poll() {
    let directory = directory();
    let (one, two) = two(&directory);
    let looks = |sqlite: &Sqlite| sqlite.inner().looks.load(Relaxed);
    let upload = stored(&one, "a", Some(11), b"hello").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((looks(&one), looks(&two)), (0, 0));
    let writers = (0..20).map(|n| created(&one, self::upload(&format!("u{n}"), Some(1))));
    let mut open = vec![one.open(&upload).await.unwrap()];
    for stored in futures_util::future::join_all(writers).await {
        open.push(one.open(&stored).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    drop(open);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let with_writers = looks(&one);
    assert!((1..=6).contains(&with_writers), "{with_writers} looks in 1.4 s with 21 writers");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((looks(&one), looks(&two)), (with_writers, 0));
}

#[tokio::test]
async fn a_file_without_a_lock_is_held_by_nobody() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "dropped", Some(11), b"hello").await;
    let mut writer = one.open(&upload).await.unwrap();
    writer.write(Bytes::from_static(b" lost").into()).await.unwrap();
    assert!(loaded(&two, &upload).await.unwrap().held_elsewhere);
    let all = two.load_all(&[upload.upload.id.clone(), id("none"), upload.upload.id.clone()]).await.unwrap();
    assert!(all[0].as_ref().unwrap().held_elsewhere && all[0] == all[2] && all[1].is_none());
    drop(writer);
    assert_eq!(loaded(&two, &upload).await, Some(upload));
}

#[tokio::test]
async fn background_work_belongs_to_one_process() {
    let directory = directory();
    let (one, two) = two(&directory);
    let upload = stored(&one, "claimed", Some(5), b"hello").await;
    let long = Duration::from_secs(60);
    assert!(one.claim(&upload.upload, long).await.unwrap());
    assert!(one.clone().claim(&upload.upload, long).await.unwrap(), "it is ours already");
    assert!(!two.claim(&upload.upload, long).await.unwrap());
    assert!(!two.claim(&upload.upload, Duration::ZERO).await.unwrap());
    assert!(one.claim(&upload.upload, Duration::ZERO).await.unwrap());
    assert!(two.claim(&upload.upload, Duration::from_millis(20)).await.unwrap());
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(one.claim(&upload.upload, long).await.unwrap(), "it had run out");
    one.remove(&upload).await.unwrap();
    assert!(!two.claim(&upload.upload, long).await.unwrap(), "there is no work for a removed upload");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_assembly_does_not_delete_the_file_of_another_process() {
    let directory = directory();
    let (one, two) = two(&directory);
    let (part, final_one, change) = finals::part_and_final(&one).await;
    let mut wrong = part.clone();
    wrong.upload.offset = 7;
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let failing = tokio::spawn({
        let (final_one, change, over) = (final_one.clone(), change.clone(), over.clone());
        async move {
            while !over.load(Relaxed) {
                let _ = one.assemble(&final_one, &[wrong.clone()], &change).await;
            }
        }
    });
    let version = loop {
        match two.assemble(&final_one, std::slice::from_ref(&part), &change).await {
            Err(error) if error.failure() == Failure::Busy => {}
            assembled => break assembled.unwrap(),
        }
    };
    over.store(true, Relaxed);
    failing.await.unwrap();
    assert_eq!(content(&two, &final_one.changed(&change, version)).await, "hello");
    assert_eq!(fs::read(two.path(&id("final"))).unwrap(), b"hello");
}
