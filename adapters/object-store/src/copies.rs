//! Copies inside the store with S3's UploadPartCopy. The crate `object_store` has no call for it, but signs any
//! request.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use object_store::{
    ClientOptions, Error,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector},
    path::Path,
    signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tus_service::async_trait;

use crate::{
    bucket::{Copier, Target},
    lock::lock,
    refused::Refused,
};

/// The number of attempts, and the first of the growing pauses in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// How long a signature is valid; the request is sent immediately.
const HOLDS: Duration = Duration::from_secs(300);

/// The characters in a name that S3 does not encode.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Sends signed requests.
pub(crate) struct Copies {
    signer: Arc<dyn Signer>,
    client: HttpClient,
    bucket: String,
}

#[derive(Deserialize)]
struct CopyPartResult {
    #[serde(rename = "ETag")]
    etag: String,
}

/// Why a copy failed.
enum Fault {
    /// The same request may succeed later.
    Passing(String),
    Lasting(Refused),
}

impl Copies {
    pub(crate) fn new(signer: Arc<dyn Signer>, client: HttpClient, bucket: &str) -> Self {
        Self { signer, client, bucket: bucket.to_owned() }
    }

    async fn send(
        &self,
        from: &Path,
        range: &Range<u64>,
        etag: Option<&str>,
        to: &Target<'_>,
    ) -> Result<String, Fault> {
        let lasting = |reason: String| Fault::Lasting(failed(reason));
        let source = format!("{}/{}", self.bucket, utf8_percent_encode(from.as_ref(), &ENCODED));
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let headers = [
            ("x-amz-copy-source", Some(source.as_str())),
            ("x-amz-copy-source-range", Some(&bytes)),
            ("x-amz-copy-source-if-match", etag),
        ];
        let number = (to.number + 1).to_string();
        let mut options =
            SignedUrlOptions::default().with_query([("partNumber", number.as_str()), ("uploadId", to.multipart)]);
        for (name, value) in headers {
            let Some(value) = value else { continue };
            let value = HeaderValue::from_str(value).map_err(|error| lasting(error.to_string()))?;
            options = options.with_signed_header(HeaderName::from_static(name), value);
        }
        let signed = self.signer.signed_url_opts(Method::PUT, to.path, HOLDS, &options);
        let url = signed.await.map_err(|error| Fault::Lasting(error.into()))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = url.as_str().parse().map_err(|error| lasting(format!("{url}: {error}")))?;
        *request.headers_mut() = options.signed_headers;
        let response = self.client.execute(request).await.map_err(|error| Fault::Passing(error.to_string()))?;
        let status = response.status();
        let body = response.into_body().bytes().await.map_err(|error| Fault::Passing(error.to_string()))?;
        let said = || format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
        match status.as_u16() {
            // A successful response may contain an error, because it starts before the copy ends.
            200 => quick_xml::de::from_reader(&body[..])
                .map(|copied: CopyPartResult| copied.etag)
                .map_err(|_| Fault::Passing(said())),
            404 => Err(Fault::Lasting(Refused::Absent)),
            412 => Err(Fault::Lasting(Refused::Changed)),
            429 | 500.. => Err(Fault::Passing(said())),
            _ => Err(lasting(said())),
        }
    }
}

#[async_trait]
impl Copier for Copies {
    async fn copy_part(
        &self,
        from: &Path,
        range: &Range<u64>,
        etag: Option<&str>,
        to: &Target<'_>,
    ) -> Result<String, Refused> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.send(from, range, etag, to).await {
                Ok(etag) => return Ok(etag),
                Err(Fault::Lasting(refused)) => return Err(refused),
                Err(Fault::Passing(_)) => tokio::time::sleep(pause).await,
            }
            pause *= 4;
        }
        self.send(from, range, etag, to).await.map_err(|fault| match fault {
            Fault::Passing(reason) => failed(reason),
            Fault::Lasting(refused) => refused,
        })
    }
}

/// Whether copied parts can be completed: a client that adds checksums begins multipart uploads of which each part must have
/// one, and those of copies are not known.
pub(crate) fn can_be_completed(store: &AmazonS3Builder) -> bool {
    store.get_config_value(&AmazonS3ConfigKey::Checksum).is_none()
}

fn failed(reason: String) -> Refused {
    Refused::Failed(Error::Generic { store: "S3", source: reason.into() })
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copies").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Remembers the client of a store, so that it can send other requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedClient(Arc<Mutex<Option<HttpClient>>>);

impl SharedClient {
    pub(crate) fn get(&self) -> Option<HttpClient> {
        lock(&self.0).clone()
    }
}

impl HttpConnector for SharedClient {
    /// The last one belongs to the store; those for credentials come before it.
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        *lock(&self.0) = Some(client.clone());
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use object_store::aws::Checksum;

    use super::*;

    #[test]
    fn nothing_is_copied_if_parts_have_checksums() {
        assert!(can_be_completed(&AmazonS3Builder::new()));
        let store = AmazonS3Builder::new().with_checksum_algorithm(Checksum::SHA256);
        assert!(!can_be_completed(&store));
    }
}
