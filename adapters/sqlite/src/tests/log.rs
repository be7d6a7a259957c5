//! The log of the database stays small, whatever is stored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use futures_util::{StreamExt, stream};

use super::*;
use crate::Durability;

const BOUND: u64 = 5 << 20;

/// Observes the size of the log continuously.
struct Measured {
    over: Arc<AtomicBool>,
    longest: JoinHandle<u64>,
}

impl Measured {
    fn start(directory: &TempDir) -> Self {
        let (path, over) = (directory.path().join("uploads.db-wal"), Arc::new(AtomicBool::new(false)));
        let is_over = over.clone();
        let longest = thread::spawn(move || {
            let mut longest = 0;
            while !is_over.load(SeqCst) {
                longest = longest.max(path.metadata().map_or(0, |log| log.len()));
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        Self { over, longest }
    }

    fn longest(self) -> u64 {
        self.over.store(true, SeqCst);
        self.longest.join().unwrap()
    }
}

fn open(directory: &TempDir, durability: Durability) -> Sqlite {
    Sqlite::options().durability(durability).open(directory).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_records_keep_the_log_short() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let directory = directory();
        let sqlite = open(&directory, durability);
        let measured = Measured::start(&directory);
        let creations = stream::iter(0..480).map(|number| {
            let mut upload = upload(&format!("u{number}"), Some(11));
            upload.private = vec![1; 390_000].into();
            let sqlite = sqlite.clone();
            async move { sqlite.create(&upload).await.unwrap() }
        });
        creations.buffer_unordered(100).collect::<Vec<_>>().await;
        let longest = measured.longest();
        assert!(longest <= BOUND, "{durability:?}: {longest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_changes_keep_the_log_short() {
    for durability in [Durability::Synced, Durability::Buffered] {
        let directory = directory();
        let sqlite = open(&directory, durability);
        let measured = Measured::start(&directory);
        let uploads = stream::iter(0..1500).map(|number: u32| {
            // Consecutive rows are far apart in the table.
            let id = format!("{:08x}", number.wrapping_mul(0x9e37_79b9));
            let sqlite = sqlite.clone();
            async move {
                let stored = created(&sqlite, upload(&id, Some(11))).await;
                in_phase(&sqlite, &stored, Phase::Complete).await
            }
        });
        uploads.buffer_unordered(100).collect::<Vec<_>>().await;
        let longest = measured.longest();
        assert!(longest <= BOUND, "{durability:?}: {longest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_truncated_when_nobody_reads_it() {
    let directory = directory();
    let sqlite = open(&directory, Durability::Buffered);
    let log = || directory.path().join("uploads.db-wal").metadata().unwrap().len();
    let number = AtomicU64::new(0);
    let create = async || {
        let mut upload = upload(&format!("u{}", number.fetch_add(1, SeqCst)), Some(11));
        upload.private = vec![1; 390_000].into();
        sqlite.create(&upload).await.unwrap();
    };
    create().await;
    let reader = Connection::open(directory.path().join("uploads.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM uploads").unwrap();
    while log() <= BOUND {
        create().await;
    }
    drop(reader);
    let began = number.load(SeqCst);
    while log() > BOUND {
        create().await;
        assert!(number.load(SeqCst) < began + 30, "it stays long");
    }
}
