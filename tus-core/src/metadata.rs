//! `Upload-Metadata`: pairs that the client tells of its upload. They are data, and nothing here
//! turns them into a path, a header of another name, or markup.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderValue;

/// What the client tells of an upload: ordered pairs of a key and bytes (tus 1.0.0, "Upload-Metadata").
///
/// It keeps the header's value as it was sent, and [`Metadata::header`] gives back exactly that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    header: Option<HeaderValue>,
    pairs: Vec<(String, Bytes)>,
}

impl Metadata {
    /// Reads the value of an `Upload-Metadata` header.
    ///
    /// # Errors
    ///
    /// When a pair is empty, a key is empty, repeated or not visible ASCII, or a value is not
    /// base64 of the standard alphabet with its padding (RFC 4648, section 4).
    pub fn parse(header: &HeaderValue) -> Result<Self, InvalidMetadata> {
        let text = header.to_str().map_err(|_| InvalidMetadata::NotAscii)?;
        let mut pairs: Vec<(String, Bytes)> = Vec::new();
        for pair in text.split(',').map(|pair| pair.trim_matches([' ', '\t'])) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            check_key(key, &pairs)?;
            let value = BASE64_STANDARD.decode(value).map_err(|_| InvalidMetadata::Value(key.to_owned()))?;
            pairs.push((key.to_owned(), value.into()));
        }
        Ok(Self { header: Some(header.clone()), pairs })
    }

    /// Metadata of the application's own making.
    ///
    /// # Errors
    ///
    /// When a key is empty, repeated, or not visible ASCII without a comma.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, InvalidMetadata>
    where
        K: Into<String>,
        V: Into<Bytes>,
    {
        let mut checked: Vec<(String, Bytes)> = Vec::new();
        for (key, value) in pairs {
            let key = key.into();
            check_key(&key, &checked)?;
            checked.push((key, value.into()));
        }
        let fields: Vec<String> = checked
            .iter()
            .map(|(key, value)| match value.is_empty() {
                true => key.clone(),
                false => format!("{key} {}", BASE64_STANDARD.encode(value)),
            })
            .collect();
        let header = (!fields.is_empty()).then(|| crate::header::value(fields.join(",")));
        Ok(Self { header, pairs: checked })
    }

    /// The value of the header `Upload-Metadata`, as it was sent; `None` where there is no metadata.
    pub fn header(&self) -> Option<&HeaderValue> {
        self.header.as_ref()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Bytes> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The value of a key where it is UTF-8 text, as the key `filename` mostly is.
    ///
    /// It is the client's word: no path, no name for a file, and no markup.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The pairs in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

fn check_key(key: &str, seen: &[(String, Bytes)]) -> Result<(), InvalidMetadata> {
    match key {
        "" => Err(InvalidMetadata::EmptyKey),
        _ if !key.bytes().all(|b| b.is_ascii_graphic() && b != b',') => Err(InvalidMetadata::Key(key.to_owned())),
        _ if seen.iter().any(|(k, _)| k == key) => Err(InvalidMetadata::RepeatedKey(key.to_owned())),
        _ => Ok(()),
    }
}

/// What is wrong with a value of `Upload-Metadata`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// The header holds other bytes than visible ASCII, spaces and tabs.
    #[error("it is not ASCII; keys are ASCII and values are base64")]
    NotAscii,
    /// A pair has no key.
    #[error("a key is empty; pairs are written `key base64(value)` and separated by one comma")]
    EmptyKey,
    /// A key is not visible ASCII without a comma.
    #[error("the key {0:?} has a character that is not visible ASCII, or a comma")]
    Key(String),
    /// A key is there twice.
    #[error("the key {0:?} is there more than once")]
    RepeatedKey(String),
    /// A value is not base64.
    #[error("the value of {0:?} is not base64 with its padding (RFC 4648, section 4)")]
    Value(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Metadata, InvalidMetadata> {
        Metadata::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn reads_pairs_in_order_and_echoes_the_header() {
        let text = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential, empty ,b /w==";
        let metadata = parse(text).unwrap();
        let keys: Vec<_> = metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["filename", "is_confidential", "empty", "b"]);
        assert_eq!(metadata.text("filename"), Some("world_domination_plan.pdf"));
        assert_eq!(metadata.value("is_confidential"), Some(&Bytes::new()));
        assert_eq!(metadata.value("b").unwrap(), &[0xff][..]);
        assert_eq!(metadata.text("b"), None);
        assert_eq!(metadata.header().unwrap(), text);
    }

    #[test]
    fn refuses_what_is_not_pairs_of_key_and_base64() {
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
    fn own_pairs_become_a_header_that_reads_back() {
        let own = Metadata::from_pairs([("filename", "Größe.txt"), ("flag", "")]).unwrap();
        assert_eq!(own.header().unwrap(), "filename R3LDtsOfZS50eHQ=,flag");
        assert_eq!(Metadata::parse(own.header().unwrap()).unwrap(), own);
        assert!(Metadata::from_pairs::<&str, &str>([]).unwrap().header().is_none());
        assert!(Metadata::from_pairs([("a b", "")]).is_err());
        assert!(Metadata::from_pairs([("a,b", "")]).is_err());
        assert!(Metadata::from_pairs([("a\r\nx", "")]).is_err());
    }
}
