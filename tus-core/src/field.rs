//! Structured fields (RFC 9651). A field whose value has the wrong type counts as absent (draft 12, "Upload-Offset":
//! "Other values MUST cause the entire header field to be ignored").

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

/// The largest offset or length in bytes: an Integer has 15 digits (RFC 9651, section 3.3.1).
pub(crate) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// A Boolean.
pub(crate) fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    item(headers, name)?.as_boolean()
}

/// A non-negative Integer.
pub(crate) fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    i64::from(item(headers, name)?.as_integer()?).try_into().ok()
}

/// A Byte Sequence that is a member of a Dictionary.
pub(crate) fn bytes(headers: &HeaderMap, name: &HeaderName, key: &str) -> Option<Vec<u8>> {
    match dictionary(headers, name)?.get(key)? {
        ListEntry::Item(item) => item.bare_item.as_byte_sequence().map(<[u8]>::to_vec),
        ListEntry::InnerList(_) => None,
    }
}

/// A Dictionary.
pub(crate) fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    Parser::new(&joined(headers, name)?).parse().ok()
}

/// An Item, ignoring its parameters.
fn item(headers: &HeaderMap, name: &HeaderName) -> Option<BareItem> {
    let item: Item = Parser::new(&joined(headers, name)?).parse().ok()?;
    Some(item.bare_item)
}

/// The lines of a field as one value (RFC 9651, section 4.2).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::header::{CONTENT_DIGEST, UPLOAD_COMPLETE, UPLOAD_OFFSET};

    fn map(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    /// Draft 12, "Upload-Offset": "Its value is a non-negative Integer [...] Other values MUST cause the entire header
    /// field to be ignored."
    #[test]
    fn an_offset_is_an_integer_of_at_most_15_digits() {
        let offset = |lines: &[&'static str]| integer(&map(&UPLOAD_OFFSET, lines), &UPLOAD_OFFSET);
        for (line, number) in [("0", 0), ("00", 0), (" 25000000 ", 25_000_000), ("5;a=1", 5), ("-0", 0)] {
            assert_eq!(offset(&[line]), Some(number), "{line}");
        }
        assert_eq!(offset(&["999999999999999"]), Some(MAX_INTEGER));
        for other in
            ["", "-1", "+1", "1.0", "1e3", "0x10", "1,2", "\"1\"", "?1", "1000000000000000", "9223372036854775807", "x"]
        {
            assert_eq!(offset(&[other]), None, "{other}");
        }
        assert_eq!(offset(&["1", "1"]), None, "two lines are a list");
        assert_eq!(offset(&[]), None);
    }

    /// Draft 12, "Completeness": "Its value is a Boolean [...] Other values MUST cause the entire header field to be
    /// ignored."
    #[test]
    fn completeness_is_a_boolean() {
        let complete = |lines: &[&'static str]| boolean(&map(&UPLOAD_COMPLETE, lines), &UPLOAD_COMPLETE);
        assert_eq!((complete(&["?1"]), complete(&["?0"]), complete(&["?1;x"])), (Some(true), Some(false), Some(true)));
        for other in ["", "1", "0", "true", "?2", "?", "?10", "\"?1\"", "?1, ?1"] {
            assert_eq!(complete(&[other]), None, "{other}");
        }
    }

    #[test]
    fn a_digest_is_a_member_of_a_dictionary_in_one_line_or_more() {
        let digest = |lines: &[&'static str]| bytes(&map(&CONTENT_DIGEST, lines), &CONTENT_DIGEST, "sha-256");
        assert_eq!(digest(&["sha-256=:YWJj:"]).unwrap(), b"abc");
        assert_eq!(digest(&["md5=:AA==:, sha-256=:YWJj:"]).unwrap(), b"abc");
        assert_eq!(digest(&["md5=:AA==:", "sha-256=:YWJj:"]).unwrap(), b"abc");
        for other in ["", "sha-256", "sha-256=abc", "sha-256=(:YWJj:)", "sha-256=:***:", "SHA-256=:YWJj:"] {
            assert_eq!(digest(&[other]), None, "{other}");
        }
    }
}
