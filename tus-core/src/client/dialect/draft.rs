//! The IETF's "Resumable Uploads for HTTP", draft 12.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

use super::{Content, disposition};
use crate::{
    Metadata,
    client::{NewUpload, call::Call},
    digest, field,
    header::{
        CONTENT_DIGEST, PARTIAL_UPLOAD, UPLOAD_COMPLETE, UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_LENGTH, UPLOAD_LIMIT,
        UPLOAD_METADATA, UPLOAD_OFFSET,
    },
};

/// The interop version of draft 12.
const INTEROP_VERSION: u16 = 9;

/// "Client implementations of draft versions of the protocol MUST send a header field Upload-Draft-Interop-Version with
/// the interop version as its value to its requests."
pub(super) fn identify(headers: &mut HeaderMap) {
    headers.insert(UPLOAD_DRAFT_INTEROP_VERSION.clone(), INTEROP_VERSION.into());
}

/// "Upload Creation".
pub(super) fn creation(upload: &NewUpload, endpoint: &Url, content: Option<&Content>) -> Call {
    let mut call = describe(Call::new(Method::POST, endpoint), &upload.metadata);
    // "If the client knows the representation's length, it SHOULD indicate the length in the request".
    if let Some(length) = upload.length {
        call = call.header(&UPLOAD_LENGTH, length);
    }
    // "The Upload-Complete header field is set to true if the request content includes the entire representation data".
    call = call.header(&UPLOAD_COMPLETE, boolean(content.is_some_and(|content| content.completes)));
    match content {
        Some(content) => with(call, content).header(&header::EXPECT, HeaderValue::from_static("100-continue")),
        None => call,
    }
}

/// "Upload Append".
pub(super) fn append(url: &Url, offset: u64, length: Option<u64>, content: &Content) -> Call {
    // "by sending a PATCH request with the application/partial-upload media type". "The client MUST indicate the offset
    // of the request content". "The request MUST include the Upload-Complete header field."
    let mut call = Call::new(Method::PATCH, url)
        .header(&header::CONTENT_TYPE, HeaderValue::from_static(PARTIAL_UPLOAD))
        .header(&UPLOAD_OFFSET, offset)
        .header(&UPLOAD_COMPLETE, boolean(content.completes));
    // "a client SHOULD communicate the representation's length to the server as soon as it becomes known".
    if let Some(length) = length {
        call = call.header(&UPLOAD_LENGTH, length);
    }
    with(call, content)
}

fn with(call: Call, content: &Content) -> Call {
    match content.checksum.as_ref().and_then(digest::write) {
        Some(digest) => call.header(&CONTENT_DIGEST, digest),
        None => call,
    }
}

/// Metadata in HTTP's own fields: the media type (`filetype`), the file name, the content coding. Other metadata goes
/// into the field of tus, which servers may ignore.
fn describe(mut call: Call, metadata: &Metadata) -> Call {
    let mut others = Metadata::default();
    for (key, value) in metadata.iter() {
        let field = match key {
            "filetype" => HeaderValue::from_bytes(value).ok().map(|value| (header::CONTENT_TYPE, value)),
            "content-encoding" => HeaderValue::from_bytes(value).ok().map(|value| (header::CONTENT_ENCODING, value)),
            "filename" => disposition::inline(value).map(|value| (header::CONTENT_DISPOSITION, value)),
            _ => None,
        };
        match field.filter(|(_, value)| !value.is_empty()) {
            Some((name, value)) => call = call.header(&name, value),
            // The key was valid before.
            None => drop(others.set(key, value.clone())),
        }
    }
    match others.to_header() {
        Some(others) => call.header(&UPLOAD_METADATA, others),
        None => call,
    }
}

fn boolean(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "?1" } else { "?0" })
}

/// "Its value is a Boolean [...] Other values MUST cause the entire header field to be ignored."
pub(super) fn completeness(headers: &HeaderMap) -> Option<bool> {
    field::boolean(headers, &UPLOAD_COMPLETE)
}

/// "Its value is a non-negative Integer [...] Other values MUST cause the entire header field to be ignored."
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    field::integer(headers, name)
}

pub(super) fn is_spoken_in(headers: &HeaderMap) -> bool {
    [&UPLOAD_COMPLETE, &UPLOAD_OFFSET, &UPLOAD_LIMIT].into_iter().any(|name| headers.contains_key(name))
}
