//! Bytes and times in documents (feature `serde`): base64, and milliseconds since the Unix epoch.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Incarnation, Metadata, UploadId};

pub(super) mod base64 {
    use ::base64::{Engine, prelude::BASE64_STANDARD};
    use bytes::Bytes;

    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

pub(super) mod milliseconds {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let since = Duration::from_millis(u64::deserialize(deserializer)?);
        SystemTime::UNIX_EPOCH.checked_add(since).ok_or_else(|| D::Error::custom("the time is out of range"))
    }
}

pub(super) mod optional_milliseconds {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Time(#[serde(with = "milliseconds")] SystemTime);

    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Time).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<Time>::deserialize(deserializer)?.map(|time| time.0))
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self::from_random).map_err(D::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Pair(String, #[serde(with = "base64")] bytes::Bytes);

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(key, value)| Pair(key.to_owned(), value.clone())))
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<Pair>::deserialize(deserializer)?;
        Self::from_pairs(pairs.into_iter().map(|Pair(key, value)| (key, value))).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Incarnation, Kind, Metadata, Part, Phase, Upload, UploadId, Verbatim};

    #[test]
    fn a_record_survives_its_document() {
        let id: UploadId = "a-b".parse().unwrap();
        let part = Part { id: id.clone(), incarnation: Incarnation::from_random(9) };
        let mut upload = Upload::new(id, Incarnation::from_random(7), Kind::Final(vec![part]));
        let plain = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&plain).unwrap(), upload);
        upload.dialect = Dialect::Draft(9);
        (upload.phase, upload.offset, upload.length) = (Phase::Notified, 5, Some(crate::MAX_LENGTH));
        upload.metadata = Metadata::from_pairs([("filename", &b"\xff\0"[..]), ("flag", b"")]).unwrap();
        (upload.owner, upload.private) = (Some("anna".into()), bytes::Bytes::from_static(b"\x01\xfe"));
        upload.verbatim = Verbatim::from_bytes(&b"a:\xe4\n"[..]);
        upload.expires = Some(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_001));
        let text = serde_json::to_string(&upload).unwrap();
        assert_eq!(serde_json::from_str::<Upload>(&text).unwrap(), upload);
        assert!(serde_json::from_str::<Upload>(&text.replace("a-b", "../b")).is_err());
        assert!(serde_json::from_str::<Upload>(&text.replace("\"flag\"", "\"filename\"")).is_err());
    }
}
