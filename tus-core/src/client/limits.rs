//! `Upload-Limit` (draft 12, "Limits").

use std::time::Duration;

use http::HeaderMap;
use sfv::{BareItem, ListEntry};

use crate::{field, header::UPLOAD_LIMIT};

/// The limits of a server for uploads of the draft, in bytes; `None` if there is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum length of an upload.
    pub max_size: Option<u64>,
    /// The minimum length of a resumable upload. Smaller ones are sent in one request.
    pub min_size: Option<u64>,
    /// The maximum content of one request.
    pub max_append_size: Option<u64>,
    /// The minimum content of one request that does not complete its upload.
    pub min_append_size: Option<u64>,
    /// How long the upload will exist, counted from the response.
    pub max_age: Option<Duration>,
}

impl Limits {
    /// The limits in a response; `None` if there are none, or they are invalid.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        headers.get(&UPLOAD_LIMIT)?;
        let mut limits = Self::default();
        for (key, entry) in &field::dictionary(headers, &UPLOAD_LIMIT)? {
            // "a member with an unknown key MUST be ignored."
            let limit = match key.as_str() {
                "max-size" => &mut limits.max_size,
                "min-size" => &mut limits.min_size,
                "max-append-size" => &mut limits.max_append_size,
                "min-append-size" => &mut limits.min_append_size,
                "max-age" => {
                    limits.max_age = Some(Duration::from_secs(number(entry)?));
                    continue;
                }
                _ => continue,
            };
            // "a member with a known key but a value of unexpected type MUST cause the entire Upload-Limit header field to
            // be ignored".
            *limit = Some(number(entry)?);
        }
        Some(limits)
    }
}

fn number(entry: &ListEntry) -> Option<u64> {
    match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::Integer(number) => i64::from(number).try_into().ok(),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(text: &'static str) -> Option<Limits> {
        Limits::read(&HeaderMap::from_iter([(UPLOAD_LIMIT.clone(), HeaderValue::from_static(text))]))
    }

    /// "Limits": "First, a member with an unknown key MUST be ignored. Second, a member with a known key but a value of
    /// unexpected type MUST cause the entire Upload-Limit header field to be ignored". "Its value is a Dictionary. Other
    /// values MUST cause the entire header field to be ignored."
    #[test]
    fn limits_are_integers_with_known_keys() {
        let all = read("max-size=9;a, min-size=0, max-append-size=4, min-append-size=2, max-age=60, colour=\"red\", x");
        let all = all.unwrap();
        assert_eq!((all.max_size, all.min_size), (Some(9), Some(0)));
        assert_eq!((all.max_append_size, all.min_append_size), (Some(4), Some(2)));
        assert_eq!(all.max_age, Some(Duration::from_secs(60)));
        assert_eq!(read("min-size=0").unwrap().max_size, None);
        for other in [
            "max-size=9, max-age=?1",
            "max-size=9.0",
            "max-size=(9)",
            "max-size",
            "max-size=-1",
            "max-size=\"9\"",
            "=",
            "9",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(Limits::read(&HeaderMap::new()), None);
    }
}
