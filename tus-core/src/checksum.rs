//! `Upload-Checksum`: the digest of one request's body. Bytes become part of the upload only after their digest has
//! been verified.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use sha1::Digest;

/// A checksum algorithm (tus 1.0.0, "Checksum").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-1, which every server must support; 20 bytes.
    Sha1,
    /// SHA-256; 32 bytes.
    #[cfg(feature = "sha256")]
    Sha256,
    /// SHA-512; 64 bytes.
    #[cfg(feature = "sha512")]
    Sha512,
    /// MD5; 16 bytes.
    #[cfg(feature = "md5")]
    Md5,
    /// CRC-32 (IEEE 802.3); 4 bytes, most significant first.
    #[cfg(feature = "crc32")]
    Crc32,
}

impl Algorithm {
    /// All algorithms in this build, the preferred one first.
    pub const ALL: &[Self] = &[
        Self::Sha1,
        #[cfg(feature = "sha256")]
        Self::Sha256,
        #[cfg(feature = "sha512")]
        Self::Sha512,
        #[cfg(feature = "md5")]
        Self::Md5,
        #[cfg(feature = "crc32")]
        Self::Crc32,
    ];

    /// The length of its digests in bytes.
    pub(crate) const fn digest_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            #[cfg(feature = "sha256")]
            Self::Sha256 => 32,
            #[cfg(feature = "sha512")]
            Self::Sha512 => 64,
            #[cfg(feature = "md5")]
            Self::Md5 => 16,
            #[cfg(feature = "crc32")]
            Self::Crc32 => 4,
        }
    }

    /// The name in `Upload-Checksum` and `Tus-Checksum-Algorithm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            #[cfg(feature = "sha256")]
            Self::Sha256 => "sha256",
            #[cfg(feature = "sha512")]
            Self::Sha512 => "sha512",
            #[cfg(feature = "md5")]
            Self::Md5 => "md5",
            #[cfg(feature = "crc32")]
            Self::Crc32 => "crc32",
        }
    }
}

/// A digest and its algorithm: the value of `Upload-Checksum`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Parses the value of an `Upload-Checksum` header: the name, a space, and the digest in base64. Algorithms that
    /// are not offered are unknown.
    pub(crate) fn parse(value: &HeaderValue, offered: &[Algorithm]) -> Result<Self, InvalidChecksum> {
        let text = value.to_str().map_err(|_| InvalidChecksum::Form)?;
        let (name, digest) = text.split_once(' ').ok_or(InvalidChecksum::Form)?;
        let algorithm = offered.iter().find(|a| a.name() == name).ok_or(InvalidChecksum::Algorithm)?;
        let digest = BASE64_STANDARD.decode(digest).map_err(|_| InvalidChecksum::Form)?;
        Ok(Self { algorithm: *algorithm, digest })
    }

    /// A digest that was received for an algorithm.
    pub(crate) fn from_digest(algorithm: Algorithm, digest: Vec<u8>) -> Self {
        Self { algorithm, digest }
    }

    /// The algorithm of the digest.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The value of the header `Upload-Checksum`.
    pub fn to_header(&self) -> HeaderValue {
        crate::header::value(format!("{} {}", self.algorithm.name(), BASE64_STANDARD.encode(&self.digest)))
    }
}

pub(crate) enum InvalidChecksum {
    Form,
    Algorithm,
}

/// Computes a digest incrementally.
pub struct Hasher {
    algorithm: Algorithm,
    running: Box<dyn Running>,
}

impl Hasher {
    /// Starts a digest.
    pub fn new(algorithm: Algorithm) -> Self {
        let running: Box<dyn Running> = match algorithm {
            Algorithm::Sha1 => Box::new(sha1::Sha1::new()),
            #[cfg(feature = "sha256")]
            Algorithm::Sha256 => Box::new(sha2::Sha256::new()),
            #[cfg(feature = "sha512")]
            Algorithm::Sha512 => Box::new(sha2::Sha512::new()),
            #[cfg(feature = "md5")]
            Algorithm::Md5 => Box::new(md5::Md5::new()),
            #[cfg(feature = "crc32")]
            Algorithm::Crc32 => Box::new(Crc32(crc32fast::Hasher::new())),
        };
        Self { algorithm, running }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.running.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finish(self) -> Checksum {
        Checksum { algorithm: self.algorithm, digest: self.running.finish() }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({})", self.algorithm.name())
    }
}

trait Running: Send + Sync {
    fn update(&mut self, bytes: &[u8]);
    fn finish(self: Box<Self>) -> Vec<u8>;
}

impl<D: Digest + Send + Sync> Running for D {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(self, bytes);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.finalize().to_vec()
    }
}

#[cfg(feature = "crc32")]
struct Crc32(crc32fast::Hasher);

#[cfg(feature = "crc32")]
impl Running for Crc32 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_be_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tus 1.0.0, "Checksum": "The names of the checksum algorithms MUST only consist of ASCII
    /// characters with the modification that uppercase characters are excluded."
    #[test]
    fn names_are_lowercase_ascii_and_sha1_is_among_them() {
        for algorithm in Algorithm::ALL {
            assert!(algorithm.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        }
        assert_eq!(Algorithm::ALL[0].name(), "sha1");
    }

    #[test]
    fn the_example_of_the_specification_matches() {
        let sent = HeaderValue::from_static("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
        let sent = Checksum::parse(&sent, Algorithm::ALL).ok().unwrap();
        assert_eq!(sent, Checksum::of(Algorithm::Sha1, b"hello world"));
        assert_eq!(sent.to_header(), "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=");
    }

    /// The digests of "hello world", by coreutils and zlib.
    #[test]
    fn digests_match_published_values() {
        for (name, hex) in [
            ("sha256", "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"),
            (
                "sha512",
                "309ecc489c12d6eb4cc40f50c902f2b4d0ed77ee511a7c7a9bcd3ca86d4cd86f\
                 989dd35bc5ff499670da34255b45b0cfd830e81f605dcf7dc5542e93ae9cd76f",
            ),
            ("md5", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
            ("crc32", "0d4a1185"),
        ] {
            let Some(algorithm) = Algorithm::ALL.iter().find(|a| a.name() == name) else {
                continue;
            };
            let digest = Checksum::of(*algorithm, b"hello world").digest;
            assert_eq!(digest.iter().map(|b| format!("{b:02x}")).collect::<String>(), hex, "{name}");
        }
    }
}
