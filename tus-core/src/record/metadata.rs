//! The client's metadata: pairs of a key and bytes. They are data; nothing here turns them into a path, another
//! header, or markup.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderValue;

/// The client's metadata of an upload: ordered pairs of a key and bytes.
///
/// Keys are visible ASCII without a comma, and unique (tus 1.0.0, "Upload-Metadata").
///
/// ```
/// use tus_core::Metadata;
///
/// # fn main() -> Result<(), tus_core::InvalidMetadata> {
/// let mut metadata = Metadata::from_pairs([("filename", "film.mp4")])?;
/// metadata.set("kind", "film")?;
/// assert_eq!(metadata.text("filename"), Some("film.mp4"));
/// assert_eq!(metadata.to_header().unwrap(), "filename ZmlsbS5tcDQ=,kind ZmlsbQ==");
/// assert!(metadata.set("no spaces", "").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(String, Bytes)>);

impl Metadata {
    /// Parses the value of an `Upload-Metadata` header (tus 1.0.0, "Upload-Metadata").
    ///
    /// # Errors
    ///
    /// If a pair or a key is empty, a key is repeated or not visible ASCII, or a value is not padded base64 in the
    /// standard alphabet (RFC 4648, section 4).
    pub fn parse(header: &HeaderValue) -> Result<Self, InvalidMetadata> {
        let text = header.to_str().map_err(|_| InvalidMetadata::NotAscii)?;
        let mut metadata = Self::default();
        for pair in text.split(',').map(|pair| pair.trim_matches([' ', '\t'])) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            metadata.check_new(key)?;
            let value = BASE64_STANDARD.decode(value).map_err(|_| InvalidMetadata::Value(key.to_owned()))?;
            metadata.0.push((key.to_owned(), value.into()));
        }
        Ok(metadata)
    }

    /// Metadata from the application.
    ///
    /// # Errors
    ///
    /// If a key is empty, repeated, or not visible ASCII without commas.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, InvalidMetadata>
    where
        K: Into<String>,
        V: Into<Bytes>,
    {
        let mut metadata = Self::default();
        for (key, value) in pairs {
            let key = key.into();
            metadata.check_new(&key)?;
            metadata.0.push((key, value.into()));
        }
        Ok(metadata)
    }

    /// Sets the value of a key. A new key is added at the end.
    ///
    /// # Errors
    ///
    /// If the key is empty, or not visible ASCII without commas.
    ///
    /// ```
    /// use tus_core::Metadata;
    ///
    /// let mut metadata = Metadata::default();
    /// metadata.set("filename", "film.mp4")?;
    /// assert_eq!(metadata.text("filename"), Some("film.mp4"));
    /// # Ok::<(), tus_core::InvalidMetadata>(())
    /// ```
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<(), InvalidMetadata> {
        let (key, value) = (key.into(), value.into());
        check_key(&key)?;
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
        Ok(())
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Bytes> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        Some(self.0.remove(at).1)
    }

    /// The value of the header `Upload-Metadata`; `None` if there is no metadata.
    pub fn to_header(&self) -> Option<HeaderValue> {
        let fields = self.iter().map(|(key, value)| match value.is_empty() {
            true => key.to_owned(),
            false => format!("{key} {}", BASE64_STANDARD.encode(value)),
        });
        (!self.is_empty()).then(|| crate::header::value(fields.collect::<Vec<_>>().join(",")))
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Bytes> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The value of a key if it is UTF-8 text, as `filename` usually is.
    ///
    /// Clients choose this text: never use it as a path, a file name, or markup.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The pairs, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check_new(&self, key: &str) -> Result<(), InvalidMetadata> {
        check_key(key)?;
        if self.value(key).is_some() { Err(InvalidMetadata::RepeatedKey(key.to_owned())) } else { Ok(()) }
    }
}

fn check_key(key: &str) -> Result<(), InvalidMetadata> {
    match key {
        "" => Err(InvalidMetadata::EmptyKey),
        _ if !key.bytes().all(|b| b.is_ascii_graphic() && b != b',') => Err(InvalidMetadata::Key(key.to_owned())),
        _ => Ok(()),
    }
}

/// Why metadata is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMetadata {
    /// The header contains bytes other than visible ASCII, spaces and tabs.
    #[error("it is not ASCII; keys must be ASCII and values base64")]
    NotAscii,
    /// A pair has no key.
    #[error("a key is empty; write pairs as `key base64(value)`, separated by one comma")]
    EmptyKey,
    /// A key is not visible ASCII, or contains a comma.
    #[error("the key {0:?} contains a comma or a character that is not visible ASCII")]
    Key(String),
    /// A key is repeated.
    #[error("the key {0:?} is repeated")]
    RepeatedKey(String),
    /// A value is not base64.
    #[error("the value of {0:?} is not padded base64 (RFC 4648, section 4)")]
    Value(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Metadata, InvalidMetadata> {
        Metadata::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn pairs_are_read_in_order() {
        let text = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential, empty ,b /w==";
        let metadata = parse(text).unwrap();
        let keys: Vec<_> = metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["filename", "is_confidential", "empty", "b"]);
        assert_eq!(metadata.text("filename"), Some("world_domination_plan.pdf"));
        assert_eq!(metadata.value("is_confidential"), Some(&Bytes::new()));
        assert_eq!(metadata.value("b").unwrap(), &[0xff][..]);
        assert_eq!(metadata.text("b"), None);
        assert_eq!(metadata.to_header().unwrap(), text.replace(", ", ",").replace(" ,", ","));
    }

    #[test]
    fn invalid_pairs_are_rejected() {
        for (text, error) in [
            ("", InvalidMetadata::EmptyKey),
            ("a,,b", InvalidMetadata::EmptyKey),
            ("a,", InvalidMetadata::EmptyKey),
            ("a YQ==,a Yg==", InvalidMetadata::RepeatedKey("a".into())),
            ("a YQ", InvalidMetadata::Value("a".into())),
            ("a Y Q==", InvalidMetadata::Value("a".into())),
            ("a  YQ==", InvalidMetadata::Value("a".into())),
            ("a _-8=", InvalidMetadata::Value("a".into())),
            ("a YR==", InvalidMetadata::Value("a".into())),
            ("a\tYQ==", InvalidMetadata::Key("a\tYQ==".into())),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        let bytes = HeaderValue::from_bytes(b"\xc3\xa4 YQ==").unwrap();
        assert_eq!(Metadata::parse(&bytes), Err(InvalidMetadata::NotAscii));
    }

    #[test]
    fn a_key_is_set_in_place_and_removed() {
        let mut metadata = parse("a YQ==,b Yg==").unwrap();
        metadata.set("a", "x").unwrap();
        metadata.set("c", "").unwrap();
        assert_eq!(metadata.to_header().unwrap(), "a eA==,b Yg==,c");
        assert_eq!(metadata.remove("b").unwrap(), "b");
        assert_eq!(metadata.remove("b"), None);
        assert!(metadata.set("a,b", "").is_err());
    }

    #[test]
    fn the_applications_pairs_become_a_valid_header() {
        let own = Metadata::from_pairs([("filename", "Größe.txt"), ("flag", "")]).unwrap();
        assert_eq!(own.to_header().unwrap(), "filename R3LDtsOfZS50eHQ=,flag");
        assert_eq!(Metadata::parse(&own.to_header().unwrap()).unwrap(), own);
        assert!(Metadata::from_pairs::<&str, &str>([]).unwrap().to_header().is_none());
        assert!(Metadata::from_pairs([("a b", "")]).is_err());
        assert!(Metadata::from_pairs([("a,b", "")]).is_err());
        assert!(Metadata::from_pairs([("a\r\nx", "")]).is_err());
    }
}
