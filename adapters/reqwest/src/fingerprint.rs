//! What distinguishes sources, so that an upload of the same source can be resumed.

use std::{fmt::Write, sync::Arc};

use futures_util::future::BoxFuture;
use tus_core::{Algorithm, client::Error};

use crate::Source;

/// How another process recognizes a source. Sources of unknown length are never recognized.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fingerprint {
    /// By all of its content: `size:{bytes}--sha256:{hex}`. This reads the source once more.
    Content,
    /// By its size and its first 64 KiB: `size:{bytes}--md5:{hex}`, as in tuspy. Sources that differ only after that
    /// are considered equal.
    Fast,
    /// By the caller's function, which gets the source.
    Custom(Arc<Custom>),
}

type Custom = dyn Fn(Source) -> BoxFuture<'static, Result<String, Error>> + Send + Sync;

/// How much [`Fingerprint::Fast`] reads.
const BEGINNING: u64 = 64 * 1024;

impl Fingerprint {
    /// The fingerprint; `None` if the source has none.
    pub(crate) async fn of(&self, source: &Source) -> Result<Option<String>, Error> {
        let Some(length) = source.length() else {
            return Ok(None);
        };
        let (name, algorithm, read) = match self {
            Self::Content => ("sha256", Algorithm::Sha256, length),
            Self::Fast => ("md5", Algorithm::Md5, length.min(BEGINNING)),
            Self::Custom(custom) => return custom(source.clone()).await.map(Some),
        };
        let checksum = source.look(0..read, Some(algorithm)).await?.checksum;
        let mut text = format!("size:{length}--{name}:");
        for byte in checksum.iter().flat_map(|checksum| checksum.digest()) {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Some(text))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Content => "Content",
            Self::Fast => "Fast",
            Self::Custom(_) => "Custom(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn fingerprints_equal_those_of_other_clients() {
        let source = Source::bytes("hello world");
        assert_eq!(
            Fingerprint::Content.of(&source).await.unwrap().unwrap(),
            "size:11--sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
        );
        assert_eq!(
            Fingerprint::Fast.of(&source).await.unwrap().unwrap(),
            "size:11--md5:5eb63bbbe01eeed093cb22bb8f5acdc3"
        );
        let long = |last: u8| {
            let mut bytes = vec![7; 100_000];
            bytes[99_999] = last;
            Source::bytes(bytes)
        };
        let fast = |last| async move { Fingerprint::Fast.of(&long(last)).await.unwrap() };
        assert_eq!(fast(1).await, fast(2).await);
        let content = |last| async move { Fingerprint::Content.of(&long(last)).await.unwrap() };
        assert_ne!(content(1).await, content(2).await);
        assert_eq!(Fingerprint::Content.of(&Source::stream(tokio::io::empty())).await.unwrap(), None);
    }
}
