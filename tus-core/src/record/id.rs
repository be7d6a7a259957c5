//! The id of an upload: always a single path segment and a safe file name.

use std::{fmt, str::FromStr, sync::Arc};

/// The id of an upload: the last segment of its URL.
///
/// 1 to 128 ASCII letters, digits, `-` or `_`. An id needs no escaping in a URL and cannot leave a directory. The
/// service (128 random bits) or the application chooses ids, never the client. Clones are cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Arc<str>);

impl UploadId {
    /// The longest id, in characters.
    pub const MAX_LEN: usize = 128;

    /// Makes an id of 128 random bits: 32 lowercase hexadecimal digits.
    ///
    /// The caller supplies the bits, because this crate draws no random numbers.
    pub fn from_random(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = InvalidUploadId;

    fn from_str(text: &str) -> Result<Self, InvalidUploadId> {
        let valid = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if valid { Ok(Self(text.into())) } else { Err(InvalidUploadId) }
    }
}

impl TryFrom<&str> for UploadId {
    type Error = InvalidUploadId;

    fn try_from(text: &str) -> Result<Self, InvalidUploadId> {
        text.parse()
    }
}

impl AsRef<str> for UploadId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Distinguishes uploads that have had the same id: 128 random bits, drawn at creation.
///
/// What is authorized, loaded or opened is one incarnation. A later upload with the same id is a different one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(u128);

impl Incarnation {
    /// An incarnation of these random bits. The caller supplies them, because this crate draws no random numbers.
    pub fn from_random(bits: u128) -> Self {
        Self(bits)
    }

    /// The random bits.
    pub fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a valid upload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is 1 to 128 ASCII letters, digits, '-' or '_'")]
pub struct InvalidUploadId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_directory() {
        for text in ["", ".", "..", "a/b", "../a", "a\\b", "a.b", "a b", "a\0", "ä", "%2e", &"a".repeat(129)] {
            assert_eq!(text.parse::<UploadId>(), Err(InvalidUploadId), "{text:?}");
        }
        for text in ["a", "A-b_9", &"a".repeat(128)] {
            assert_eq!(text.parse::<UploadId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn random_bits_keep_their_zeros() {
        assert_eq!(UploadId::from_random(0xff).as_str(), "000000000000000000000000000000ff");
    }
}
