//! Changes of the database. What has gathered in the queue becomes one transaction, so that many uploads share one
//! sync to disk.
//!
//! A thread of its own writes. Under load it does not sleep, so that a change need not wake it.
//!
//! If the disk is full, changes that remove something use the [`Reserve`], one after another.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tus_service::{Failure, StorageError};

use crate::{
    error::{Failed, OpenError, sql_error},
    opened::Opened,
    reserve::Reserve,
};

/// The most operations that share a transaction, which the log must hold completely, and the most bytes of large
/// records in it.
const GROUP: usize = 64;
const GROUP_BYTES: usize = 1 << 20;

/// The size of the log, in bytes, at which it is written back to the database and truncated.
const LOG: u64 = 3 << 20;

/// The number of changes after which the log is written back and restarted before it reaches that size: a file that
/// does not grow is synced faster. How many fit depends on what is stored, and is learned.
const CHECKPOINT: Range<usize> = 16..1000;
const CHECKPOINT_AT_FIRST: usize = 250;

/// How long truncating the log waits for its readers.
const CUT_PATIENCE: Duration = Duration::from_millis(200);

pub(crate) struct Changes {
    queue: Mutex<Queue>,
    /// Signals the thread.
    bell: Condvar,
    opened: Arc<Opened>,
    reserve: Arc<Reserve>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Box<dyn Job>>,
    /// Whether the thread waits for the bell.
    is_asleep: bool,
    closed: bool,
}

/// The connection that writes.
struct Writing {
    connection: Connection,
    /// How long it waits for another process.
    busy_timeout: Duration,
    /// The number of changes since the log was written back, and the number at which it will be written back.
    since_checkpoint: usize,
    checkpoint_at: usize,
    /// The size of the log, in bytes, at which it is truncated.
    cut_at: u64,
}

/// Jobs that were not done, with the reason.
enum Left {
    Nothing,
    /// Another process is writing.
    Busy(Vec<Box<dyn Job>>),
    /// The disk is full; these jobs may use the reserve.
    Full(Vec<Box<dyn Job>>),
}

/// Whether a change may use the reserve if the disk is full: it removes something, or prepares that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Fail,
    UseReserve,
}

impl Changes {
    /// Starts the thread for a connection. `busy_timeout` is how long it waits for another process.
    pub(crate) fn start(
        connection: Connection,
        busy_timeout: Duration,
        opened: Arc<Opened>,
        reserve: Arc<Reserve>,
    ) -> Result<Arc<Self>, Failed> {
        // Clients get their responses first.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", LOG as i64)?;
        connection.busy_timeout(busy_timeout)?;
        let writing =
            Writing { connection, busy_timeout, since_checkpoint: 0, checkpoint_at: CHECKPOINT_AT_FIRST, cut_at: LOG };
        let changes = Arc::new(Self { queue: Mutex::default(), bell: Condvar::new(), opened, reserve });
        let on_thread = changes.clone();
        let run = move || on_thread.run(writing);
        thread::Builder::new().name("tus-sqlite".into()).spawn(run).map_err(OpenError::Thread)?;
        Ok(changes)
    }

    /// Queues a change that writes a record of this many bytes. The receiver gets the result. The change is repeated
    /// if it was rolled back.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        when_full: WhenFull,
        bytes: usize,
        operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StorageError>> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(Change { when_full, bytes, operation, result: None, sender });
        let mut queue = self.queue();
        queue.jobs.push(job);
        self.wake(queue);
        receiver
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let wakes = std::mem::take(&mut queue.is_asleep);
        // Released first: the woken thread would wait for it.
        drop(queue);
        if wakes {
            self.bell.notify_one();
        }
    }

    /// The thread: runs until the queue is closed and empty.
    fn run(&self, mut writing: Writing) {
        loop {
            let mut queue = self.queue();
            while queue.jobs.is_empty() {
                if queue.closed {
                    return;
                }
                queue.is_asleep = true;
                queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let group = queue.group();
            drop(queue);
            match writing.write(group, &self.opened) {
                Left::Nothing => {}
                Left::Busy(jobs) => jobs.into_iter().for_each(|job| job.reply(Err(busy()))),
                Left::Full(jobs) => self.use_reserve(&mut writing, jobs),
            }
            if writing.is_checkpoint_due(&self.opened) {
                writing.checkpoint(&self.opened);
            }
        }
    }

    /// Runs jobs on a full disk one by one, because each needs little room and can use what the previous one freed.
    fn use_reserve(&self, writing: &mut Writing, jobs: Vec<Box<dyn Job>>) {
        let reserve = match self.reserve.lock() {
            Ok(reserve) => reserve,
            Err(error) => {
                tracing::error!(%error, "the reserve cannot be used");
                return jobs.into_iter().for_each(|job| job.reply(Err(full())));
            }
        };
        for job in jobs {
            let mut left = Left::Full(vec![job]);
            // Writing the log back makes room in it, but may need room itself.
            for step in [Step::WriteBack, Step::Release, Step::WriteBack] {
                let Left::Full(jobs) = left else { break };
                match step {
                    Step::WriteBack => drop(writing.write_back("RESTART")),
                    Step::Release => {
                        if let Err(error) = reserve.release() {
                            tracing::error!(%error, "the reserve cannot be used");
                        }
                    }
                }
                left = writing.write(jobs, &self.opened);
            }
            match left {
                Left::Nothing => {}
                Left::Busy(jobs) => jobs.into_iter().for_each(|job| job.reply(Err(busy()))),
                Left::Full(jobs) => jobs.into_iter().for_each(|job| job.reply(Err(full()))),
            }
        }
    }

    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        self.wake(queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The jobs for the next transaction.
    fn group(&mut self) -> Vec<Box<dyn Job>> {
        let mut bytes = 0;
        let mut fits = |job: &dyn Job| {
            bytes += job.bytes();
            bytes <= GROUP_BYTES
        };
        let fitting = self.jobs.iter().take(GROUP).take_while(|job| fits(job.as_ref())).count();
        // A larger one gets a transaction of its own.
        let next = fitting.max(1).min(self.jobs.len());
        self.jobs.drain(..next).collect()
    }
}

impl Writing {
    /// Runs the jobs and replies to those that wait. Returns them if the database is busy too long, or if they may
    /// use the reserve because the disk is full.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>, opened: &Opened) -> Left {
        // A panic is a defect, but no reason to stop accepting uploads.
        let written = catch_unwind(AssertUnwindSafe(|| {
            opened.check().and_then(|()| execute(&self.connection, "BEGIN IMMEDIATE")).map_err(Aborted::Before)?;
            commit(&self.connection, &mut group).map_err(Aborted::Within)
        }));
        let panicked =
            |_| Err(Aborted::Within(StorageError::new(Failure::Internal, "a change of the database panicked")));
        let failed = match written.unwrap_or_else(panicked) {
            Ok(()) => None,
            Err(Aborted::Before(error)) if error.failure() == Failure::Busy => return Left::Busy(group),
            Err(Aborted::Before(error) | Aborted::Within(error)) => {
                self.roll_back();
                Some((error.failure(), error.to_string()))
            }
        };
        let mut left = Vec::new();
        if let Some((Failure::Full, _)) = &failed {
            (left, group) = group.into_iter().partition(|job| job.when_full() == WhenFull::UseReserve);
        }
        self.since_checkpoint += group.len();
        for job in group {
            job.reply(match &failed {
                None => Ok(()),
                Some((failure, text)) => Err(StorageError::new(*failure, text.clone())),
            });
        }
        if left.is_empty() { Left::Nothing } else { Left::Full(left) }
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = execute(&self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "a change of the database could not be rolled back");
        }
    }

    /// Whether the log must be written back.
    fn is_checkpoint_due(&self, opened: &Opened) -> bool {
        self.since_checkpoint >= self.checkpoint_at || opened.log_length() > self.cut_at
    }

    /// Writes the log back to the database. It is then restarted, and truncated if it has become long.
    fn checkpoint(&mut self, opened: &Opened) {
        let changes = std::mem::take(&mut self.since_checkpoint);
        let length = opened.log_length();
        if length <= self.cut_at {
            self.write_back("PASSIVE");
            self.checkpoint_at = (self.checkpoint_at + self.checkpoint_at / 8).min(CHECKPOINT.end);
            return;
        }
        self.checkpoint_at = (changes - changes / 4).clamp(CHECKPOINT.start, CHECKPOINT.end);
        // If a reader holds it for long, writers are not delayed each time.
        self.cut_at = if self.write_back("TRUNCATE") { LOG } else { length + LOG };
    }

    /// Writes the log back. Returns whether that was possible; with `PASSIVE`, SQLite does not report how far.
    fn write_back(&self, how: &str) -> bool {
        let written = self.connection.busy_timeout(CUT_PATIENCE).and_then(|()| {
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| row.get::<_, i64>(0))
        });
        let written = self.connection.busy_timeout(self.busy_timeout).and(written);
        if let Err(error) = &written {
            tracing::warn!(%error, "the log could not be written back to the database");
        }
        written.is_ok_and(|busy| busy == 0)
    }
}

/// The steps that make room in the log.
enum Step {
    WriteBack,
    Release,
}

/// Whether the first job had been started before.
enum Aborted {
    Before(StorageError),
    Within(StorageError),
}

/// All of a group or none: if SQLite itself fails, each job fails.
fn commit(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), StorageError> {
    for job in group {
        job.run(connection)?;
    }
    execute(connection, "COMMIT")
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StorageError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(sql_error)
}

/// An entry of the queue.
trait Job: Send {
    fn when_full(&self) -> WhenFull;
    fn bytes(&self) -> usize;
    /// Runs within a transaction. An error means that the transaction must be rolled back.
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError>;
    /// Replies when it is known whether the transaction was committed.
    fn reply(self: Box<Self>, committed: Result<(), StorageError>);
}

struct Change<F, T> {
    when_full: WhenFull,
    bytes: usize,
    operation: F,
    result: Option<Result<T, StorageError>>,
    sender: oneshot::Sender<Result<T, StorageError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnMut(&Connection) -> Result<T, StorageError> + Send,
    T: Send,
{
    fn when_full(&self) -> WhenFull {
        self.when_full
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, connection: &Connection) -> Result<(), StorageError> {
        match (self.operation)(connection) {
            Err(error) if !is_own(error.failure()) => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn reply(self: Box<Self>, committed: Result<(), StorageError>) {
        let Self { result, sender, .. } = *self;
        // If the receiver is gone, nobody waits for the result.
        let _ = sender.send(committed.and_then(|()| result.unwrap_or_else(|| Err(gone()))));
    }
}

/// A failure of the operation, not of the database.
fn is_own(failure: Failure) -> bool {
    matches!(failure, Failure::Conflict | Failure::NotFound | Failure::Exists)
}

fn busy() -> StorageError {
    StorageError::new(Failure::Busy, "the database is locked")
}

fn full() -> StorageError {
    StorageError::new(Failure::Full, "the disk is full, and so is the reserve")
}

/// The change was abandoned.
pub(crate) fn gone() -> StorageError {
    StorageError::new(Failure::Internal, "the database was closed")
}
