//! Changes of the database. What has gathered in the queue becomes one transaction, so that many uploads share one
//! sync to disk. A change that fails for a reason of its own fails alone.
//!
//! A thread of its own writes. Under load it does not sleep, so that a change need not wake it.
//!
//! If the disk is full, changes that remove something use the [`Reserve`], one after another.

use std::{
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tus_service::{Failure, StorageError};

use crate::{
    error::{Failed, OpenError, sql_error},
    job::{Job, Nature, WhenFull, concerns_all, job},
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

    /// Queues a change. The receiver gets the result. The change is repeated if it was rolled back.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        nature: Nature,
        operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StorageError>> {
        let (job, receiver) = job(nature, operation);
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
            bytes += job.nature().bytes;
            bytes <= GROUP_BYTES
        };
        let fitting = self.jobs.iter().take(GROUP).take_while(|job| fits(job.as_ref())).count();
        // A larger one gets a transaction of its own.
        let next = fitting.max(1).min(self.jobs.len());
        let mut group: Vec<_> = self.jobs.drain(..next).collect();
        group.sort_by_key(|job| !job.nature().deletes_files);
        group
    }
}

impl Writing {
    /// Runs the jobs and replies to those that wait. Returns them if the database is busy too long, or if they may
    /// use the reserve because the disk is full.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>, opened: &Opened) -> Left {
        let mut written = self.try_write(&mut group, opened, Undo::All);
        if let Err(Aborted::Half) = written {
            written = self.try_write(&mut group, opened, Undo::Each);
        }
        self.since_checkpoint += group.len();
        let mut left = Vec::new();
        let mut reply = |job: Box<dyn Job>, result: Result<(), StorageError>| match result {
            Err(error) if error.failure() == Failure::Full && job.nature().when_full == WhenFull::UseReserve => {
                left.push(job);
            }
            result => job.reply(result),
        };
        match written {
            Ok(failed) => {
                let mut failed = failed.into_iter().peekable();
                for (place, job) in group.into_iter().enumerate() {
                    let own = failed.next_if(|(at, _)| *at == place);
                    reply(job, own.map_or(Ok(()), |(_, error)| Err(error)));
                }
            }
            Err(Aborted::Before(error)) if error.failure() == Failure::Busy => return Left::Busy(group),
            Err(aborted) => {
                let (failure, text) = aborted.reason();
                group.into_iter().for_each(|job| reply(job, Err(StorageError::new(failure, text.clone()))));
            }
        }
        if left.is_empty() { Left::Nothing } else { Left::Full(left) }
    }

    /// One transaction. Returns the jobs that failed alone, by their places, in order.
    fn try_write(
        &self,
        group: &mut [Box<dyn Job>],
        opened: &Opened,
        undo: Undo,
    ) -> Result<Vec<(usize, StorageError)>, Aborted> {
        opened.check().and_then(|()| execute(&self.connection, "BEGIN IMMEDIATE")).map_err(Aborted::Before)?;
        let written = run(&self.connection, group, undo)
            .and_then(|failed| execute(&self.connection, "COMMIT").map(|()| failed).map_err(Aborted::Within));
        if written.is_err() {
            self.roll_back();
        }
        written
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

/// What is undone if a job fails after it has changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// The transaction. This costs nothing while all goes well.
    All,
    /// The job, at the cost of two more statements for each.
    Each,
}

/// Why a transaction was not committed.
enum Aborted {
    /// It did not begin.
    Before(StorageError),
    Within(StorageError),
    /// A job that failed had changed something.
    Half,
}

impl Aborted {
    fn reason(self) -> (Failure, String) {
        match self {
            Self::Before(error) | Self::Within(error) => (error.failure(), error.to_string()),
            Self::Half => (Failure::Internal, "a change of the database was only half done".to_owned()),
        }
    }
}

/// Runs jobs within a transaction. Returns those that failed alone, by their places, in order.
fn run(connection: &Connection, group: &mut [Box<dyn Job>], undo: Undo) -> Result<Vec<(usize, StorageError)>, Aborted> {
    let mut failed = Vec::new();
    let also = |sql| if undo == Undo::Each { execute(connection, sql).map_err(Aborted::Within) } else { Ok(()) };
    for (place, job) in group.iter_mut().enumerate() {
        let before = connection.total_changes();
        also("SAVEPOINT job")?;
        if let Err(error) = job.run(connection) {
            // SQLite ends a transaction that it cannot continue.
            if concerns_all(&error) || connection.is_autocommit() {
                return Err(Aborted::Within(error));
            }
            if undo == Undo::All && connection.total_changes() != before {
                return Err(Aborted::Half);
            }
            also("ROLLBACK TO job")?;
            failed.push((place, error));
        }
        also("RELEASE job")?;
    }
    Ok(failed)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StorageError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(sql_error)
}

fn busy() -> StorageError {
    StorageError::new(Failure::Busy, "the database is locked")
}

fn full() -> StorageError {
    StorageError::new(Failure::Full, "the disk is full, and so is the reserve")
}
