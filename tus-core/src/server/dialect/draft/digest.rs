//! `Repr-Digest` of the complete upload (RFC 9530), as declared at creation.

use http::{HeaderMap, HeaderValue};

use crate::{Checksum, Upload, Verbatim, digest, header::REPR_DIGEST, server::Config};

/// Stores the digest of the complete upload in its record.
pub(super) fn keep(verbatim: &mut Verbatim, repr_digest: &Checksum) {
    if let Some(written) = digest::write(repr_digest) {
        verbatim.set(&REPR_DIGEST, &written);
    }
}

/// The digest of the complete upload that was declared at creation, if it is still to be verified.
pub(in crate::server) fn kept(config: &Config, upload: &Upload) -> Option<Checksum> {
    let written: HeaderValue = upload.verbatim.get(&REPR_DIGEST)?;
    let headers = HeaderMap::from_iter([(REPR_DIGEST.clone(), written)]);
    digest::read(&headers, &REPR_DIGEST, config.verified()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Incarnation, Kind, UploadId};

    #[test]
    fn a_digest_is_stored_with_the_record() {
        let mut upload = Upload::new(UploadId::from_random(1), Incarnation::from_random(1), Kind::Single);
        let config = Config::default().checksums(Algorithm::ALL.iter().copied());
        assert_eq!(kept(&config, &upload), None);
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Checksum::of(algorithm, b"hello");
            keep(&mut upload.verbatim, &digest);
            assert_eq!(kept(&config, &upload), Some(digest));
            assert_eq!(kept(&Config::default(), &upload), None);
        }
    }
}
