//! Digest fields (RFC 9530), of a message's content or of a complete representation.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Algorithm, Checksum, field, header::value};

/// The algorithms in this build that have a name in these fields, the strongest first.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    #[cfg(feature = "sha512")]
    ("sha-512", Algorithm::Sha512),
    #[cfg(feature = "sha256")]
    ("sha-256", Algorithm::Sha256),
];

/// A digest does not have the length of its algorithm, in bytes. It is refused before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongLength {
    pub(crate) field: HeaderName,
    pub(crate) expected: usize,
}

/// The digest in this field by the strongest of the `wanted` algorithms. Others are ignored: "A recipient MAY ignore any
/// or all digests" (RFC 9530, section 2).
pub(crate) fn read(
    headers: &HeaderMap,
    name: &HeaderName,
    wanted: &[Algorithm],
) -> Result<Option<Checksum>, WrongLength> {
    // Most messages have none; this avoids parsing.
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let wanted = ALGORITHMS.iter().filter(|(_, algorithm)| wanted.contains(algorithm));
    let found = wanted.filter_map(|(key, algorithm)| Some((*algorithm, field::bytes(headers, name, key)?))).next();
    match found {
        Some((algorithm, digest)) if digest.len() != algorithm.digest_length() => {
            Err(WrongLength { field: name.clone(), expected: algorithm.digest_length() })
        }
        found => Ok(found.map(|(algorithm, digest)| Checksum::from_digest(algorithm, digest))),
    }
}

/// The field value for this digest; `None` if its algorithm has no name in these fields.
pub(crate) fn write(digest: &Checksum) -> Option<HeaderValue> {
    let key = key(digest.algorithm())?;
    Some(value(format!("{key}=:{}:", BASE64_STANDARD.encode(digest.digest()))))
}

/// The name of an algorithm in these fields.
pub(crate) fn key(algorithm: Algorithm) -> Option<&'static str> {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::CONTENT_DIGEST;

    fn headers(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_DIGEST.clone(), HeaderValue::from_static(text))])
    }

    /// RFC 9530, appendix D: the digests of `{"hello": "world"}` and a line feed.
    #[test]
    fn the_strongest_wanted_digest_is_taken() {
        let content = b"{\"hello\": \"world\"}\n";
        let text = "id-sha-256=:AA==:, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:, \
             sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";
        let read = |text| read(&headers(text), &CONTENT_DIGEST, Algorithm::ALL).unwrap();
        assert_eq!(read(text), Some(Checksum::of(Algorithm::Sha512, content)));
        let wanting = |wanted: &[Algorithm]| super::read(&headers(text), &CONTENT_DIGEST, wanted).unwrap();
        assert_eq!(wanting(&[Algorithm::Sha1, Algorithm::Sha256]), Some(Checksum::of(Algorithm::Sha256, content)));
        assert_eq!(wanting(&[Algorithm::Sha1]), None);
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(read(sha256), Some(Checksum::of(Algorithm::Sha256, content)));
        assert_eq!(write(&Checksum::of(Algorithm::Sha256, content)).unwrap(), sha256);
        assert_eq!(write(&Checksum::of(Algorithm::Sha1, content)), None);
        assert_eq!(read("md5=:AA==:"), None);
        assert_eq!(read("sha-256=RK"), None);
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        let text = "sha-256=:AAAA:";
        let wrong = WrongLength { field: CONTENT_DIGEST.clone(), expected: 32 };
        assert_eq!(read(&headers(text), &CONTENT_DIGEST, Algorithm::ALL), Err(wrong));
        for algorithm in Algorithm::ALL {
            assert_eq!(Checksum::of(*algorithm, b"").digest().len(), algorithm.digest_length());
        }
    }
}
