//! Changes of the database: what has gathered in the queue becomes one transaction, so that many uploads share
//! one sync to disk.
//!
//! A thread of its own writes where that waits for the disk. Where it does not, whoever brings a change writes what has
//! gathered: that costs less than to wake a thread and to be woken by it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tus_service::{Failure, StorageError};

use crate::{error::sql_error, opened::Opened, pace::Pace};

/// The most operations that share a transaction.
const GROUP: usize = 256;

/// Changes after which the log is written back to the database: about a thousand pages.
const CHECKPOINT: usize = 500;

/// Transactions that one request writes for others before the thread takes over.
const ROUNDS: usize = 4;

pub(crate) struct Changes {
    queue: Mutex<Queue>,
    /// Rings when the thread is wanted.
    bell: Condvar,
    writing: Mutex<Writing>,
    opened: Arc<Opened>,
    busy_timeout: Duration,
    /// Whether a commit waits for the disk.
    synced: bool,
    pace: Pace,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Box<dyn Job>>,
    /// Whether the thread is to do the jobs.
    called: bool,
    /// Whether the log is long.
    checkpoint: bool,
    closed: bool,
}

/// The connection that writes.
struct Writing {
    connection: Connection,
    /// Changes since the log was written back.
    since_checkpoint: usize,
}

impl Changes {
    /// A queue for a connection. `synced` says whether a commit waits for the disk, `busy_timeout` how long the thread waits
    /// for another process.
    pub(crate) fn new(
        connection: Connection,
        busy_timeout: Duration,
        opened: Arc<Opened>,
        synced: bool,
    ) -> rusqlite::Result<Self> {
        // Whoever comes by must not be held up by it.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let writing = Mutex::new(Writing { connection, since_checkpoint: 0 });
        let (queue, bell, pace) = Default::default();
        Ok(Self { queue, bell, writing, opened, busy_timeout, synced, pace })
    }

    /// Brings a change. What becomes of it comes from the receiver.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, StorageError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StorageError>> {
        let (sender, receiver) = oneshot::channel();
        self.queue().jobs.push(Box::new(Change { operation: Some(operation), result: None, sender }));
        self.serve();
        receiver
    }

    /// Writes what has gathered, unless somebody is at it, who will come back to the queue.
    fn serve(&self) {
        for _ in 0..ROUNDS {
            if self.synced || !self.pace.is_quick() {
                break;
            }
            let mut writing = match self.writing.try_lock() {
                Ok(writing) => writing,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let group = self.queue().group();
            let left = self.pace.time(|| writing.write(group, &self.opened, Duration::ZERO));
            let checkpoint = writing.since_checkpoint >= CHECKPOINT;
            drop(writing);
            let mut queue = self.queue();
            let busy = !left.is_empty();
            queue.jobs.splice(0..0, left);
            queue.checkpoint |= checkpoint;
            if checkpoint || busy {
                break;
            }
            if queue.jobs.is_empty() {
                return;
            }
        }
        self.queue().called = true;
        self.bell.notify_one();
    }

    /// The thread: runs until the queue is closed and empty.
    pub(crate) fn run(&self) {
        loop {
            let mut queue = self.queue();
            while !queue.called && !queue.closed {
                queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.called = false;
            let (group, checkpoint) = (queue.group(), std::mem::take(&mut queue.checkpoint));
            if group.is_empty() && !checkpoint && queue.closed {
                return;
            }
            drop(queue);
            let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            for job in self.pace.time(|| writing.write(group, &self.opened, self.busy_timeout)) {
                job.reply(Err(StorageError::new(Failure::Busy, "the database is locked")));
            }
            if checkpoint || writing.since_checkpoint >= CHECKPOINT {
                writing.checkpoint();
            }
            drop(writing);
            // Who came meanwhile found it taken.
            let mut queue = self.queue();
            queue.called |= !queue.jobs.is_empty();
        }
    }

    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.bell.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// What is to share a transaction.
    fn group(&mut self) -> Vec<Box<dyn Job>> {
        match self.jobs.len() > GROUP {
            true => self.jobs.drain(..GROUP).collect(),
            false => std::mem::take(&mut self.jobs),
        }
    }
}

impl Writing {
    /// Does the jobs and tells those who wait. Hands them back where the database is busy for so long.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>, opened: &Opened, patience: Duration) -> Vec<Box<dyn Job>> {
        if group.is_empty() {
            return group;
        }
        // A panic is a defect, and still not a reason to take no more uploads.
        let written = catch_unwind(AssertUnwindSafe(|| {
            opened.check().and_then(|()| self.begin(patience)).map_err(Failed::Before)?;
            commit(&self.connection, &mut group).map_err(Failed::Within)
        }));
        let panicked =
            |_| Err(Failed::Within(StorageError::new(Failure::Internal, "a change of the database panicked")));
        let failed = match written.unwrap_or_else(panicked) {
            Ok(()) => None,
            Err(Failed::Before(error)) if error.failure() == Failure::Busy => return group,
            Err(Failed::Before(error) | Failed::Within(error)) => {
                self.roll_back();
                Some((error.failure(), error.to_string()))
            }
        };
        self.since_checkpoint += group.len();
        for job in group {
            job.reply(match &failed {
                None => Ok(()),
                Some((failure, text)) => Err(StorageError::new(*failure, text.clone())),
            });
        }
        Vec::new()
    }

    fn begin(&self, patience: Duration) -> Result<(), StorageError> {
        self.connection.busy_timeout(patience).map_err(sql_error)?;
        execute(&self.connection, "BEGIN IMMEDIATE")
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = execute(&self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "a change of the database could not be taken back");
        }
    }

    fn checkpoint(&mut self) {
        self.since_checkpoint = 0;
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())) {
            tracing::warn!(%error, "the log could not be written back to the database");
        }
    }
}

/// Before or after the first of the jobs was begun.
enum Failed {
    Before(StorageError),
    Within(StorageError),
}

/// All of a group or none of it: where SQLite itself fails, each of them is told so.
fn commit(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), StorageError> {
    for job in group {
        job.run(connection)?;
    }
    execute(connection, "COMMIT")
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StorageError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop).map_err(sql_error)
}

/// What waits in the queue.
trait Job: Send {
    /// Runs within a transaction. An error means that the transaction is not sound any more.
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError>;
    /// Tells whoever waits, once it is known whether the transaction was committed.
    fn reply(self: Box<Self>, committed: Result<(), StorageError>);
}

struct Change<F, T> {
    operation: Option<F>,
    result: Option<Result<T, StorageError>>,
    sender: oneshot::Sender<Result<T, StorageError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnOnce(&Connection) -> Result<T, StorageError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError> {
        let result = self.operation.take().map(|operation| operation(connection));
        match result {
            Some(Err(error)) if !is_own(error.failure()) => Err(error),
            result => {
                self.result = result;
                Ok(())
            }
        }
    }

    fn reply(self: Box<Self>, committed: Result<(), StorageError>) {
        let Self { result, sender, .. } = *self;
        // Nobody waits for it any more where the receiver is gone.
        let _ = sender.send(committed.and_then(|()| result.unwrap_or_else(|| Err(gone()))));
    }
}

/// A failure of the operation, not of the database.
fn is_own(failure: Failure) -> bool {
    matches!(failure, Failure::Conflict | Failure::NotFound | Failure::Exists)
}

/// The change was given up.
pub(crate) fn gone() -> StorageError {
    StorageError::new(Failure::Internal, "the database was closed")
}
