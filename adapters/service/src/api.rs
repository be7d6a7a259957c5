//! Access to uploads from the application's own code.

use std::ops::Range;

use futures_util::StreamExt;
use tus_core::{
    Failure, Upload, UploadId,
    server::{self, Access, Mount},
};

use crate::{
    ByteStream, Cause, StorageError, Tus, UploadFilter, UploadStream, background,
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
        let lease = self.engine.leases.hold(id, PATIENCE).await.map_err(|_| Failure::Busy)?;
        lease.committed();
        let mut stored = storage.load(id).await?.ok_or(Failure::NotFound)?;
        if stored.held_elsewhere {
            stored = storage.settle(&stored, Access::Write, READER_PATIENCE).await?.ok_or(Failure::NotFound)?;
        }
        self.engine.remove_incarnation(&stored, Cause::Application).await
    }

    /// Deletes the uploads that have expired by now, as each sweep of the [background work](crate::Builder::background)
    /// does: not those to which bytes are added, nor parts that a final upload waits for. Returns how many were deleted;
    /// [`Hooks::terminated`](crate::Hooks::terminated) is called for each.
    ///
    /// # Errors
    ///
    /// The first failure of the storage, after all uploads were tried. Each upload that could not be deleted stays as it is,
    /// and its failure is in the log.
    pub async fn expire(&self) -> Result<usize, StorageError> {
        background::expire(&self.engine).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::{Duration, SystemTime},
    };

    use tus_core::{Incarnation, Kind, Part, Phase};

    use super::*;
    use crate::{Memory, Storage};

    #[tokio::test]
    async fn expire_deletes_what_has_expired_and_nothing_else() {
        let storage = Memory::new();
        let ago = SystemTime::now() - Duration::from_secs(60);
        let later = SystemTime::now() + Duration::from_secs(3600);
        let upload = |id: &str, kind, expires| {
            let mut upload = Upload::new(id.parse().unwrap(), Incarnation::from_random(1), kind);
            (upload.length, upload.expires) = (Some(5), expires);
            upload
        };
        let needed = upload("needed", Kind::Partial, Some(ago));
        let mut finished = upload("finished", Kind::Single, None);
        (finished.length, finished.phase) = (Some(0), Phase::Notified);
        let waiting = upload("waiting", Kind::Final(vec![Part::from(&needed)]), Some(later));
        let uploads = [
            upload("expired", Kind::Single, Some(ago)),
            upload("lone-part", Kind::Partial, Some(ago)),
            upload("young", Kind::Single, Some(later)),
            needed,
            finished,
            waiting,
        ];
        for upload in &uploads {
            storage.create(upload).await.unwrap();
        }
        let gone = Arc::new(Mutex::new(Vec::new()));
        let seen = gone.clone();
        let tus = Tus::builder(storage).background(false).terminated(move |cx| {
            seen.lock().unwrap().push((cx.upload.id.to_string(), cx.cause));
            async {}
        });
        let tus = tus.build();
        assert_eq!(tus.expire().await.unwrap(), 2);
        let mut gone = std::mem::take(&mut *gone.lock().unwrap());
        gone.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(gone, [("expired".to_owned(), Cause::Expired), ("lone-part".to_owned(), Cause::Expired)]);
        assert_eq!(tus.list(UploadFilter::default(), None).count().await, 4);
        assert_eq!(tus.expire().await.unwrap(), 0);
    }
}
