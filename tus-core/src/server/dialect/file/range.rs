//! `Range` (RFC 9110, section 14): which bytes of a file are requested.

use std::{num::NonZeroUsize, ops::Range};

use http::HeaderValue;
use http_range_header::{RangeUnsatisfiableError, parse_range_header_with_max_ranges};

/// The requested bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them: there is no range, an unknown one ("An origin server MUST ignore a Range header field that
    /// contains a range unit it does not understand"), or several.
    All,
    /// These, which exist.
    Part(Range<u64>),
    /// None of the requested bytes exist.
    Nothing,
}

/// Parses `Range` for a file of this length.
pub(crate) fn wanted(range: Option<&HeaderValue>, length: u64) -> Wanted {
    let text = match range.map(HeaderValue::to_str) {
        // `Content-Range` cannot express a part of an empty file.
        Some(Ok(text)) if length > 0 => text,
        _ => return Wanted::All,
    };
    // Several ranges would need a body of another type (`multipart/byteranges`).
    let one = parse_range_header_with_max_ranges(text, NonZeroUsize::MIN);
    match one.and_then(|one| one.validate(length)).as_deref() {
        Ok([part]) => Wanted::Part(*part.start()..part.end().saturating_add(1)),
        Err(RangeUnsatisfiableError::Unsatisfiable) => Wanted::Nothing,
        Ok(_) | Err(_) => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        for (text, expected) in [
            ("bytes=0-499", Wanted::Part(0..500)),
            ("bytes=500-", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(500..1000)),
            ("bytes=-2000", Wanted::Part(0..1000)),
            ("bytes=0-", Wanted::Part(0..1000)),
            ("bytes=0-999", Wanted::Part(0..1000)),
            ("bytes=007-0000000009", Wanted::Part(7..10)),
            ("bytes= ,0-1, ", Wanted::Part(0..2)),
            ("bytes=999-99999999999999999999", Wanted::Part(999..1000)),
            ("Bytes=0-0", Wanted::Part(0..1)),
            ("bytes=1000-", Wanted::Nothing),
            ("bytes=1000-2000", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=99999999999999999999-", Wanted::Nothing),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=--5", Wanted::All),
            ("bytes=+1-5", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("bytes=1-b", Wanted::All),
            ("bytes=0-1,", Wanted::Part(0..2)),
            ("bytes=,", Wanted::All),
            ("bytes=0 - 1", Wanted::All),
            ("bytes =0-1", Wanted::All),
            ("bytes=0-1;q=1", Wanted::All),
            ("bytes=0x0-0x1", Wanted::All),
            ("bytes=1-2-3", Wanted::All),
            ("bytes=1000-,2000-", Wanted::All),
            ("bytes", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(Some(&HeaderValue::from_static(text)), 1000), expected, "{text}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        for text in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(Some(&HeaderValue::from_static(text)), 0), Wanted::All);
        }
    }

    /// RFC 9110, 14.1.2: its examples for "a representation of length 10000".
    #[test]
    fn the_examples_of_the_specification_are_understood() {
        for (text, expected) in [
            ("bytes=0-499", Wanted::Part(0..500)),
            ("bytes=500-999", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(9500..10000)),
            ("bytes=9500-", Wanted::Part(9500..10000)),
            ("bytes=0-0,-1", Wanted::All),
            ("bytes= 0-999, 4500-5499, -1000", Wanted::All),
            ("bytes=500-600,601-999", Wanted::All),
            ("bytes=500-700,601-999", Wanted::All),
        ] {
            assert_eq!(wanted(Some(&HeaderValue::from_static(text)), 10000), expected, "{text}");
        }
    }

    #[test]
    fn invalid_ranges_are_ignored() {
        for hostile in
            [&b"bytes=\xff-"[..], "bytes=0-1,".repeat(5000).as_bytes(), &[b'9'; 70_000], "bytes=é-".as_bytes()]
        {
            assert_eq!(wanted(Some(&HeaderValue::from_bytes(hostile).unwrap()), 1000), Wanted::All);
        }
        let digits = format!("bytes={}-", "9".repeat(1000));
        assert_eq!(wanted(Some(&digits.parse().unwrap()), 1000), Wanted::All);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(text in "(bytes=)?[0-9 ,+-]{0,24}", length: u64) {
            if let Wanted::Part(part) = wanted(Some(&text.parse().unwrap()), length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
