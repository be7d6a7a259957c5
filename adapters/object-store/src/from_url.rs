//! Configures the client of a store from a URL and the environment.

use std::{sync::Arc, time::Duration};

use object_store::{BackoffConfig, ClientConfigKey, Error, RetryConfig, path::Path};
use url::Url;

use crate::{bucket::PATIENCE, builder::Builder, storage::ObjectStore};

/// As good as no limit.
const UNLIMITED: &str = "1 hour";

/// The shortest and longest pauses before a request is repeated to a store that allows one write per second to an
/// object.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

/// The time in which such a store accepts the next write to an object.
const PACE: Duration = Duration::from_secs(1);

/// The URL does not refer to a supported object store.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be used: {1}")]
pub struct InvalidUrl(String, String);

impl ObjectStore {
    /// A storage in the bucket of a URL: `s3://bucket/prefix`, `gs://bucket/prefix`, or `az://container/prefix`.
    /// Percent-encoded characters of the prefix are decoded. Credentials, endpoint and region come from the
    /// environment, under the names that each store's tools use:
    /// `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`,
    /// and so on.
    ///
    /// # Errors
    ///
    /// If the URL is none of these, or the environment is incomplete.
    pub fn from_url(url: &str) -> Result<Builder, InvalidUrl> {
        let invalid = |reason: String| InvalidUrl(url.to_owned(), reason);
        let parsed = Url::parse(url).map_err(|error| invalid(error.to_string()))?;
        let bucket = parsed.host_str().ok_or_else(|| invalid("it names no bucket".to_owned()))?;
        let builder = match parsed.scheme() {
            #[cfg(feature = "aws")]
            "s3" => s3(object_store::aws::AmazonS3Builder::from_env(), bucket),
            #[cfg(feature = "gcp")]
            "gs" => gcs(object_store::gcp::GoogleCloudStorageBuilder::from_env(), bucket),
            #[cfg(feature = "azure")]
            "az" => azure(object_store::azure::MicrosoftAzureBuilder::from_env(), bucket),
            other => {
                return Err(invalid(format!(
                    "{other:?} is not a supported scheme: use s3, gs or az, with its feature turned on"
                )));
            }
        };
        let path: Vec<_> = parsed.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let prefix = Path::from_url_path(path.join("/")).map_err(|error| invalid(error.to_string()))?;
        Ok(builder.map_err(|error| invalid(error.to_string()))?.prefix(prefix.as_ref()))
    }
}

#[cfg(feature = "aws")]
fn s3(store: object_store::aws::AmazonS3Builder, bucket: &str) -> Result<Builder, Error> {
    use object_store::aws::AmazonS3ConfigKey;

    let endpoint = s3_endpoint(&store);
    let is_r2 = endpoint.contains(".r2.cloudflarestorage.com");
    let mut store = store.with_bucket_name(bucket).with_retry(retries(is_r2));
    if is_unlimited("AWS_TIMEOUT") {
        store = store.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
    }
    if store.get_config_value(&AmazonS3ConfigKey::UnsignedPayload).is_none_or(|value| value == "false")
        && std::env::var_os("AWS_UNSIGNED_PAYLOAD").is_none()
    {
        // Over TLS, a digest of every part would cost a second of processor time per GiB without
        // detecting anything more.
        store = store.with_unsigned_payload(!endpoint.starts_with("http://"));
    }
    let copies = crate::copies::can_be_completed(&store);
    let client = crate::copies::SharedClient::default();
    let store = Arc::new(store.with_http_connector(client.clone()).build()?);
    let builder = match client.get().filter(|_| copies) {
        Some(client) => ObjectStore::builder(store.clone()).copies(store, client, bucket),
        None => ObjectStore::builder(store),
    };
    Ok(if is_r2 { builder.equal_parts(true).write_interval(PACE) } else { builder })
}

/// The endpoint that the client uses; empty for that of AWS.
#[cfg(feature = "aws")]
fn s3_endpoint(store: &object_store::aws::AmazonS3Builder) -> String {
    use object_store::aws::AmazonS3ConfigKey::{Endpoint, S3Endpoint};
    store.get_config_value(&S3Endpoint).or_else(|| store.get_config_value(&Endpoint)).unwrap_or_default()
}

#[cfg(feature = "gcp")]
fn gcs(store: object_store::gcp::GoogleCloudStorageBuilder, bucket: &str) -> Result<Builder, Error> {
    use object_store::gcp::GoogleConfigKey;

    let mut store = store.with_bucket_name(bucket).with_retry(retries(true));
    if is_unlimited("GOOGLE_TIMEOUT") {
        store = store.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
    }
    Ok(ObjectStore::builder(Arc::new(store.build()?)).write_interval(PACE))
}

#[cfg(feature = "azure")]
fn azure(store: object_store::azure::MicrosoftAzureBuilder, container: &str) -> Result<Builder, Error> {
    use object_store::azure::AzureConfigKey;

    let mut store = store.with_container_name(container).with_retry(retries(false));
    if is_unlimited("AZURE_TIMEOUT") {
        store = store.with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), UNLIMITED);
    }
    Ok(ObjectStore::builder(Arc::new(store.build()?)))
}

/// Whether the environment sets no limit for the client of a store: then the storage's are enough, which know how much a
/// request moves.
fn is_unlimited(variable: &str) -> bool {
    std::env::var_os(variable).is_none()
}

/// How often the client of a store repeats a request. A client's request waits for it, and the storage no longer than
/// its own limit. A store that allows one write per second to an object accepts one that came too early soon.
fn retries(is_paced: bool) -> RetryConfig {
    let (backoff, max_retries) = match is_paced {
        true => (BackoffConfig { init_backoff: PAUSES.0, max_backoff: PAUSES.1, ..BackoffConfig::default() }, 30),
        false => (BackoffConfig::default(), 6),
    };
    RetryConfig { backoff, max_retries, retry_timeout: PATIENCE }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

    use super::*;

    fn at(key: AmazonS3ConfigKey, endpoint: &str) -> AmazonS3Builder {
        AmazonS3Builder::new().with_config(key, endpoint)
    }

    /// All of its parts must be equal, and copies of uploads are not.
    #[test]
    fn r2_is_recognized_by_any_name_of_its_endpoint() {
        use AmazonS3ConfigKey::{Endpoint, S3Endpoint};
        let r2 = "https://account.eu.r2.cloudflarestorage.com";
        for store in [at(Endpoint, r2), at(S3Endpoint, r2), at(Endpoint, "http://other").with_config(S3Endpoint, r2)] {
            let builder = format!("{:?}", s3(store, "bucket").unwrap());
            assert!(builder.contains("equal_parts: true") && builder.contains("write_interval: Some(1s)"), "{builder}");
        }
        for store in [AmazonS3Builder::new(), at(Endpoint, r2).with_config(S3Endpoint, "https://s3.example")] {
            let builder = format!("{:?}", s3(store, "bucket").unwrap());
            assert!(builder.contains("equal_parts: false") && builder.contains("write_interval: None"), "{builder}");
        }
    }

    #[test]
    fn the_endpoint_for_s3_comes_before_the_general_one() {
        use AmazonS3ConfigKey::{Endpoint, S3Endpoint};
        assert_eq!(s3_endpoint(&AmazonS3Builder::new()), "");
        assert_eq!(s3_endpoint(&at(Endpoint, "http://one")), "http://one");
        assert_eq!(s3_endpoint(&at(Endpoint, "http://one").with_config(S3Endpoint, "http://two")), "http://two");
    }
}
