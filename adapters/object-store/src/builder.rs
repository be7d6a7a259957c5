//! Opens a storage.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use object_store::multipart::MultipartStore;
use tus_service::Upload;

use crate::{bucket::Bucket, check, keys, observe, records::Inner, settings::Settings, storage::ObjectStore};

/// The smallest part that S3 accepts, except for the last one.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

/// Even a store that copies only 1 MiB a second finishes such a copy within the limit of a request.
const LARGEST_COPY: u64 = 256 * 1024 * 1024;

/// Opens an [`ObjectStore`].
///
/// ```
/// use std::sync::Arc;
///
/// use tus_object_store::{ObjectStore, object_store::memory::InMemory};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = ObjectStore::builder(Arc::new(InMemory::new()))
///     .prefix("uploads")
///     .key(|upload| format!("films/{}", upload.incarnation))
///     .part_size(16 << 20);
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Builder {
    bucket: Bucket,
    settings: Settings,
}

impl ObjectStore {
    /// A storage in a bucket that the application has configured with the crate [`object_store`]: `AmazonS3`,
    /// `GoogleCloudStorage` or `MicrosoftAzure`.
    pub fn builder<S: object_store::ObjectStore + MultipartStore>(store: Arc<S>) -> Builder {
        let settings = Settings {
            part_size: 8 * 1024 * 1024,
            window: 4,
            memory: 128 * 1024 * 1024,
            equal_parts: false,
            write_interval: None,
            smallest_part: SMALLEST_PART,
            largest_copy: LARGEST_COPY,
            key: Arc::new(|upload| keys::object(&upload.id)),
            clock: Arc::new(SystemTime::now),
            owner_looks: Duration::from_secs(1),
            waiter_looks: Duration::from_millis(250),
            linger: Duration::from_secs(5),
            #[cfg(test)]
            without: None,
        };
        Builder { bucket: Bucket::new(store), settings }
    }
}

impl Builder {
    /// The prefix of all objects of this storage; none by default. Storages of different applications in one bucket
    /// need different prefixes.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.bucket.set_prefix(prefix);
        self
    }

    /// The name of an upload's finished object, below the prefix; `files/` and its id by default. The function is
    /// called once, when the upload is created, with the result of
    /// [`before_create`](tus_service::Hooks::before_create) (owner, private data, metadata). Names must be unique, so
    /// include the id. They may contain any characters except control characters. A creation fails if a name begins with
    /// `.tus/`, has two slashes side by side, or has a segment `.` or `..`. Slashes at its ends are dropped.
    ///
    /// If an upload with the same id was removed less than a day ago, a hyphen and the incarnation are appended.
    ///
    /// ```no_run
    /// # fn build(store: std::sync::Arc<tus_object_store::object_store::aws::AmazonS3>) {
    /// use tus_object_store::ObjectStore;
    ///
    /// let builder = ObjectStore::builder(store)
    ///     .key(|upload| format!("films/{}/{}", upload.owner.as_deref().unwrap_or("nobody"), upload.id));
    /// # }
    /// ```
    pub fn key(mut self, key: impl Fn(&Upload) -> String + Send + Sync + 'static) -> Self {
        self.settings.key = Arc::new(key);
        self
    }

    /// The size of parts in bytes; 8 MiB by default, at least 5 MiB. An upload of more than 9,000 parts of this size
    /// has larger parts. The parts of an upload of unknown length double in size every 1,000 parts.
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.settings.part_size = bytes.max(SMALLEST_PART);
        self
    }

    /// The number of parts of an upload that may have been uploaded without being recorded in the document; 4 by
    /// default, at least 2. A process that is killed loses them, or the bytes of the last half second if they are more:
    /// the service allows a change of the record twice a second.
    pub fn window(mut self, parts: usize) -> Self {
        self.settings.window = parts.max(2);
        self
    }

    /// Memory in bytes for data that all uploads of this process buffer before it is written; 128 MiB by default, at
    /// least 8 MiB. If it is used up, data is written earlier, in smaller pieces.
    ///
    /// Two parts of it, but not more than half, are for pieces that are read back. A part that is larger than that
    /// (uploads above 140 GiB have such parts by default, and those of unknown length above 23 GiB) exceeds the budget
    /// by its size. Half of the rest is for bytes that are on their way to uploads that wait for memory, 2 MiB each: an
    /// upload for which none is left (28 have some by default) takes up to 2 MiB beyond the budget. Memory for the next
    /// upload is kept in addition: up to 8 MiB, and at most an eighth of the budget.
    ///
    /// A request that gets no memory within the [limit](Self::request_timeout) of one that transfers bytes gets 503.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.settings.memory = bytes.max(SMALLEST_PART as usize + 3 * 1024 * 1024).min(u32::MAX as usize);
        self
    }

    /// The interval between two writes of one object that the store allows: one second in GCS and R2. None by
    /// default; one second for `gs://` and for R2's endpoint in [`from_url`](ObjectStore::from_url). While bytes
    /// arrive, progress is recorded only at this interval, and a process that is killed loses what has arrived since.
    /// One upload receives at most eight [windows](Self::window) per interval.
    ///
    /// If a write comes too early nevertheless, the store's client must repeat it: give its
    /// [`RetryConfig`](object_store::RetryConfig) short pauses.
    pub fn write_interval(mut self, interval: Duration) -> Self {
        self.settings.write_interval = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// Whether all parts of an upload except the last have the same size, as R2 requires. An upload of unknown length
    /// is then limited to 10,000 times the [part size](Self::part_size).
    pub fn equal_parts(mut self, equal: bool) -> Self {
        self.settings.equal_parts = equal;
        self
    }

    /// How long the store may take to answer a small request; 15 s by default, at least a second. A request that
    /// transfers bytes gets one more second for each MiB that is being transferred by all requests of this storage, and
    /// one that names parts or objects 10 ms more for each. The completion of an object gets four more minutes. A
    /// request that takes longer is abandoned: the client gets 503 and retries.
    ///
    /// A small request that only reads is sent once more after half of the time, beside the first one, because its
    /// connection may be dead.
    ///
    /// After an unanswered request, the following small ones (less than 1 MiB) get a fifth of this time, until it has
    /// passed once more or the store answers. While the store cannot be reached, a client's request therefore ends
    /// within about four times this, and the time of the bytes that were being transferred.
    ///
    /// The clients of the stores have limits of their own. [`from_url`](ObjectStore::from_url) sets none unless
    /// `AWS_TIMEOUT`, `GOOGLE_TIMEOUT` or `AZURE_TIMEOUT` is in the environment. A client that the application
    /// configured retries within this time, by its [`RetryConfig`](object_store::RetryConfig).
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.bucket.set_patience(timeout.max(Duration::from_secs(1)));
        self
    }

    /// Lets concatenation copy inside the bucket with S3's UploadPartCopy, so that the bytes of parts do not pass
    /// through this process. [`from_url`](ObjectStore::from_url) enables this for S3. `signer` is the store, `client`
    /// sends the signed requests, `bucket` is the bucket's name.
    ///
    /// Do not call this if the client of the store adds checksums (`AWS_CHECKSUM_ALGORITHM`): S3 accepts no completion then
    /// that names copied parts, because they have none.
    ///
    /// The bytes are read and uploaded again if a part of a concatenation, except the last, has less than 5 MiB, if
    /// parts must be [equal](Self::equal_parts), or if the store refuses to copy.
    #[cfg(feature = "aws")]
    pub fn copies(
        mut self,
        signer: Arc<dyn object_store::signer::Signer>,
        client: object_store::client::HttpClient,
        bucket: &str,
    ) -> Self {
        self.bucket.set_copies(crate::copies::Copies::new(signer, client, bucket));
        self
    }

    #[cfg(test)]
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Opens the storage. About 30 small requests test whether the store supports conditional writes.
    ///
    /// # Errors
    ///
    /// If the store cannot be reached or lacks something; the text says what it did.
    pub async fn open(self) -> Result<ObjectStore, OpenError> {
        check::check(&self.bucket).await.map_err(|unfit| OpenError(format!("{:?}", self.bucket), unfit))?;
        self.open_unchecked().map_err(|error| {
            let unfit = check::Unfit::Fails(error.to_string());
            OpenError("the system".to_owned(), unfit)
        })
    }

    pub(crate) fn open_unchecked(self) -> Result<ObjectStore, tus_service::StorageError> {
        observe::describe();
        Ok(ObjectStore(Arc::new(Inner::new(self.bucket, self.settings)?)))
    }
}

/// The store cannot be used.
#[derive(Debug)]
pub struct OpenError(String, check::Unfit);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uploads cannot be stored in {}: {}", self.0, self.1)
    }
}

impl Error for OpenError {}
