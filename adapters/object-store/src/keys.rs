//! The names of all objects. Objects of an upload have its incarnation in their names, so that a late deletion by a
//! suspended process never affects a later upload with the same id.

use std::time::SystemTime;

use object_store::path::Path;
use tus_service::{Failure, Incarnation, StorageError, Upload, UploadId};

/// All of this crate's own objects.
const OWN: &str = ".tus";
/// The state documents.
pub(crate) const DOCUMENTS: &str = ".tus/u";
/// Uploads with work due.
pub(crate) const TODO: &str = ".tus/todo";
/// The index of expiry, ordered by time.
pub(crate) const EXPIRY: &str = ".tus/x";

pub(crate) fn document(id: &UploadId) -> String {
    format!("{DOCUMENTS}/{id}")
}

/// The default name of an upload's object, and the name if an upload with this id was removed recently.
pub(crate) fn object(id: &UploadId) -> String {
    format!("files/{id}")
}

/// The name that the application has chosen, without slashes at its ends.
pub(crate) fn chosen(name: &str) -> Result<String, StorageError> {
    let refused = |reason: &str| {
        let reason = format!("the application chose a name that no object can have, {name:?}: {reason}");
        StorageError::new(Failure::Internal, reason)
    };
    let path = Path::parse(name).map_err(|error| refused(&error.to_string()))?;
    match path.parts().next() {
        None => Err(refused("it is empty")),
        Some(first) if first.as_ref() == OWN => Err(refused("it is reserved")),
        Some(_) => Ok(path.into()),
    }
}

pub(crate) fn pieces(upload: &Upload) -> String {
    format!(".tus/w/{}", marked(&upload.id, upload.incarnation))
}

pub(crate) fn piece(upload: &Upload, nonce: &str) -> String {
    format!("{}/{nonce}", pieces(upload))
}

pub(crate) fn todo(upload: &Upload) -> String {
    format!("{TODO}/{}", marked(&upload.id, upload.incarnation))
}

pub(crate) fn expiry(expires: SystemTime, upload: &Upload) -> String {
    format!("{EXPIRY}/{}/{}", at(milliseconds(expires)), marked(&upload.id, upload.incarnation))
}

/// A time in the index of expiry.
pub(crate) fn at(milliseconds: u64) -> String {
    format!("{milliseconds:015}")
}

/// The final uploads that wait for a part.
pub(crate) fn waiting(part: &UploadId) -> String {
    format!(".tus/f/{part}")
}

pub(crate) fn waits(part: &UploadId, upload: &Upload) -> String {
    format!("{}/{}", waiting(part), marked(&upload.id, upload.incarnation))
}

pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn marked(id: &UploadId, incarnation: Incarnation) -> String {
    format!("{id}.{incarnation}")
}

/// The upload in the last segment of a name.
pub(crate) fn of(key: &str) -> Option<(UploadId, Option<Incarnation>)> {
    let last = key.rsplit('/').next()?;
    match last.split_once('.') {
        None => Some((last.parse().ok()?, None)),
        Some((id, bits)) => {
            let bits = u128::from_str_radix(bits, 16).ok()?;
            Some((id.parse().ok()?, Some(Incarnation::from_random(bits))))
        }
    }
}

/// The time in a name of the index of expiry, in milliseconds since the epoch.
pub(crate) fn expires_at(key: &str) -> Option<u64> {
    key.rsplit('/').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tus_service::Kind;

    use super::*;

    #[test]
    fn names_can_be_parsed() {
        let upload = Upload::new("a-b".parse().unwrap(), Incarnation::from_random(7), Kind::Single);
        for key in [todo(&upload), expiry(SystemTime::UNIX_EPOCH, &upload), waits(&upload.id, &upload)] {
            assert_eq!(of(&key), Some((upload.id.clone(), Some(upload.incarnation))), "{key}");
        }
        assert_eq!(of(&document(&upload.id)), Some((upload.id.clone(), None)));
        assert_eq!(of(".tus/todo/a/b c"), None);
        let at = |seconds| expiry(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), &upload);
        assert_eq!(expires_at(&at(12)), Some(12_000));
        assert!(at(9) < at(10) && at(1_700_000_000) < at(17_000_000_000), "their order is that of the times");
    }
}
