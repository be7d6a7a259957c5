//! The conditions of a download request.
//!
//! Read here, because the crate `headers` finds no tag in a list that contains a byte above 127, which RFC 9110 allows in
//! tags.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    entity_tag,
    range::{self, Wanted},
};
use crate::Upload;

/// The conditions of a download request (RFC 9110, sections 13 and 14).
#[derive(Debug)]
pub(in crate::server) struct Conditions {
    headers: HeaderMap,
    is_head: bool,
}

impl Conditions {
    pub(in crate::server) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let is_head = *method == Method::HEAD;
        // "A server MUST ignore a Range header field received with a request method that is unrecognized or for which
        // range handling is not defined. For this specification, GET is the only method for which range handling is
        // defined." (RFC 9110, 14.2)
        let ranges = [header::RANGE, header::IF_RANGE].into_iter().filter(|_| !is_head);
        let named = ranges.chain([header::IF_MATCH, header::IF_NONE_MATCH]);
        let all = named.flat_map(|name| {
            let values = headers.get_all(&name).into_iter().cloned();
            values.map(move |value| (name.clone(), value)).collect::<Vec<_>>()
        });
        Self { headers: all.collect(), is_head }
    }

    /// Whether the client only wants the head of the response.
    pub(in crate::server) fn is_head(&self) -> bool {
        self.is_head
    }

    /// Whether the client wants another file than this one (RFC 9110, 13.1.1). Tags are compared strongly: a weak one is
    /// none of ours.
    pub(in crate::server) fn excludes(&self, upload: &Upload) -> bool {
        let current = entity_tag(upload);
        let names = |field: &HeaderValue| {
            field == "*"
                || field.as_bytes().split(|byte| *byte == b',').any(|tag| tag.trim_ascii() == current.as_bytes())
        };
        self.headers.contains_key(header::IF_MATCH) && !self.headers.get_all(header::IF_MATCH).iter().any(names)
    }

    /// Whether the client already has the file (RFC 9110, 13.1.2).
    pub(in crate::server) fn has_it(&self, upload: &Upload) -> bool {
        if !self.headers.contains_key(header::IF_NONE_MATCH) {
            return false;
        }
        let current = entity_tag(upload);
        // Other tags may contain commas but no quotes, so no fragment of them looks like our tag.
        let tags = |field: &HeaderValue| {
            let mut tags = field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            tags.any(|tag| tag.strip_prefix(b"W/").unwrap_or(tag) == current.as_bytes())
        };
        self.headers.get_all(header::IF_NONE_MATCH).iter().any(|field| field == "*" || tags(field))
    }

    /// The requested range, if the client's other bytes are from this file (RFC 9110, 13.1.5).
    pub(in crate::server) fn wanted(&self, upload: &Upload) -> Wanted {
        let mut ranges = self.headers.get_all(header::RANGE).iter();
        match (ranges.next(), ranges.next()) {
            (Some(range), None) if self.is_of(upload) => range::wanted(Some(range), upload.offset),
            // Two fields would form one list (RFC 9110, 5.3), which is not valid here.
            _ => Wanted::All,
        }
    }

    /// Whether `If-Range`, if present, names this file by a strong tag. A date never matches, because responses have
    /// none.
    fn is_of(&self, upload: &Upload) -> bool {
        self.headers.get_all(header::IF_RANGE).iter().all(|known| known == entity_tag(upload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Kind};

    fn upload() -> Upload {
        let mut upload = Upload::new("a".parse().unwrap(), Incarnation::from_random(0x1f), Kind::Single);
        upload.offset = 1000;
        upload
    }

    fn conditions(fields: &[(header::HeaderName, &[u8])]) -> Conditions {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap()));
        Conditions::of(&Method::GET, &fields.collect())
    }

    /// RFC 9110, 13.1.2 and 8.8.3.2: weak comparison, in any of the fields.
    #[test]
    fn if_none_match_finds_the_tag_in_a_list() {
        let has_it = |fields: &[&[u8]]| {
            let fields: Vec<_> = fields.iter().map(|value| (header::IF_NONE_MATCH, *value)).collect();
            conditions(&fields).has_it(&upload())
        };
        for known in [
            &b"\"0000000000000000000000000000001f\""[..],
            b"W/\"0000000000000000000000000000001f\"",
            b"\"xyzzy\", W/\"r2d2xxxx\" ,\"0000000000000000000000000000001f\"",
            b",,\"0000000000000000000000000000001f\",",
            b"\"\xe4\", \"0000000000000000000000000000001f\"",
            b"*",
        ] {
            assert!(has_it(&[known]), "{}", String::from_utf8_lossy(known));
            assert!(has_it(&[b"\"xyzzy\"", known]));
        }
        for unknown in [
            &b""[..],
            b"\"xyzzy\"",
            b"\"a,*,b\"",
            b"\"*\"",
            b"0000000000000000000000000000001f",
            b"w/\"0000000000000000000000000000001f\"",
            b"\"0000000000000000000000000000001F\"",
            b"\"x 0000000000000000000000000000001f\"",
            b"\"",
            b"W/",
            b"\"\xff",
        ] {
            assert!(!has_it(&[unknown]), "{}", String::from_utf8_lossy(unknown));
        }
        assert!(!has_it(&[]));
    }

    /// RFC 9110, 13.1.5: strong comparison.
    #[test]
    fn if_range_requires_a_matching_strong_tag() {
        let wanted = |known: &[&[u8]]| {
            let known = known.iter().map(|value| (header::IF_RANGE, *value));
            let fields: Vec<_> = known.chain([(header::RANGE, &b"bytes=500-"[..])]).collect();
            conditions(&fields).wanted(&upload())
        };
        assert_eq!(wanted(&[]), Wanted::Part(500..1000));
        assert_eq!(wanted(&[b"\"0000000000000000000000000000001f\""]), Wanted::Part(500..1000));
        for unknown in [
            &b"W/\"0000000000000000000000000000001f\""[..],
            b"\"xyzzy\"",
            b"Sat, 29 Oct 1994 19:43:31 GMT",
            b"*",
            b"",
            b"\xff",
        ] {
            assert_eq!(wanted(&[unknown]), Wanted::All, "{}", String::from_utf8_lossy(unknown));
            assert_eq!(wanted(&[b"\"0000000000000000000000000000001f\"", unknown]), Wanted::All);
        }
    }

    #[test]
    fn two_range_fields_are_ignored() {
        let wanted = |ranges: &[&[u8]]| {
            let fields: Vec<_> = ranges.iter().map(|value| (header::RANGE, *value)).collect();
            conditions(&fields).wanted(&upload())
        };
        assert_eq!(wanted(&[b"bytes=0-"]), Wanted::Part(0..1000));
        assert_eq!(wanted(&[b"bytes=0-", b"bytes=0-"]), Wanted::All);
        assert_eq!(wanted(&[b"bytes=5000-", b"bytes=0-1"]), Wanted::All);
        assert_eq!(wanted(&[]), Wanted::All);
    }
}
