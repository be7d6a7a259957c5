//! Access to uploads from the application's own code.

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
    /// The upload's record as last committed; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    pub async fn find(&self, id: &UploadId) -> Result<Option<Upload>, StorageError> {
        Ok(self.engine.storage.load(id).await?.map(|stored| stored.upload))
    }

    /// The uploads that match a filter, ordered by id, starting after `after`.
    pub fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> UploadStream<'_> {
        self.engine.storage.list(filter, after).map(|found| found.map(|stored| stored.upload)).boxed()
    }

    /// The URL of an upload, for example for a page or a mail: below [`Location::base`](tus_core::Location::base) if
    /// that is set, otherwise an absolute path below `mount`, because the host is known only from requests.
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

    /// The committed bytes of an upload that lie within `range`, counted from its start.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] if there is no such upload, [`Failure::Gone`] if its bytes were moved away, or the
    /// storage's failure. The stream ends with an error if bytes cannot be read.
    pub async fn read(&self, id: &UploadId, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let stored = self.engine.storage.load(id).await?.ok_or(Failure::NotFound)?;
        self.engine.storage.read(&stored, range).await
    }

    /// Deletes an upload, finished or not. A request that is adding to it is stopped first.
    /// [`Hooks::terminated`](crate::Hooks::terminated) is called.
    ///
    /// Of the hooks of the same upload, only [`Hooks::finished`](crate::Hooks::finished) may call this: the request of any
    /// other hook would have to stop first.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFound`] if there is no such upload, [`Failure::Busy`] if its request does not stop, or the
    /// storage's failure.
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
