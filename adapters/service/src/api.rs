//! The same uploads, from the application's own code.

use std::ops::Range;

use futures_util::StreamExt;
use tus_core::{
    Failure, Upload, UploadId,
    server::{self, Access, Mount},
};

use crate::{
    ByteStream, Cause, StorageError, Tus, UploadFilter, UploadStream,
    engine::{PATIENCE, READER_PATIENCE},
};

impl Tus {
    /// An upload's record, as it was last committed; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the storage fails.
    pub async fn find(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        Ok(self.engine.storage.load(id).await?.map(|stored| stored.upload))
    }

    /// The uploads that pass a filter, in the order of their ids, beginning after `after`.
    pub fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> UploadStream<'_> {
        self.engine.storage.list(filter, after).map(|found| found.map(|stored| stored.upload)).boxed()
    }

    /// The URL of an upload, for a page or a mail of the application's: below
    /// [`Location::base`](tus_core::Location::base) where that is set, and otherwise an absolute path below `mount`, since
    /// the host is known only from a request.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tus_service::{Config, Location, Memory, Mount, Tus, UploadId};
    ///
    /// let (mount, id) = (Mount::at("/files"), UploadId::from_random(1));
    /// let tus = Tus::builder(Memory::new()).build();
    /// assert_eq!(tus.url(&mount, &id), "/files/00000000000000000000000000000001");
    ///
    /// let config = Config::default().location(Location::base("https://example.org/app/files")?);
    /// let tus = Tus::builder(Memory::new()).config(config).build();
    /// assert_eq!(tus.url(&mount, &id), "https://example.org/app/files/00000000000000000000000000000001");
    /// # Ok(())
    /// # }
    /// ```
    pub fn url(&self, mount: &Mount<'_>, id: &UploadId) -> String {
        server::url(&self.engine.config, mount, id)
    }

    /// Committed bytes of an upload: all of `range` (from its start) that there are.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] where there is no such upload, [`Failure::Gone`] where its bytes were moved away, or when the
    /// storage fails. The stream ends with an error where bytes cannot be read.
    pub async fn read(&self, id: &UploadId, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let stored = self.engine.storage.load(id).await?.ok_or(Failure::NotFound)?;
        self.engine.storage.read(&stored, range).await
    }

    /// Deletes an upload, finished or not. A request that is adding to it is stopped first, and
    /// [`Hooks::terminated`](crate::Hooks::terminated) is called.
    ///
    /// Not from within a hook of the same upload: its request would have to stop first.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] where there is none, [`Failure::Busy`] where its request does not stop, or when
    /// the storage fails.
    pub async fn terminate(&self, id: &UploadId) -> Result<(), StorageError> {
        let storage = &self.engine.storage;
        let _lease = self.engine.leases.hold(id, PATIENCE).await.map_err(|_| Failure::Busy)?;
        let mut stored = storage.load(id).await?.ok_or(Failure::NotFound)?;
        if stored.held_elsewhere {
            stored = storage.settle(&stored, Access::Write, READER_PATIENCE).await?.ok_or(Failure::NotFound)?;
        }
        self.engine.remove_incarnation(&stored, Cause::Application).await
    }
}
