//! What a storage promises.
//!
//! An upload is a record ([`Upload`]) and bytes. The record is one small document that changes only by
//! compare-and-set, and **bytes past its offset do not exist**: a storage may hold more, and must then
//! behave as if it didn't. So a crash, a broken checksum and an abort share one path: the tail is forgotten.
//!
//! Nothing here needs an append, a rename or a lock, so that an object store can be a storage: its writer
//! holds bytes back until they fill a part, and declines checkpoints.

use std::{fmt, io, ops::Range, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tus_core::{Failure, Upload, UploadId};

/// Where uploads are kept.
///
/// Every method either does what it says or changes nothing. Several processes may share one store: what
/// is promised here holds among them all. Times may be rounded to a millisecond.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Stores the record of a new upload, durably.
    ///
    /// # Errors
    ///
    /// [`Failure::Exists`] where there is one of that id; it is left as it was.
    async fn create(&self, upload: &Upload) -> Result<(), StorageError>;

    /// The record as it was last committed; `None` where there is none.
    ///
    /// It sees every change that was acknowledged before the call. An offset that it tells is one up to
    /// which the bytes are there.
    async fn load(&self, id: &UploadId) -> Result<Option<Upload>, StorageError>;

    /// Opens the upload for adding bytes at `upload.offset`, where bytes that were never committed are forgotten.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`] where somebody else is adding bytes and the storage can tell. One that cannot lets
    /// the first commit win.
    async fn append(&self, upload: &Upload) -> Result<Box<dyn Writer>, StorageError>;

    /// Gives a final upload the bytes of `partials`, in order, and makes `upload` its record: all or
    /// nothing. It may take long; until it is done, [`Storage::load`] tells the old record.
    ///
    /// The partial uploads stay as they are. One may be there several times.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`] where the upload has been joined already, [`Failure::NotFound`] where it or a
    /// part is gone.
    async fn join(&self, upload: &Upload, partials: &[Upload]) -> Result<(), StorageError>;

    /// Records that the application was told of a complete upload, durably. Doing so again does nothing.
    async fn finish(&self, id: &UploadId) -> Result<(), StorageError>;

    /// Deletes an upload: it is not found from now on, and its space is given back now or soon.
    ///
    /// With `expired_at`, only if it is expired by then, in one step with the deletion.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] where there is none, [`Failure::Conflict`] where it is not expired.
    async fn remove(&self, id: &UploadId, expired_at: Option<SystemTime>) -> Result<(), StorageError>;

    /// Reads bytes of the upload: those of `range` (from its start) that are committed, or only the first
    /// of them; none at all only where there are none.
    async fn read(&self, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError>;

    /// Up to `limit` uploads in a state, in the order of their ids, beginning after `after`.
    ///
    /// For [`State::Due`] it costs no more where there are many others.
    async fn list(&self, state: State, after: Option<&UploadId>, limit: usize) -> Result<Vec<Upload>, StorageError>;

    /// Gives back the space of what belongs to no upload: what a crash has left. It is called at the start and
    /// then with every sweep, and may do nothing most of the time.
    async fn tidy(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Up to `limit` uploads that are expired by `now`, those first that expired first. It costs no more
    /// where there are many others.
    async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<UploadId>, StorageError>;
}

/// Which uploads are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// All of them.
    Any,
    /// Those that wait for bytes, or for their parts.
    Unfinished,
    /// Those of which every byte is there, partial uploads included.
    Complete,
    /// Those for which [`Upload::is_due`] holds.
    Due,
}

impl State {
    /// Whether an upload is in this state.
    pub fn includes(self, upload: &Upload) -> bool {
        match self {
            Self::Any => true,
            Self::Unfinished => !upload.is_complete(),
            Self::Complete => upload.is_complete(),
            Self::Due => upload.is_due(),
        }
    }
}

/// Adds bytes to one upload.
///
/// Dropping it without a commit forgets what was written since the last one.
#[async_trait]
pub trait Writer: Send {
    /// Takes the next bytes: all chunks, in order. They exist only after a commit, and may be held back
    /// until then.
    ///
    /// Where it fails, [`Writer::stored`] tells how much was taken, and that much can still be committed.
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError>;

    /// Bytes that were taken since the upload was opened.
    fn stored(&self) -> u64;

    /// A hint that the bytes so far may be committed now. The storage may decline, commit less, or do so
    /// while the next bytes come. Whether it takes all of them up; if not, it is asked again.
    ///
    /// `upload` is the record as it would be; its offset is at most that of opening plus [`Writer::stored`].
    ///
    /// # Errors
    ///
    /// Those of [`Writer::commit`], also of an earlier hint.
    async fn checkpoint(&mut self, upload: &Upload) -> Result<bool, StorageError>;

    /// Makes the bytes up to `upload.offset`, and then `upload` as the record, durable. Bytes beyond are forgotten.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`] where offset or length of the record are not those that this writer saw or
    /// set last, [`Failure::NotFound`] where the upload is gone, [`Failure::Full`] where there is no room.
    async fn commit(&mut self, upload: &Upload) -> Result<(), StorageError>;
}

/// A storage could not do what it was asked for.
#[derive(Debug)]
pub struct StorageError {
    failure: Failure,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StorageError {
    /// An error of a kind, with its reason for the log.
    pub fn new(failure: Failure, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { failure, source: Some(reason.into()) }
    }

    /// What the client is told.
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

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().and_then(|source| source.source())
    }
}
