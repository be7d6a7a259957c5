//! The client's metadata: pairs of a key and bytes. They are data; nothing here turns them into a path, another
//! header, or markup.

use std::{
    collections::HashSet,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderValue;

/// The client's metadata of an upload: ordered pairs of a key and bytes.
///
/// Keys are visible ASCII without a comma, and unique (tus 1.0.0, "Upload-Metadata").
///
/// It is stored as the text of the header. Pairs are decoded when they are needed, so clones and requests that only
/// repeat the text are cheap, whatever the client sent.
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
#[derive(Clone, Default)]
pub struct Metadata {
    /// Pairs of `key base64(value)`, separated by a comma and nothing else; `None` if there is none.
    text: Option<Arc<str>>,
    pairs: OnceLock<Arc<[Pair]>>,
}

/// A key, by its place in the text, and its value.
#[derive(Debug)]
struct Pair {
    key: Range<usize>,
    value: Bytes,
}

impl Metadata {
    /// Parses the value of an `Upload-Metadata` header (tus 1.0.0, "Upload-Metadata").
    ///
    /// # Errors
    ///
    /// If a pair or a key is empty, a key is repeated or not visible ASCII, or a value is not padded base64 in the
    /// standard alphabet (RFC 4648, section 4).
    pub fn parse(header: &HeaderValue) -> Result<Self, InvalidMetadata> {
        let text = header.to_str().map_err(|_| InvalidMetadata::NotAscii)?;
        let (mut written, mut seen, mut value) = (String::with_capacity(text.len()), HashSet::new(), Vec::new());
        for pair in text.split(',').map(|pair| pair.trim_matches([' ', '\t'])) {
            let (key, encoded) = pair.split_once(' ').unwrap_or((pair, ""));
            check_new(&mut seen, key)?;
            value.clear();
            let decoded = BASE64_STANDARD.decode_vec(encoded, &mut value);
            decoded.map_err(|_| InvalidMetadata::Value(key.to_owned()))?;
            push(&mut written, key, encoded);
        }
        Ok(Self::of_text(written))
    }

    /// What a storage has kept of it ([`Metadata::as_str`]). Pairs are not looked at: where somebody has changed the text,
    /// what is no pair any longer is left out when somebody asks for them.
    ///
    /// # Errors
    ///
    /// When there is something else than visible ASCII and spaces.
    pub fn from_stored(text: &[u8]) -> Result<Self, InvalidMetadata> {
        let text = std::str::from_utf8(text).map_err(|_| InvalidMetadata::NotAscii)?;
        // Without an end before the last byte, several are compared at once.
        let is_ascii = text.bytes().fold(true, |is, byte| is & (byte == b' ' || byte.is_ascii_graphic()));
        if is_ascii { Ok(Self::of_text(text)) } else { Err(InvalidMetadata::NotAscii) }
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
        let (mut written, mut seen) = (String::new(), HashSet::new());
        for (key, value) in pairs {
            let key = key.into();
            push(&mut written, &key, &BASE64_STANDARD.encode(value.into()));
            check_new(&mut seen, key)?;
        }
        Ok(Self::of_text(written))
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
        let (mut written, mut is_set) = (String::new(), false);
        for (known, old) in self.iter() {
            let is_it = known == key;
            is_set |= is_it;
            push(&mut written, known, &BASE64_STANDARD.encode(if is_it { &value } else { old }));
        }
        if !is_set {
            push(&mut written, &key, &BASE64_STANDARD.encode(&value));
        }
        *self = Self::of_text(written);
        Ok(())
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Bytes> {
        let removed = self.value(key)?.clone();
        let mut written = String::new();
        for (known, value) in self.iter().filter(|(known, _)| *known != key) {
            push(&mut written, known, &BASE64_STANDARD.encode(value));
        }
        *self = Self::of_text(written);
        Some(removed)
    }

    /// The value of the header `Upload-Metadata`; `None` if there is no metadata.
    pub fn to_header(&self) -> Option<HeaderValue> {
        self.text.as_deref().map(|text| crate::header::value(text.to_owned()))
    }

    /// The same as text, for a storage to keep; empty where there is no metadata.
    pub fn as_str(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
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
        let text = self.as_str();
        self.pairs().iter().map(|Pair { key, value }| (&text[key.clone()], value))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.text.is_none()
    }

    fn of_text(text: impl Into<Arc<str>> + AsRef<str>) -> Self {
        let text = (!text.as_ref().is_empty()).then(|| text.into());
        Self { text, pairs: OnceLock::new() }
    }

    /// All values are in one buffer.
    fn pairs(&self) -> &[Pair] {
        self.pairs.get_or_init(|| {
            let (mut at, mut values, mut places) = (0, Vec::new(), Vec::new());
            for pair in self.as_str().split(',') {
                let (key, encoded) = pair.split_once(' ').unwrap_or((pair, ""));
                let from = values.len();
                match BASE64_STANDARD.decode_vec(encoded, &mut values) {
                    Ok(()) if check_key(key).is_ok() => places.push((at..at + key.len(), from..values.len())),
                    _ => values.truncate(from),
                }
                at += pair.len() + 1;
            }
            let values = Bytes::from(values);
            places.into_iter().map(|(key, place)| Pair { key, value: values.slice(place) }).collect()
        })
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Metadata {}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metadata").field(&self.as_str()).finish()
    }
}

/// Adds a pair to the text of a header.
fn push(text: &mut String, key: &str, encoded: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(key);
    if !encoded.is_empty() {
        text.push(' ');
        text.push_str(encoded);
    }
}

/// Checks a key that is to be different from all those before it.
fn check_new<K: AsRef<str> + Eq + std::hash::Hash>(seen: &mut HashSet<K>, key: K) -> Result<(), InvalidMetadata> {
    check_key(key.as_ref())?;
    match seen.get(&key) {
        Some(known) => Err(InvalidMetadata::RepeatedKey(known.as_ref().to_owned())),
        None => {
            seen.insert(key);
            Ok(())
        }
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
    fn what_a_storage_kept_comes_back() {
        let metadata = parse("a YQ==,b,c Yg==").unwrap();
        let back = Metadata::from_stored(metadata.as_str().as_bytes()).unwrap();
        assert_eq!((&back, back.text("c"), back.to_header()), (&metadata, Some("b"), metadata.to_header()));
        assert!(Metadata::from_stored(b"").unwrap().is_empty());
        for damaged in ["a\n YQ==", "\0", "ä"] {
            assert_eq!(Metadata::from_stored(damaged.as_bytes()), Err(InvalidMetadata::NotAscii));
        }
        let changed = Metadata::from_stored(b"a YQ==,b !,c Yg==").unwrap();
        assert_eq!(changed.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "c"]);
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
