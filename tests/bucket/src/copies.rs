//! The signed requests that are needed to copy parts: UploadPartCopy of S3.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    ops::Range,
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};
use object_store::{
    Error, Result,
    client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use url::Url;

use crate::{Bucket, Operation, Rules, objects::Objects};

/// The name of every bucket.
pub const NAME: &str = "bucket";

const HOST: &str = "http://bucket.invalid/";
/// The characters that a URL does not encode.
const ENCODED: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.');

const SIGNATURE: &str = "X-Amz-Signature";

/// The signature of a request.
fn signature(method: &Method, url: &Url, headers: &HeaderMap) -> String {
    let mut hasher = DefaultHasher::new();
    method.hash(&mut hasher);
    url.path().hash(&mut hasher);
    url.query_pairs().filter(|(name, _)| name != SIGNATURE).for_each(|pair| pair.hash(&mut hasher));
    let mut signed: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-")).collect();
    signed.sort_by_key(|(name, _)| name.as_str());
    signed.iter().for_each(|(name, value)| (name.as_str(), value.as_bytes()).hash(&mut hasher));
    format!("{:016x}", hasher.finish())
}

#[async_trait]
impl Signer for Bucket {
    async fn signed_url(&self, method: Method, path: &Path, expires_in: Duration) -> Result<Url> {
        self.signed_url_opts(method, path, expires_in, &SignedUrlOptions::default()).await
    }

    async fn signed_url_opts(
        &self,
        method: Method,
        path: &Path,
        _: Duration,
        options: &SignedUrlOptions,
    ) -> Result<Url> {
        let invalid = |error: url::ParseError| Error::Generic { store: "bucket", source: error.to_string().into() };
        let mut url = Url::parse(HOST).map_err(invalid)?;
        url.set_path(&percent_encoding::utf8_percent_encode(path.as_ref(), &ENCODED).to_string());
        url.query_pairs_mut().extend_pairs(&options.extra_query);
        let signature = signature(&method, &url, &options.signed_headers);
        url.query_pairs_mut().append_pair(SIGNATURE, &signature);
        Ok(url)
    }
}

/// A part to be copied.
#[derive(Debug)]
struct Copy {
    from: String,
    range: Range<u64>,
    etag: Option<String>,
    key: String,
    id: String,
    number: usize,
}

/// The content of a request, or why it is invalid.
fn parse(request: &HttpRequest) -> std::result::Result<Copy, &'static str> {
    let url = Url::parse(&request.uri().to_string()).map_err(|_| "no URL")?;
    let query = |name: &str| url.query_pairs().find(|pair| pair.0 == name).map(|pair| pair.1.into_owned());
    if query(SIGNATURE) != Some(signature(request.method(), &url, request.headers())) {
        return Err("SignatureDoesNotMatch");
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let source = decoded(header("x-amz-copy-source").ok_or("NotImplemented")?);
    let from = source.strip_prefix(NAME).and_then(|key| key.strip_prefix('/')).ok_or("NoSuchBucket")?;
    let range = header("x-amz-copy-source-range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (first, last) = range.ok_or("InvalidArgument: no range")?;
    let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Err("InvalidArgument") };
    let number: usize = query("partNumber").and_then(|number| number.parse().ok()).ok_or("InvalidArgument")?;
    Ok(Copy {
        from: from.to_owned(),
        range: first..last + 1,
        etag: header("x-amz-copy-source-if-match").map(str::to_owned),
        key: decoded(url.path().trim_start_matches('/')),
        id: query("uploadId").ok_or("InvalidArgument: no upload")?,
        number: number.checked_sub(1).ok_or("InvalidArgument: parts are numbered from 1")?,
    })
}

fn answer(status: StatusCode, body: String) -> std::result::Result<HttpResponse, HttpError> {
    let mut response = HttpResponse::new(body.into());
    *response.status_mut() = status;
    Ok(response)
}

#[async_trait]
impl HttpService for Bucket {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let Copy { from, range, etag, key, id, number } = match parse(&request) {
            Ok(copy) if !self.shared.rules.copies_nothing => copy,
            Ok(_) => return answer(StatusCode::NOT_IMPLEMENTED, "NotImplemented".to_owned()),
            Err(reason) => return answer(StatusCode::FORBIDDEN, reason.to_owned()),
        };
        let name = format!("{key}#{number}");
        let copy = move |rules: &Rules, objects: &mut Objects| {
            objects.copy_part(rules, (&from, range, etag.as_deref()), (&key, &id, number))
        };
        match self.run(Operation::Copy, &name, copy).await {
            Ok(etag) => {
                let etag = etag.replace('"', "&quot;");
                answer(
                    StatusCode::OK,
                    format!("<?xml version=\"1.0\"?><CopyPartResult><ETag>{etag}</ETag></CopyPartResult>"),
                )
            }
            Err(Error::NotFound { .. }) => answer(StatusCode::NOT_FOUND, "NoSuchKey or NoSuchUpload".to_owned()),
            Err(Error::Precondition { .. }) => answer(StatusCode::PRECONDITION_FAILED, String::new()),
            Err(error) => Err(HttpError::new(HttpErrorKind::Interrupted, error)),
        }
    }
}
