//! Opens a storage.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use object_store::multipart::MultipartStore;
use tus_service::Upload;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use url::Url;

use crate::{bucket::Bucket, check, keys, observe, records::Inner, settings::Settings, storage::ObjectStore};

/// The smallest part that S3 accepts, except for the last one.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

/// Even a store that copies only 1 MiB a second finishes such a copy within the limit of a request.
const LARGEST_COPY: u64 = 256 * 1024 * 1024;

/// Whether a client of a store has no limit of its own in the environment: then the storage's are enough, which know how much
/// a request moves.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn is_unlimited(variable: &str) -> bool {
    std::env::var_os(variable).is_none()
}

/// As good as no limit.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const UNLIMITED: &str = "1 hour";

/// The shortest and longest pauses before a request is repeated to a store that allows one write per second to an
/// object.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

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

    /// A storage in the bucket of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, or `az://container/prefix`.
    /// Percent-encoded characters of the prefix are decoded. Credentials, endpoint and region come from the
    /// environment, under the names that each store's tools use:
    /// `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`,
    /// and so on.
    ///
    /// # Errors
    ///
    /// If the URL is none of these, or the environment is incomplete.
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
    pub fn from_url(url: &str) -> Result<Builder, InvalidUrl> {
        use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

        let parsed = Url::parse(url).map_err(|error| InvalidUrl(url.to_owned(), error.to_string()))?;
        let failed = |error: object_store::Error| InvalidUrl(url.to_owned(), error.to_string());
        let Some(bucket) = parsed.host_str() else {
            return Err(InvalidUrl(url.to_owned(), "it names no bucket".to_owned()));
        };
        // A client's request waits for it, and the storage no longer than this.
        let mut retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: 6, retry_timeout: crate::bucket::PATIENCE };
        let endpoint = std::env::var("AWS_ENDPOINT").or_else(|_| std::env::var("AWS_ENDPOINT_URL")).unwrap_or_default();
        let is_r2 = parsed.scheme() == "s3" && endpoint.contains(".r2.cloudflarestorage.com");
        let is_paced = is_r2 || parsed.scheme() == "gs";
        if is_paced {
            // The store allows one write per second to an object: a write that came too early succeeds soon.
            retry.backoff = BackoffConfig { init_backoff: PAUSES.0, max_backoff: PAUSES.1, ..BackoffConfig::default() };
            retry.max_retries = 30;
        }
        let builder = match parsed.scheme() {
            #[cfg(feature = "aws")]
            "s3" => {
                use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
                let mut store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
                if is_unlimited("AWS_TIMEOUT") {
                    store = store.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
                }
                if store.get_config_value(&AmazonS3ConfigKey::UnsignedPayload).is_none_or(|value| value == "false")
                    && std::env::var_os("AWS_UNSIGNED_PAYLOAD").is_none()
                {
                    // Over TLS, a digest of every part would cost a second of processor time per GiB without
                    // detecting anything more.
                    let is_plain = endpoint.starts_with("http://");
                    store = store.with_unsigned_payload(!is_plain);
                }
                let copies = crate::copies::can_be_completed(&store);
                let client = crate::copies::SharedClient::default();
                let store = store.with_http_connector(client.clone()).build().map_err(failed)?;
                let store = Arc::new(store);
                match client.get().filter(|_| copies) {
                    Some(client) => Self::builder(store.clone()).copies(store, client, bucket),
                    None => Self::builder(store),
                }
            }
            #[cfg(feature = "gcp")]
            "gs" => {
                use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
                let mut store = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry);
                if is_unlimited("GOOGLE_TIMEOUT") {
                    store = store.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
                }
                Self::builder(Arc::new(store.build().map_err(failed)?))
            }
            #[cfg(feature = "azure")]
            "az" => {
                use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
                let mut store = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(retry);
                if is_unlimited("AZURE_TIMEOUT") {
                    store = store.with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
                }
                Self::builder(Arc::new(store.build().map_err(failed)?))
            }
            other => {
                let reason =
                    format!("{other:?} is not a supported scheme: use s3, gs or az, with its feature turned on");
                return Err(InvalidUrl(url.to_owned(), reason));
            }
        };
        let path: Vec<_> = parsed.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let prefix = object_store::path::Path::from_url_path(path.join("/"))
            .map_err(|error| InvalidUrl(url.to_owned(), error.to_string()))?;
        let builder = if is_paced { builder.write_interval(Duration::from_secs(1)) } else { builder };
        Ok(builder.equal_parts(is_r2).prefix(prefix.as_ref()))
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
    /// upload for which none is left (28 have some by default) takes up to 2 MiB beyond the budget.
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

/// The URL does not refer to a supported object store.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be used: {1}")]
pub struct InvalidUrl(String, String);
