//! Parsers of header values. They reject instead of guessing: a number consists of digits only.

use http::{HeaderMap, HeaderName};

use super::Fault;
use crate::{
    MAX_LENGTH,
    header::{OFFSET_OCTET_STREAM, single},
};

/// A number of bytes: digits only, at most [`MAX_LENGTH`].
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Fault> {
    let Some(value) = single(headers, name)? else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|v| v.parse::<u64>().ok()).filter(|n| *n <= MAX_LENGTH);
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Fault::invalid(name, value, "a number of bytes in decimal digits, at most 9223372036854775807")),
    }
}

/// Whether the body has the media type of bytes to append, ignoring parameters (RFC 9110, 8.3.1).
pub(super) fn is_offset_octet_stream(headers: &HeaderMap) -> Result<bool, Fault> {
    let value = single(headers, &http::header::CONTENT_TYPE)?.and_then(|v| v.to_str().ok());
    let media_type = value.and_then(|v| v.split(';').next()).unwrap_or_default();
    Ok(media_type.trim().eq_ignore_ascii_case(OFFSET_OCTET_STREAM))
}

/// Whether a trailing header of that name is announced (RFC 9110, 6.6.2).
pub(super) fn announces_trailer(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(http::header::TRAILER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|field| field.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::header::UPLOAD_OFFSET;

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
            let fault = number(&map(&[hostile]), &UPLOAD_OFFSET).unwrap_err();
            assert!(fault.to_string().contains("upload-offset"), "{fault}");
        }
        let bytes = HeaderMap::from_iter([(UPLOAD_OFFSET.clone(), HeaderValue::from_bytes(b"\xb2").unwrap())]);
        assert!(number(&bytes, &UPLOAD_OFFSET).is_err());
    }

    #[test]
    fn a_repeated_value_is_refused_even_if_both_agree() {
        assert!(matches!(number(&map(&["1", "1"]), &UPLOAD_OFFSET), Err(Fault::RepeatedHeader(_))));
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
