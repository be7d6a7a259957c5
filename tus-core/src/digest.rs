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

/// The digest in this field by the strongest of the `wanted` algorithms. Others are ignored: "A recipient MAY ignore any
/// or all digests" (RFC 9530, section 2).
pub(crate) fn read(headers: &HeaderMap, name: &HeaderName, wanted: &[Algorithm]) -> Option<Checksum> {
    // Most messages have none; this avoids parsing.
    headers.get(name)?;
    ALGORITHMS.iter().filter(|(_, algorithm)| wanted.contains(algorithm)).find_map(|(key, algorithm)| {
        let digest = field::bytes(headers, name, key)?;
        Some(Checksum::from_digest(*algorithm, digest))
    })
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
        let read = |text| read(&headers(text), &CONTENT_DIGEST, Algorithm::ALL);
        assert_eq!(read(text), Some(Checksum::of(Algorithm::Sha512, content)));
        let wanting = |wanted: &[Algorithm]| super::read(&headers(text), &CONTENT_DIGEST, wanted);
        assert_eq!(wanting(&[Algorithm::Sha1, Algorithm::Sha256]), Some(Checksum::of(Algorithm::Sha256, content)));
        assert_eq!(wanting(&[Algorithm::Sha1]), None);
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(read(sha256), Some(Checksum::of(Algorithm::Sha256, content)));
        assert_eq!(write(&Checksum::of(Algorithm::Sha256, content)).unwrap(), sha256);
        assert_eq!(write(&Checksum::of(Algorithm::Sha1, content)), None);
        assert_eq!(read("md5=:AA==:"), None);
        assert_eq!(read("sha-256=RK"), None);
    }
}
