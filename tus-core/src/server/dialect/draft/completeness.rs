//! `Upload-Complete`, or its reverse in the version that uses it.

use http::{HeaderMap, HeaderValue};

use super::interop::Rules;
use crate::{
    field,
    header::{UPLOAD_COMPLETE, UPLOAD_INCOMPLETE},
};

/// Whether the client declares that the content completes its upload; `None` if it declares nothing.
pub(super) fn read(rules: &Rules, headers: &HeaderMap) -> Option<bool> {
    match rules.says_incomplete {
        true => field::boolean(headers, &UPLOAD_INCOMPLETE).map(|incomplete| !incomplete),
        false => field::boolean(headers, &UPLOAD_COMPLETE),
    }
}

/// States in a response whether the upload is complete.
pub(super) fn write(rules: &Rules, is_complete: bool, headers: &mut HeaderMap) {
    let (name, value) = match rules.says_incomplete {
        true => (&UPLOAD_INCOMPLETE, !is_complete),
        false => (&UPLOAD_COMPLETE, is_complete),
    };
    headers.insert(name.clone(), HeaderValue::from_static(if value { "?1" } else { "?0" }));
}
