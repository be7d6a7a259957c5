//! The header names of tus 1.0.0 and of the IETF's draft "Resumable Uploads for HTTP". Each name is defined here
//! only.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub static $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    /// The protocol version, in every request and response except `OPTIONS` requests (tus 1.0.0, "Tus-Resumable").
    TUS_RESUMABLE = "tus-resumable";
    /// The versions that the server supports (tus 1.0.0, "Tus-Version").
    TUS_VERSION = "tus-version";
    /// The extensions that the server offers (tus 1.0.0, "Tus-Extension").
    TUS_EXTENSION = "tus-extension";
    /// The largest upload that the server accepts, in bytes (tus 1.0.0, "Tus-Max-Size").
    TUS_MAX_SIZE = "tus-max-size";
    /// The checksum algorithms that the server supports (tus 1.0.0, "Tus-Checksum-Algorithm").
    TUS_CHECKSUM_ALGORITHM = "tus-checksum-algorithm";
    /// Bytes from the start of the upload (tus 1.0.0, "Upload-Offset").
    UPLOAD_OFFSET = "upload-offset";
    /// The size of the complete upload in bytes (tus 1.0.0, "Upload-Length").
    UPLOAD_LENGTH = "upload-length";
    /// `1` while the length is not known yet (tus 1.0.0, "Upload-Defer-Length").
    UPLOAD_DEFER_LENGTH = "upload-defer-length";
    /// The client's metadata of the upload (tus 1.0.0, "Upload-Metadata").
    UPLOAD_METADATA = "upload-metadata";
    /// When an unfinished upload expires (tus 1.0.0, "Upload-Expires").
    UPLOAD_EXPIRES = "upload-expires";
    /// The digest of a request's body (tus 1.0.0, "Upload-Checksum").
    UPLOAD_CHECKSUM = "upload-checksum";
    /// Whether an upload is partial or final (tus 1.0.0, "Upload-Concat").
    UPLOAD_CONCAT = "upload-concat";
    /// The intended method, for clients that can only send POST (tus 1.0.0, "X-HTTP-Method-Override").
    X_HTTP_METHOD_OVERRIDE = "x-http-method-override";
    /// Whether an upload is complete, `?1` or `?0` (draft 12, "Completeness").
    UPLOAD_COMPLETE = "upload-complete";
    /// The reverse of `Upload-Complete` in the draft's interop version 3 (draft 01).
    UPLOAD_INCOMPLETE = "upload-incomplete";
    /// The limits of an upload (draft 12, "Limits").
    UPLOAD_LIMIT = "upload-limit";
    /// The version of the draft that a client uses (draft 12, "Draft Version Identification").
    UPLOAD_DRAFT_INTEROP_VERSION = "upload-draft-interop-version";
    /// The digest of a request's content (RFC 9530, section 2).
    CONTENT_DIGEST = "content-digest";
    /// The digest of a complete representation (RFC 9530, section 3).
    REPR_DIGEST = "repr-digest";
    /// The media types that PATCH accepts (RFC 5789, section 3.1).
    ACCEPT_PATCH = "accept-patch";
}

/// The media type of bytes that are appended to an upload (tus 1.0.0, "PATCH").
pub const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// The media type of bytes that are appended to an upload of the draft (draft 12, "Media Type
/// `application/partial-upload`").
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// The media type of a problem (RFC 9457, section 3).
pub const PROBLEM: &str = "application/problem+json";

/// A header that may occur once occurs more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated(pub(crate) HeaderName);

/// The value of a header that may occur once. Repeated headers are rejected even if their values agree.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Repeated(name.clone())),
        (value, None) => Ok(value),
    }
}

/// The value of a list header: the lines of a repeated header form one list, in order (RFC 9110, 5.3). `None` if it
/// is missing or empty.
pub(crate) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, HeaderValue>> {
    let mut lines = headers.get_all(name).iter().filter(|line| !line.as_bytes().trim_ascii().is_empty());
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(Cow::Borrowed(first));
    };
    let all = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b',');
    // Values and commas form a valid value.
    HeaderValue::from_bytes(&all).ok().map(Cow::Owned)
}

/// A header value that this crate generates: numbers, dates, and lists of tokens.
pub(crate) fn value(text: impl Into<String>) -> HeaderValue {
    // Always visible ASCII. The fallback keeps a mistake in this crate from becoming a panic.
    HeaderValue::try_from(text.into()).unwrap_or(HeaderValue::from_static(""))
}

/// `attr-char` of RFC 8187 (3.2.1): these characters are not escaped in `filename*`.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_list_are_one_list() {
        let read = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (UPLOAD_METADATA.clone(), HeaderValue::from_static(line)));
            let list = list(&lines.collect(), &UPLOAD_METADATA).map(Cow::into_owned);
            list.map(|list| list.to_str().unwrap().to_owned())
        };
        assert_eq!(read(&["a", "", " ", "b c,d"]).as_deref(), Some("a,b c,d"));
        assert_eq!(read(&["", "a"]).as_deref(), Some("a"));
        assert_eq!((read(&[]), read(&[""]), read(&["", "  "])), (None, None, None));
    }
}
