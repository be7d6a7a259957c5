//! Opens a storage.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use object_store::multipart::MultipartStore;
use tus_service::Upload;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use url::Url;

use crate::{bucket::Bucket, check, keys, records::Inner, settings::Settings, storage::ObjectStore};

/// The smallest part that S3 takes, but the last.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

/// A copy takes as long as a request may last, 30 seconds, where a store copies only 9 MB a second.
const LARGEST_COPY: u64 = 256 * 1024 * 1024;

/// Pauses before a request is repeated to a store that writes an object once a second: from, and up to.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

/// Opens an [`ObjectStore`].
#[derive(Debug)]
pub struct Builder {
    bucket: Bucket,
    settings: Settings,
}

impl ObjectStore {
    /// A storage in a bucket that the application has set up with the crate [`object_store`]: `AmazonS3`,
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
            owner_looks: Duration::from_secs(1),
            waiter_looks: Duration::from_millis(250),
            linger: Duration::from_secs(5),
            #[cfg(test)]
            without: None,
        };
        Builder { bucket: Bucket::new(store), settings }
    }

    /// A storage in the bucket of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, or `az://container/prefix`. Everything
    /// else (credentials, endpoint, region) is in the environment, under the names that the tools of each store read:
    /// `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, and so
    /// on.
    ///
    /// # Errors
    ///
    /// When the URL is none of these, or the environment lacks something.
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
    pub fn from_url(url: &str) -> Result<Builder, InvalidUrl> {
        use object_store::{BackoffConfig, RetryConfig};

        let parsed = Url::parse(url).map_err(|error| InvalidUrl(url.to_owned(), error.to_string()))?;
        let failed = |error: object_store::Error| InvalidUrl(url.to_owned(), error.to_string());
        let Some(bucket) = parsed.host_str() else {
            return Err(InvalidUrl(url.to_owned(), "it names no bucket".to_owned()));
        };
        // A request of a client waits for it.
        let mut retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: 6, retry_timeout: Duration::from_secs(30) };
        let endpoint = std::env::var("AWS_ENDPOINT").or_else(|_| std::env::var("AWS_ENDPOINT_URL")).unwrap_or_default();
        let is_r2 = parsed.scheme() == "s3" && endpoint.contains(".r2.cloudflarestorage.com");
        let is_paced = is_r2 || parsed.scheme() == "gs";
        if is_paced {
            // An object can be written once a second: whoever comes sooner succeeds soon.
            retry.backoff = BackoffConfig { init_backoff: PAUSES.0, max_backoff: PAUSES.1, ..BackoffConfig::default() };
            retry.max_retries = 30;
        }
        let builder = match parsed.scheme() {
            #[cfg(feature = "aws")]
            "s3" => {
                use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
                let mut store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
                if store.get_config_value(&AmazonS3ConfigKey::UnsignedPayload).is_none_or(|value| value == "false")
                    && std::env::var_os("AWS_UNSIGNED_PAYLOAD").is_none()
                {
                    // Over TLS, a digest of every part costs a second of processor time a GiB, and shows nothing more.
                    let is_plain = endpoint.starts_with("http://");
                    store = store.with_unsigned_payload(!is_plain);
                }
                let client = crate::copies::SharedClient::default();
                let store = store.with_http_connector(client.clone()).build().map_err(failed)?;
                let store = Arc::new(store);
                match client.get() {
                    Some(client) => Self::builder(store.clone()).copies(store, client, bucket),
                    None => Self::builder(store),
                }
            }
            #[cfg(feature = "gcp")]
            "gs" => {
                use object_store::gcp::GoogleCloudStorageBuilder;
                let store = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry);
                Self::builder(Arc::new(store.build().map_err(failed)?))
            }
            #[cfg(feature = "azure")]
            "az" => {
                use object_store::azure::MicrosoftAzureBuilder;
                let store = MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_retry(retry);
                Self::builder(Arc::new(store.build().map_err(failed)?))
            }
            other => {
                let reason = format!("{other:?} is no object store: s3, gs and az are, as far as they are compiled in");
                return Err(InvalidUrl(url.to_owned(), reason));
            }
        };
        let builder = if is_paced { builder.write_interval(Duration::from_secs(1)) } else { builder };
        Ok(builder.equal_parts(is_r2).prefix(parsed.path()))
    }
}

impl Builder {
    /// Where all objects of this storage are in the bucket: nothing, by default. Two storages of different applications in
    /// one bucket need different prefixes.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.bucket.set_prefix(prefix);
        self
    }

    /// The name of the finished object of an upload, below the prefix; `files/` and its id by default. Asked for once, when
    /// the upload is created, with what [`before_create`](tus_service::Hooks::before_create) made of it (owner, private data, metadata). No two
    /// uploads may have the same name: have the id in it. It must not begin with `.tus/`.
    ///
    /// Where an upload with the same id was removed less than a day ago, a hyphen and the incarnation are put behind it.
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

    /// The size of parts, in bytes; 8 MiB by default, at least 5 MiB. Parts of an upload of more than 9,000 times that are larger;
    /// those of one of unknown length become twice as large every 1,000 parts.
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.settings.part_size = bytes.max(SMALLEST_PART);
        self
    }

    /// Parts of one upload that may have been put without the document saying so; 4 by default, at least 2. A process that is killed
    /// loses them.
    pub fn window(mut self, parts: usize) -> Self {
        self.settings.window = parts.max(2);
        self
    }

    /// Memory for the bytes that all uploads of this process hold until they are put, in bytes; 128 MiB by default, at least
    /// 8 MiB. Where it is used up, bytes are put sooner, in smaller pieces.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.settings.memory = bytes.max(SMALLEST_PART as usize + 3 * 1024 * 1024).min(u32::MAX as usize);
        self
    }

    /// The time between two writes of one object that the store allows: a second in GCS and R2. None, by default; a second for `gs://`
    /// and R2's endpoint in [`from_url`](ObjectStore::from_url). While bytes come, what has been received is noted only so often, and a
    /// process that is killed loses what came since. One upload comes at eight [windows](Self::window) an interval at most.
    ///
    /// A write that comes too soon all the same is for the client of the store to repeat: let its
    /// [`RetryConfig`](object_store::RetryConfig) have short pauses.
    pub fn write_interval(mut self, interval: Duration) -> Self {
        self.settings.write_interval = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// Whether all parts of an upload but the last have the same size, as R2 wants it. Then an upload of unknown length can have
    /// 10,000 times the [part size](Self::part_size).
    pub fn equal_parts(mut self, equal: bool) -> Self {
        self.settings.equal_parts = equal;
        self
    }

    /// Lets concatenation copy inside the bucket, by UploadPartCopy of S3: nothing of the parts passes through this process.
    /// [`from_url`](ObjectStore::from_url) does that for S3. `signer` is the store, `client` sends what it has signed,
    /// `bucket` is the bucket's name.
    ///
    /// Where a part of a concatenation, but for the last, has less than 5 MiB, where parts must be [equal](Self::equal_parts), and where the
    /// store refuses to copy, the bytes are read and put again.
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

    /// Opens the storage. It tries whether the store keeps conditions, with some 30 small requests.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, or cannot be used for this; the text says what it did.
    pub async fn open(self) -> Result<ObjectStore, OpenError> {
        check::check(&self.bucket).await.map_err(|unfit| OpenError(format!("{:?}", self.bucket), unfit))?;
        self.open_unchecked().map_err(|error| {
            let unfit = check::Unfit::Fails(error.to_string());
            OpenError("the system".to_owned(), unfit)
        })
    }

    pub(crate) fn open_unchecked(self) -> Result<ObjectStore, tus_service::StorageError> {
        Ok(ObjectStore(Arc::new(Inner::new(self.bucket, self.settings)?)))
    }
}

/// A store cannot be used.
#[derive(Debug)]
pub struct OpenError(String, check::Unfit);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uploads cannot be kept in {}: {}", self.0, self.1)
    }
}

impl Error for OpenError {}

/// A URL names no object store that can be used.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be used: {1}")]
pub struct InvalidUrl(String, String);
