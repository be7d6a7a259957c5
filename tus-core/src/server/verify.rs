//! What to verify about a body, and the digests so far.

use crate::{Algorithm, Checksum, Hasher};

/// What to verify about a body, and the digests so far. Bytes become part of the upload only after their digest has
/// been verified.
#[derive(Debug)]
pub(super) enum Verify {
    /// Nothing: bytes can be committed as soon as they arrive.
    Nothing,
    /// The checksum that came with the request's head.
    Header(Checksum, Hasher),
    /// A checksum that will follow the body. Its algorithm is not known before, so all offered algorithms run.
    Trailer(Vec<Hasher>),
}

impl Verify {
    pub(super) fn header(checksum: Checksum) -> Self {
        let hasher = Hasher::new(checksum.algorithm());
        Self::Header(checksum, hasher)
    }

    pub(super) fn trailer(offered: &[Algorithm]) -> Self {
        Self::Trailer(offered.iter().map(|algorithm| Hasher::new(*algorithm)).collect())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Header(_, hasher) => hasher.update(bytes),
            Self::Trailer(hashers) => hashers.iter_mut().for_each(|hasher| hasher.update(bytes)),
        }
    }
}
