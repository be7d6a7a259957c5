//! Digests (RFC 9530): `Content-Digest` of one request's content, and `Repr-Digest` of the complete upload.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::field;
use crate::{
    Algorithm, Checksum, Upload, Verbatim,
    header::{REPR_DIGEST, value},
};

/// The algorithms that are verified, the strongest first; others are ignored ("A recipient MAY ignore any or all
/// digests", RFC 9530, section 2). Those that are not compiled in are unknown.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    #[cfg(feature = "sha512")]
    ("sha-512", Algorithm::Sha512),
    #[cfg(feature = "sha256")]
    ("sha-256", Algorithm::Sha256),
];

/// The digest that a request has in this field, if it is of a known algorithm.
pub(super) fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Checksum> {
    // Most requests have none, and need not be parsed for it.
    headers.get(name)?;
    ALGORITHMS.iter().find_map(|(key, algorithm)| {
        let digest = field::bytes(headers, name, key)?;
        Some(Checksum::from_digest(*algorithm, digest))
    })
}

/// Keeps the digest of the complete upload with its record.
pub(super) fn keep(verbatim: &mut Verbatim, digest: &Checksum) {
    if let Some((key, _)) = ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == digest.algorithm()) {
        let field = value(format!("{key}=:{}:", BASE64_STANDARD.encode(digest.digest())));
        verbatim.set(&REPR_DIGEST, &field);
    }
}

/// The digest of the complete upload that its creation had.
pub(in crate::server) fn kept(upload: &Upload) -> Option<Checksum> {
    let digest: HeaderValue = upload.verbatim.get(&REPR_DIGEST)?;
    read(&HeaderMap::from_iter([(REPR_DIGEST.clone(), digest)]), &REPR_DIGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incarnation, Kind, UploadId, header::CONTENT_DIGEST};

    fn headers(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_DIGEST.clone(), HeaderValue::from_static(text))])
    }

    /// RFC 9530, appendix D: the digests of `{"hello": "world"}` and a line feed.
    #[test]
    fn the_strongest_known_digest_is_taken() {
        let content = b"{\"hello\": \"world\"}\n";
        let text = "id-sha-256=:AA==:, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:, \
             sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";
        let read = |text| read(&headers(text), &CONTENT_DIGEST);
        assert_eq!(read(text), Some(Checksum::of(Algorithm::Sha512, content)));
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(read(sha256), Some(Checksum::of(Algorithm::Sha256, content)));
        assert_eq!(read("md5=:AA==:"), None);
        assert_eq!(read("sha-256=RK"), None);
    }

    #[test]
    fn a_digest_is_kept_with_the_record() {
        let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(1), Kind::Single);
        assert_eq!(kept(&upload), None);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Checksum::of(algorithm, b"hello");
            keep(&mut upload.verbatim, &digest);
            assert_eq!(kept(&upload), Some(digest));
        }
    }
}
