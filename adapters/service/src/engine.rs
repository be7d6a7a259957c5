//! What all parts of the service share.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tus_core::{Change, Config, Failure, Stored, UploadId};

use crate::{
    Cause,
    hooks::Runner,
    jobs::Jobs,
    leases::Leases,
    observe,
    request::Budget,
    storage::{Storage, StorageError},
    waking::Waking,
};

/// How long a request waits for an older one on the same upload.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long one that only reads waits for one in another process.
pub(crate) const READER_PATIENCE: Duration = Duration::from_secs(2);

/// How often removing or changing an upload is tried where its record changes meanwhile.
const ATTEMPTS: usize = 4;

pub(crate) struct Engine {
    pub(crate) config: Arc<Config>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) hooks: Runner,
    pub(crate) leases: Leases,
    pub(crate) body_timeout: Duration,
    /// The fewest bytes a second that a body has to bring.
    pub(crate) body_rate: u64,
    pub(crate) checkpoint_interval: Duration,
    /// Uploads that expire within this time are looked at in a sweep: until the one after the next.
    pub(crate) looks_ahead: Duration,
    /// How long the client of a download may take nothing.
    pub(crate) download_timeout: Duration,
    /// Turns for downloads.
    pub(crate) downloads: Arc<Semaphore>,
    /// Bounds the memory that bodies take.
    pub(crate) budget: Budget,
    /// Whether this process does what no request asks for.
    pub(crate) background: bool,
    /// Turns for assembling uploads, which moves many bytes.
    pub(crate) assembling: Semaphore,
    /// Final uploads that are being looked after because a part became complete.
    pub(crate) waking: Waking,
    /// The jobs that notify the application.
    pub(crate) jobs: Arc<Jobs>,
    /// Fires when bodies are to be cut short, and no job is to begin.
    pub(crate) stopping: CancellationToken,
    /// Fires when the time is over that jobs had to end.
    pub(crate) abandoning: CancellationToken,
    /// Fires when this is dropped.
    pub(crate) gone: CancellationToken,
    /// The exchanges that are under way.
    pub(crate) exchanges: TaskTracker,
}

impl Engine {
    /// Deletes exactly this version of an upload, which is leased, and calls the hook.
    pub(crate) async fn remove(&self, stored: &Stored, cause: Cause) -> Result<(), StorageError> {
        self.storage.remove(stored).await?;
        observe::removed(&stored.upload, cause);
        self.hooks.terminated(&stored.upload, cause).await;
        Ok(())
    }

    /// Deletes this incarnation of an upload, which is leased, whatever its version is by now.
    pub(crate) async fn remove_incarnation(&self, stored: &Stored, cause: Cause) -> Result<(), StorageError> {
        let mut latest = stored.clone();
        for _ in 0..ATTEMPTS {
            match self.remove(&latest, cause).await {
                Err(error) if error.failure() == Failure::Conflict => {}
                result => return result,
            }
            let now = self.storage.load(&stored.upload.id).await?;
            latest = now.filter(|now| now.is_same_upload(&stored.upload)).ok_or(Failure::NotFound)?;
        }
        Err(Failure::Conflict.into())
    }

    /// Changes the record of an upload, which is leased, as it is by now; a checkpoint of a writer that is gone may still
    /// come in between.
    pub(crate) async fn change_latest(
        &self,
        stored: &Stored,
        change: impl Fn(&Stored) -> Option<Change>,
    ) -> Result<(), StorageError> {
        for _ in 0..ATTEMPTS {
            let now = self.storage.load(&stored.upload.id).await?.ok_or(Failure::NotFound)?;
            let Some(change) = change(&now) else {
                return Ok(());
            };
            match self.storage.update(&now, &change).await {
                Ok(_) => {
                    observe::changed(&now.upload, &change);
                    return Ok(());
                }
                Err(error) if error.failure() == Failure::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Failure::Conflict.into())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// What the client learns of an error; the log has the rest.
pub(crate) fn failure(id: &UploadId, error: &StorageError) -> Failure {
    match error.failure() {
        Failure::Internal | Failure::Full => {
            observe::storage_failed(error.failure());
            tracing::error!(upload = %id, %error, "the storage failed");
        }
        _ => tracing::debug!(upload = %id, %error, "the storage refused"),
    }
    error.failure()
}

/// The same for an operation on several uploads.
pub(crate) fn failure_of_many(uploads: &[UploadId], error: &StorageError) -> Failure {
    match uploads.first() {
        Some(id) => failure(id, error),
        None => {
            if matches!(error.failure(), Failure::Internal | Failure::Full) {
                observe::storage_failed(error.failure());
                tracing::error!(%error, "the storage failed");
            }
            error.failure()
        }
    }
}
