//! The content of a request: its media type and its length.

use http::{HeaderMap, header};

use super::problem::Problem;
use crate::header::{PARTIAL_UPLOAD, single};

/// Whether the content is a part of a representation, ignoring parameters of the media type.
pub(super) fn is_partial_upload(headers: &HeaderMap) -> bool {
    let value = single(headers, &header::CONTENT_TYPE).ok().flatten().and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(PARTIAL_UPLOAD)
}

/// The length of the content: digits only (RFC 9110, section 8.6).
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let value = single(headers, &header::CONTENT_LENGTH).map_err(|repeated| Problem::Repeated(repeated.0))?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    value.map(|value| value.to_str().ok().and_then(digits).ok_or(Problem::ContentLength)).transpose()
}
