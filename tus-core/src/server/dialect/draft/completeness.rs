//! `Upload-Complete`, or its reverse in the version that uses it.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::interop::Rules;
use crate::{
    field,
    header::{UPLOAD_COMPLETE, UPLOAD_INCOMPLETE},
};

/// Whether the client declares that the content completes its upload; `None` if it declares nothing.
pub(super) fn read(rules: &Rules, headers: &HeaderMap) -> Option<bool> {
    field::boolean(headers, name(rules)).map(|declared| declared != rules.says_incomplete)
}

/// Whether there is a declaration, valid or not.
pub(super) fn is_present(rules: &Rules, headers: &HeaderMap) -> bool {
    headers.contains_key(name(rules))
}

/// States in a response whether the upload is complete.
pub(super) fn write(rules: &Rules, is_complete: bool, headers: &mut HeaderMap) {
    let value = if is_complete != rules.says_incomplete { "?1" } else { "?0" };
    headers.insert(name(rules).clone(), HeaderValue::from_static(value));
}

fn name(rules: &Rules) -> &'static HeaderName {
    if rules.says_incomplete { &UPLOAD_INCOMPLETE } else { &UPLOAD_COMPLETE }
}
