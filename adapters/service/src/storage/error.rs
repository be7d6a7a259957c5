//! How a storage fails.

use std::{error::Error, fmt, io};

use tus_core::Failure;

/// A storage failed to do what it was asked to do.
#[derive(Debug)]
pub struct StorageError {
    failure: Failure,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StorageError {
    /// An error of a kind, with its reason for the log.
    pub fn new(failure: Failure, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { failure, source: Some(reason.into()) }
    }

    /// The kind of error. Clients learn nothing else.
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        Self { failure, source: None }
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        let failure = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Failure::Full,
            _ => Failure::Internal,
        };
        Self::new(failure, error)
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}"),
            None => write!(f, "{}", self.failure),
        }
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().and_then(|source| source.source())
    }
}
