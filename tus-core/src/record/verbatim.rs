//! What a dialect has to repeat exactly as it was sent.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Header values that the upload's dialect has to repeat exactly as they were sent, where the record alone would not
/// give the same text. Opaque to everybody else; empty for most uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Verbatim(#[cfg_attr(feature = "serde", serde(with = "super::document::base64"))] Bytes);

impl Verbatim {
    /// What a storage has kept of it.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// What a storage has to keep of it.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value that was sent by that name.
    pub(crate) fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        // A line a value: neither a name nor a value can hold a line feed.
        let mut lines = self.0.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b":"))?;
        HeaderValue::from_bytes(value).ok()
    }

    pub(crate) fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        let mut lines = self.0.to_vec();
        for piece in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
            lines.extend_from_slice(piece);
        }
        self.0 = lines.into();
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        if self.get(name).is_some() {
            let mut prefix = name.as_str().as_bytes().to_vec();
            prefix.push(b':');
            let others = self.0.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(&prefix));
            self.0 = others.collect::<Vec<_>>().concat().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_by_their_names() {
        let (a, b) = (HeaderName::from_static("a"), HeaderName::from_static("ab"));
        let mut verbatim = Verbatim::default();
        assert_eq!(verbatim.get(&a), None);
        verbatim.set(&a, &HeaderValue::from_static("1: x"));
        verbatim.set(&b, &HeaderValue::from_static(""));
        verbatim.set(&a, &HeaderValue::from_bytes(b"2\xff").unwrap());
        let mut verbatim = Verbatim::from_bytes(verbatim.as_bytes().clone());
        assert_eq!(verbatim.get(&a).unwrap().as_bytes(), b"2\xff");
        assert_eq!(verbatim.get(&b).unwrap(), "");
        verbatim.remove(&a);
        assert_eq!((verbatim.get(&a), verbatim.get(&b).unwrap().as_bytes()), (None, &b""[..]));
    }
}
