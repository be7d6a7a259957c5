//! The same uploads, from the application's own code.

use std::ops::Range;

use bytes::Bytes;
use tus_core::{Failure, Upload, UploadId};

use crate::{Cause, State, StorageError, Tus, driver::PATIENCE};

impl Tus {
    /// An upload's record, as it was last committed; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the storage fails.
    pub async fn find(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        self.inner.storage.load(id).await
    }

    /// Up to `limit` uploads in a state, in the order of their ids: the first page with `after: None`, the
    /// next one after the last id of the page before.
    ///
    /// # Errors
    ///
    /// When the storage fails.
    pub async fn list(
        &self,
        state: State,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<Upload>, StorageError> {
        self.inner.storage.list(state, after, limit).await
    }

    /// Committed bytes of an upload: those of `range`, or only the first of them; none at all only where
    /// there are none. Call it again from where it ended.
    ///
    /// # Errors
    ///
    /// When there is no such upload, or the storage fails.
    pub async fn read(&self, upload: &Upload, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.inner.storage.read(upload, range).await
    }

    /// Deletes an upload, finished or not. A request that is adding to it is stopped first, and
    /// [`Hooks::terminated`](crate::Hooks::terminated) is told.
    ///
    /// Not from within a hook of the same upload: its request would have to stop first.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] where there is none, [`Failure::Busy`] where its request does not stop, or when
    /// the storage fails.
    pub async fn terminate(&self, id: &UploadId) -> Result<(), StorageError> {
        let _held = self.inner.locks.hold(id, PATIENCE).await.map_err(|_| Failure::Busy)?;
        let upload = self.inner.storage.load(id).await?.ok_or(Failure::NotFound)?;
        self.inner.remove(&upload, None, Cause::Application).await
    }
}
