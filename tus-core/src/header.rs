//! The header names of tus 1.0.0, and how their values are read.
//!
//! A name is written down here and nowhere else. Readers refuse rather than guess: a header that
//! must be there once and is there twice is an error, and a number is digits and nothing else.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{MAX_LENGTH, Refusal};

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub static $constant: HeaderName = HeaderName::from_static($name);)*
        /// Every response header of the protocol, and those of a download: what a browser's script must be allowed to see.
        pub(crate) const EXPOSED: &str = "Content-Disposition, Content-Range, ETag, Location, Retry-After, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, \
            Tus-Resumable, Tus-Version, Upload-Concat, Upload-Defer-Length, Upload-Expires, Upload-Length, \
            Upload-Metadata, Upload-Offset";
        /// Every request header of the protocol: what a browser's script must be allowed to send.
        pub(crate) const ALLOWED: &str = "Authorization, Content-Type, Tus-Resumable, Upload-Checksum, \
            Upload-Concat, Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, \
            X-HTTP-Method-Override, X-Request-ID, X-Requested-With";
    };
}

names! {
    /// The protocol's version, in every request and response but `OPTIONS` requests (tus 1.0.0, "Tus-Resumable").
    TUS_RESUMABLE = "tus-resumable";
    /// The versions that the server speaks (tus 1.0.0, "Tus-Version").
    TUS_VERSION = "tus-version";
    /// The extensions that the server offers (tus 1.0.0, "Tus-Extension").
    TUS_EXTENSION = "tus-extension";
    /// The largest upload that the server accepts, in bytes (tus 1.0.0, "Tus-Max-Size").
    TUS_MAX_SIZE = "tus-max-size";
    /// The checksum algorithms that the server knows (tus 1.0.0, "Tus-Checksum-Algorithm").
    TUS_CHECKSUM_ALGORITHM = "tus-checksum-algorithm";
    /// Bytes from the start of the upload (tus 1.0.0, "Upload-Offset").
    UPLOAD_OFFSET = "upload-offset";
    /// The size of the whole upload in bytes (tus 1.0.0, "Upload-Length").
    UPLOAD_LENGTH = "upload-length";
    /// `1` while the length is not known yet (tus 1.0.0, "Upload-Defer-Length").
    UPLOAD_DEFER_LENGTH = "upload-defer-length";
    /// What the client tells of the upload (tus 1.0.0, "Upload-Metadata").
    UPLOAD_METADATA = "upload-metadata";
    /// When an unfinished upload goes away (tus 1.0.0, "Upload-Expires").
    UPLOAD_EXPIRES = "upload-expires";
    /// The digest of a request's body (tus 1.0.0, "Upload-Checksum").
    UPLOAD_CHECKSUM = "upload-checksum";
    /// Whether an upload is a part or made of parts (tus 1.0.0, "Upload-Concat").
    UPLOAD_CONCAT = "upload-concat";
    /// The method that is meant where the client can only POST (tus 1.0.0, "X-HTTP-Method-Override").
    X_HTTP_METHOD_OVERRIDE = "x-http-method-override";
}

/// The media type of bytes that are appended to an upload (tus 1.0.0, "PATCH").
pub const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// The value of a header that may be there once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::RepeatedHeader(name.clone())),
        (value, None) => Ok(value),
    }
}

/// A count of bytes: digits only, at most [`MAX_LENGTH`].
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Refusal> {
    let Some(value) = single(headers, name)? else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|v| v.parse::<u64>().ok()).filter(|n| *n <= MAX_LENGTH);
    match number {
        Some(number) => Ok(Some(number)),
        None => {
            Err(Refusal::invalid(name, value, "a whole number of bytes in decimal digits, at most 9223372036854775807"))
        }
    }
}

/// Whether the body is announced as bytes to append, parameters of the media type aside (RFC 9110, 8.3.1).
pub(crate) fn is_offset_octet_stream(headers: &HeaderMap) -> Result<bool, Refusal> {
    let value = single(headers, &http::header::CONTENT_TYPE)?.and_then(|v| v.to_str().ok());
    let media_type = value.and_then(|v| v.split(';').next()).unwrap_or_default();
    Ok(media_type.trim().eq_ignore_ascii_case(OFFSET_OCTET_STREAM))
}

/// Whether a trailing header of that name is announced (RFC 9110, 6.6.2).
pub(crate) fn announces_trailer(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(http::header::TRAILER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|field| field.trim().eq_ignore_ascii_case(name.as_str()))
}

/// A header value of our own making: numbers, dates, and lists of tokens.
pub(crate) fn value(text: impl AsRef<str>) -> HeaderValue {
    // Visible ASCII by construction; the fallback keeps a mistake of ours from becoming a panic.
    HeaderValue::from_str(text.as_ref()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|v| (UPLOAD_OFFSET.clone(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn numbers_are_digits_up_to_the_largest_file_offset() {
        for (text, expected) in [("0", 0), ("007", 7), ("9223372036854775807", MAX_LENGTH)] {
            assert_eq!(number(&map(&[text]), &UPLOAD_OFFSET).unwrap(), Some(expected));
        }
        assert_eq!(number(&map(&[]), &UPLOAD_OFFSET).unwrap(), None);
        for hostile in
            ["", "-1", "+1", "1.0", "1e3", "0x10", " 1", "1,2", "9223372036854775808", "99999999999999999999"]
        {
            let refusal = number(&map(&[hostile]), &UPLOAD_OFFSET).unwrap_err();
            assert!(refusal.to_string().contains("upload-offset"), "{refusal}");
        }
        let bytes = HeaderMap::from_iter([(UPLOAD_OFFSET.clone(), HeaderValue::from_bytes(b"\xb2").unwrap())]);
        assert!(number(&bytes, &UPLOAD_OFFSET).is_err());
    }

    #[test]
    fn a_header_that_is_sent_twice_is_refused_even_if_both_agree() {
        assert!(matches!(number(&map(&["1", "1"]), &UPLOAD_OFFSET), Err(Refusal::RepeatedHeader(_))));
    }

    #[test]
    fn the_media_type_is_read_without_case_and_parameters() {
        let with = |v| HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(v))]);
        assert!(is_offset_octet_stream(&with("application/offset+octet-stream")).unwrap());
        assert!(is_offset_octet_stream(&with("Application/Offset+Octet-Stream; charset=x")).unwrap());
        assert!(!is_offset_octet_stream(&with("application/octet-stream")).unwrap());
        assert!(!is_offset_octet_stream(&HeaderMap::new()).unwrap());
    }
}
