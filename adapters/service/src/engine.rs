//! What all parts of the service share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tus_core::{Change, Config, Failure, Stored, UploadId};

use crate::{
    cause::Cause,
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

/// How long a request that only reads waits for one in another process.
pub(crate) const READER_PATIENCE: Duration = Duration::from_secs(4);

/// How often removing or changing an upload is tried if its record changes concurrently.
const ATTEMPTS: usize = 4;

pub(crate) struct Engine {
    pub(crate) config: Arc<Config>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) hooks: Runner,
    pub(crate) leases: Leases,
    pub(crate) body_timeout: Duration,
    /// The minimum rate of a body in bytes per second.
    pub(crate) body_rate: u64,
    pub(crate) checkpoint_interval: Duration,
    /// A sweep examines uploads that expire within this time: until the sweep after the next one.
    pub(crate) looks_ahead: Duration,
    /// How long the client of a download may read nothing.
    pub(crate) download_timeout: Duration,
    /// Permits for downloads.
    pub(crate) downloads: Arc<Semaphore>,
    /// Limits the memory of bodies.
    pub(crate) budget: Budget,
    /// Whether this process does work that no request asks for.
    pub(crate) background: bool,
    /// Permits for calls of the hook `terminated` that nobody waits for.
    pub(crate) terminating: Arc<Semaphore>,
    /// Notifies the sweeps that an upload could not be removed because there was no permit.
    pub(crate) awaits_calls: Arc<Notify>,
    /// Permits for assembling uploads, which moves many bytes.
    pub(crate) assembling: Semaphore,
    /// Final uploads that are being processed because a part became complete.
    pub(crate) waking: Waking,
    /// The jobs that notify the application.
    pub(crate) jobs: Arc<Jobs>,
    /// Fires when bodies must be cut short and no job may start.
    pub(crate) stopping: CancellationToken,
    /// Fires when jobs have used up the grace period.
    pub(crate) abandoning: CancellationToken,
    /// The running exchanges.
    pub(crate) exchanges: TaskTracker,
}

impl Engine {
    /// Deletes exactly this version of a leased upload, and calls the hook.
    pub(crate) async fn remove(&self, stored: &Stored, cause: Cause) -> Result<(), StorageError> {
        self.delete(stored, cause).await?;
        self.hooks.terminated(&stored.upload, cause).await;
        Ok(())
    }

    /// The same without the hook, which the caller calls.
    pub(crate) async fn delete(&self, stored: &Stored, cause: Cause) -> Result<(), StorageError> {
        self.storage.remove(stored).await?;
        observe::removed(&stored.upload, cause);
        Ok(())
    }

    /// Deletes this incarnation of a leased upload, whatever its version is now, and calls the hook.
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

    /// Changes the current record of a leased upload. A checkpoint of a writer that is gone may still intervene.
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

/// The failure that the client learns about. The details are logged.
pub(crate) fn failure(id: &UploadId, error: &StorageError) -> Failure {
    match error.failure() {
        Failure::Internal | Failure::Full | Failure::Unavailable => {
            observe::storage_failed(error.failure());
            tracing::error!(upload = %id, %error, "the storage failed");
        }
        _ => tracing::debug!(upload = %id, %error, "the storage rejected an operation"),
    }
    error.failure()
}

/// The same for an operation on several uploads.
pub(crate) fn failure_of_many(uploads: &[UploadId], error: &StorageError) -> Failure {
    match uploads.first() {
        Some(id) => failure(id, error),
        None => {
            if matches!(error.failure(), Failure::Internal | Failure::Full | Failure::Unavailable) {
                observe::storage_failed(error.failure());
                tracing::error!(%error, "the storage failed");
            }
            error.failure()
        }
    }
}
