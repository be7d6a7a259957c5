//! `Range` (RFC 9110, section 14): which bytes of a file are asked for.

use std::ops::Range;

use http::HeaderValue;

/// The bytes that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of them: it asks for no range, or for one that is not understood ("An origin server MUST ignore a
    /// Range header field that contains a range unit it does not understand"), or for several at once.
    All,
    /// These, which are there.
    Part(Range<u64>),
    /// Some that are not there.
    Nothing,
}

/// Reads `Range` for a file of so many bytes.
pub(crate) fn wanted(range: Option<&HeaderValue>, length: u64) -> Wanted {
    let text = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
    let spec = match text.split_once('=') {
        Some((unit, spec)) if unit.eq_ignore_ascii_case("bytes") => spec.trim(),
        _ => return Wanted::All,
    };
    let part = match spec.split_once('-').map(|(first, last)| (position(first), position(last))) {
        Some((Some(first), Some(last))) if first <= last => first..last.saturating_add(1).min(length),
        Some((Some(first), None)) if spec.ends_with('-') => first..length,
        Some((None, Some(suffix))) if spec.starts_with('-') => length.saturating_sub(suffix)..length,
        _ => return Wanted::All,
    };
    match part.is_empty() {
        // There is no way to tell of a part of nothing.
        _ if length == 0 => Wanted::All,
        true => Wanted::Nothing,
        false => Wanted::Part(part),
    }
}

/// A position that no number here reaches is past every end.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood() {
        for (text, expected) in [
            ("bytes=0-499", Wanted::Part(0..500)),
            ("bytes=500-", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(500..1000)),
            ("bytes=-2000", Wanted::Part(0..1000)),
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
            ("bytes", Wanted::All),
            ("lines=0-1", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(Some(&HeaderValue::from_static(text)), 1000), expected, "{text}");
        }
        assert_eq!(wanted(None, 1000), Wanted::All);
    }

    #[test]
    fn nothing_has_no_parts() {
        for text in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(Some(&HeaderValue::from_static(text)), 0), Wanted::All);
        }
    }
}
