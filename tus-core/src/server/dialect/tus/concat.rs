//! `Upload-Concat`: whether an upload is partial or final.

use http::{HeaderValue, request::Parts};

use super::Fault;
use crate::{
    Kind, Upload, UploadId,
    header::{UPLOAD_CONCAT, single, value},
    server::{Config, location::Endpoint},
};

/// Allowed bytes of `Upload-Concat` for each part of a final upload. This limits what a request can store.
const BYTES_PER_PART: usize = 256;

/// The meaning of `Upload-Concat` in a creation request (tus 1.0.0, "Upload-Concat").
pub(super) enum Concat<'a> {
    Single,
    Partial,
    /// A final upload of these parts, and the value, which must be repeated as it was sent.
    Final(Vec<UploadId>, &'a HeaderValue),
}

pub(super) fn parse<'a>(config: &Config, head: &'a Parts, endpoint: &Endpoint) -> Result<Concat<'a>, Fault> {
    let Some(value) = single(&head.headers, &UPLOAD_CONCAT)? else {
        return Ok(Concat::Single);
    };
    let invalid = || Fault::invalid(&UPLOAD_CONCAT, value, "`partial`, or `final;` and URLs of partial uploads here");
    let text = value.to_str().map_err(|_| invalid())?;
    if text == "partial" {
        return Ok(Concat::Partial);
    }
    let urls = text.strip_prefix("final;").ok_or_else(invalid)?.trim_matches(' ');
    if urls.split(' ').count() > config.max_parts {
        return Err(Fault::TooManyParts(config.max_parts));
    }
    let limit = config.max_parts.saturating_mul(BYTES_PER_PART);
    if value.len() > limit {
        return Err(Fault::ConcatTooLarge { actual: value.len(), limit });
    }
    let parts: Option<Vec<_>> = urls.split(' ').map(|url| endpoint.resolve(url, &head.uri)).collect();
    Ok(Concat::Final(parts.ok_or_else(invalid)?, value))
}

/// The value of `Upload-Concat` "as received in the upload creation request".
pub(super) fn header(upload: &Upload, endpoint: &Endpoint) -> Option<HeaderValue> {
    match &upload.kind {
        Kind::Single => None,
        Kind::Partial => Some(HeaderValue::from_static("partial")),
        Kind::Final(parts) => Some(upload.verbatim.get(&UPLOAD_CONCAT).unwrap_or_else(|| {
            let urls: Vec<_> = parts.iter().map(|part| endpoint.url(&part.id)).collect();
            let urls: Vec<_> = urls.iter().filter_map(|url| url.to_str().ok()).collect();
            value(format!("final;{}", urls.join(" ")))
        })),
    }
}
