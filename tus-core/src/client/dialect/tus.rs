//! tus 1.0.0.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use url::Url;

use super::Content;
use crate::{
    MAX_LENGTH, TUS_VERSION as VERSION,
    client::{Error, NewUpload, call::Call, new_upload::Role},
    header::{
        OFFSET_OCTET_STREAM, TUS_RESUMABLE, TUS_VERSION, UPLOAD_CHECKSUM, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH,
        UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, single, value,
    },
};

pub(super) fn identify(headers: &mut HeaderMap) {
    headers.insert(TUS_RESUMABLE.clone(), HeaderValue::from_static(VERSION));
}

/// "Creation".
pub(super) fn creation(upload: &NewUpload, endpoint: &Url, content: Option<&Content>) -> Call {
    let mut call = Call::new(Method::POST, endpoint);
    if let Some(metadata) = upload.metadata.to_header() {
        call = call.header(&UPLOAD_METADATA, metadata);
    }
    call = match (&upload.role, upload.length) {
        // "The Client MUST NOT include the Upload-Length header in the final upload creation."
        (Role::Final(parts), _) => {
            let urls: Vec<_> = parts.iter().map(Url::as_str).collect();
            return call.header(&UPLOAD_CONCAT, value(format!("final;{}", urls.join(" "))));
        }
        (Role::Partial, _) => call.header(&UPLOAD_CONCAT, HeaderValue::from_static("partial")),
        (Role::Single, _) => call,
    };
    call = match upload.length {
        Some(length) => call.header(&UPLOAD_LENGTH, length),
        None => call.header(&UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    match content {
        // "the Client SHOULD include the Expect: 100-continue header in the request to receive early feedback from the
        // Server".
        Some(content) => with(call, content).header(&header::EXPECT, HeaderValue::from_static("100-continue")),
        None => call,
    }
}

/// "PATCH".
pub(super) fn append(url: &Url, offset: u64, length: Option<u64>, content: &Content) -> Call {
    let mut call = Call::new(Method::PATCH, url).header(&UPLOAD_OFFSET, offset);
    // "the Client MUST set the Upload-Length header in the next PATCH request, once the length is known."
    if let Some(length) = length {
        call = call.header(&UPLOAD_LENGTH, length);
    }
    with(call, content)
}

fn with(call: Call, content: &Content) -> Call {
    // "The Client MUST include the Content-Type: application/offset+octet-stream header."
    let call = call.header(&header::CONTENT_TYPE, HeaderValue::from_static(OFFSET_OCTET_STREAM));
    match &content.checksum {
        Some(checksum) => call.header(&UPLOAD_CHECKSUM, checksum.to_header()),
        None => call,
    }
}

pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, String> {
    let Some(value) = single(headers, name).map_err(|_| "more than once".to_owned())? else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number <= MAX_LENGTH);
    number.map(Some).ok_or_else(|| format!("{value:?}, which is not a number of bytes"))
}

pub(super) fn is_spoken_in(headers: &HeaderMap) -> bool {
    headers.contains_key(&TUS_RESUMABLE)
}

/// "If the version specified by the Client is not supported by the Server, it MUST respond with the 412 Precondition
/// Failed status and MUST include the Tus-Version header into the response."
pub(super) fn check_version<B>(response: &Response<B>) -> Result<(), Error> {
    let headers = response.headers();
    let version = headers.get(&TUS_RESUMABLE);
    let foreign = version.filter(|version| *version != VERSION).or_else(|| {
        let refused = response.status() == StatusCode::PRECONDITION_FAILED;
        headers.get(&TUS_VERSION).filter(|_| refused)
    });
    match foreign {
        Some(version) => Err(Error::Unsupported(format!("protocol version {VERSION}, but {version:?}"))),
        None => Ok(()),
    }
}
