//! A change that waits for its transaction, and how it failed.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::oneshot;
use tus_service::{Failure, StorageError};

/// What the queue must know about a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    pub(crate) when_full: WhenFull,
    /// The size of the record that it writes, in bytes.
    pub(crate) bytes: usize,
    /// Whether it deletes files that belong to no row. It then runs before the others of its transaction: a file stays
    /// deleted if a row that another change removed comes back.
    pub(crate) deletes_files: bool,
}

/// Whether a change may use the reserve if the disk is full: it removes something, or prepares that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Fail,
    UseReserve,
}

/// An entry of the queue.
pub(crate) trait Job: Send {
    fn nature(&self) -> Nature;
    /// Runs within a transaction, and again in another one if that was rolled back.
    fn run(&mut self, connection: &Connection) -> Result<(), StorageError>;
    /// Replies when it is known whether the transaction was committed.
    fn reply(self: Box<Self>, committed: Result<(), StorageError>);
}

/// A job that runs an operation, and the receiver of its result.
pub(crate) fn job<T: Send + 'static>(
    nature: Nature,
    operation: impl FnMut(&Connection) -> Result<T, StorageError> + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StorageError>>) {
    let (sender, receiver) = oneshot::channel();
    (Box::new(Change { nature, operation, result: None, sender }), receiver)
}

struct Change<F, T> {
    nature: Nature,
    operation: F,
    result: Option<T>,
    sender: oneshot::Sender<Result<T, StorageError>>,
}

impl<F, T> Job for Change<F, T>
where
    F: FnMut(&Connection) -> Result<T, StorageError> + Send,
    T: Send,
{
    fn nature(&self) -> Nature {
        self.nature
    }

    fn run(&mut self, connection: &Connection) -> Result<(), StorageError> {
        // A panic is a defect, but no reason to stop accepting uploads.
        let ran = catch_unwind(AssertUnwindSafe(|| (self.operation)(connection)));
        let panicked = |_| Err(StorageError::new(Failure::Internal, "a change of the database panicked"));
        self.result = Some(ran.unwrap_or_else(panicked)?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<(), StorageError>) {
        let Self { result, sender, .. } = *self;
        // If the receiver is gone, nobody waits for the result.
        let _ = sender.send(committed.and_then(|()| result.ok_or_else(gone)));
    }
}

/// Whether a job failed for a reason that lies with the database or its disk, so that the other jobs fail, too.
pub(crate) fn concerns_all(error: &StorageError) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<ffi::Error>()) else { return false };
    matches!(
        error.code,
        ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::InternalMalfunction
            | ErrorCode::NotADatabase
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
    )
}

/// The change was abandoned.
pub(crate) fn gone() -> StorageError {
    StorageError::new(Failure::Internal, "the database was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::sql_error;

    #[test]
    fn the_disk_concerns_all_and_a_row_does_not() {
        let sqlite = |code| sql_error(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("text".into())));
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_READONLY_DBMOVED, ffi::SQLITE_NOMEM] {
            assert!(concerns_all(&sqlite(code)), "{code}");
        }
        for code in [ffi::SQLITE_CONSTRAINT_CHECK, ffi::SQLITE_TOOBIG, ffi::SQLITE_MISMATCH, ffi::SQLITE_CORRUPT] {
            assert!(!concerns_all(&sqlite(code)), "{code}");
        }
        assert!(!concerns_all(&sql_error(rusqlite::Error::IntegralValueOutOfRange(4, -1))), "a damaged row");
        assert!(!concerns_all(&std::io::Error::from(std::io::ErrorKind::StorageFull).into()), "another disk");
    }
}
