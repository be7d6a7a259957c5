//! Uploads as JSON, for webhooks and for the admin command.

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use tus_service::{Dialect, Kind, Metadata, NewUpload, Part, Phase, Upload};

/// An upload.
pub(crate) fn upload(upload: &Upload) -> Value {
    let mut view = json!({
        "id": upload.id.as_str(),
        "incarnation": upload.incarnation.to_string(),
        "protocol": protocol(upload.dialect),
        "kind": kind(&upload.kind),
        "phase": phase(upload.phase),
        "offset": upload.offset,
        "length": upload.length,
        "max_size": upload.max_size,
        "owner": upload.owner,
        "private": BASE64_STANDARD.encode(&upload.private),
        "created": time(upload.created),
        "expires": upload.expires.and_then(time),
    });
    add(&mut view, &upload.kind, &upload.metadata);
    view
}

/// An upload that a client asks for.
pub(crate) fn new_upload(upload: &NewUpload) -> Value {
    let mut view = json!({
        "id": upload.id.as_ref().map(|id| id.as_str()),
        "kind": kind(upload.kind()),
        "length": upload.length(),
        "max_size": upload.max_size,
    });
    add(&mut view, upload.kind(), &upload.metadata);
    view
}

/// A time as of RFC 3339, in UTC.
pub(crate) fn time(time: SystemTime) -> Option<String> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let time = DateTime::from_timestamp_millis(since.as_millis().try_into().ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The name of a phase.
pub(crate) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Receiving => "receiving",
        Phase::Assembling => "assembling",
        Phase::Complete => "complete",
        Phase::Notified => "finished",
        Phase::Invalid => "invalid",
        _ => "unknown",
    }
}

/// The name of a kind.
pub(crate) fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Single => "single",
        Kind::Partial => "partial",
        Kind::Final(_) => "final",
        _ => "unknown",
    }
}

fn protocol(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Tus => "tus",
        Dialect::Draft(_) => "draft",
        _ => "unknown",
    }
}

/// Adds what is not always there. Values that are not UTF-8 are in base64, under a name of their own.
fn add(view: &mut Value, kind: &Kind, metadata: &Metadata) {
    let (mut texts, mut others) = (Map::new(), Map::new());
    for (key, value) in metadata.iter() {
        match std::str::from_utf8(value) {
            Ok(text) => texts.insert(key.to_owned(), text.into()),
            Err(_) => others.insert(key.to_owned(), BASE64_STANDARD.encode(value).into()),
        };
    }
    view["metadata"] = texts.into();
    if !others.is_empty() {
        view["metadata_base64"] = others.into();
    }
    if let Kind::Final(parts) = kind {
        view["parts"] = parts.iter().map(|Part { id, .. }| id.as_str()).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tus_service::{Incarnation, UploadId};

    use super::*;

    #[test]
    fn an_upload_is_readable() {
        let mut shown = Upload::new(UploadId::from_random(1), Incarnation::from_random(2), Kind::Single);
        shown.metadata = Metadata::from_pairs([("filename", &b"a.txt"[..]), ("raw", &b"\xff"[..])]).unwrap();
        (shown.offset, shown.length) = (5, Some(7));
        shown.created = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        // No calendar reaches so far.
        shown.expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 60));
        let view = upload(&shown);
        assert_eq!(view["metadata"], json!({"filename": "a.txt"}));
        assert_eq!(view["metadata_base64"], json!({"raw": "/w=="}));
        assert_eq!((&view["offset"], &view["phase"]), (&json!(5), &json!("receiving")));
        assert_eq!((&view["created"], &view["expires"]), (&json!("1970-01-01T00:00:01.500Z"), &Value::Null));
    }
}
