//! `Upload-Concat`: whether an upload is a part, or made of parts.

use http::{HeaderValue, request::Parts};

use crate::{
    Final, Kind, Refusal,
    header::{UPLOAD_CONCAT, single},
    location::Endpoint,
};

/// The most partial uploads that a final one may name: its record is to stay small.
const MAX_PARTIALS: usize = 1024;

/// Reads `Upload-Concat` of a creation request (tus 1.0.0, "Upload-Concat").
pub(crate) fn kind(head: &Parts, endpoint: &Endpoint) -> Result<Kind, Refusal> {
    let Some(value) = single(&head.headers, &UPLOAD_CONCAT)? else {
        return Ok(Kind::Single);
    };
    let invalid = || Refusal::invalid(&UPLOAD_CONCAT, value, "`partial`, or `final;` and URLs of partial uploads here");
    let text = value.to_str().map_err(|_| invalid())?;
    if text == "partial" {
        return Ok(Kind::Partial);
    }
    let urls = text.strip_prefix("final;").ok_or_else(invalid)?.trim_matches(' ');
    if urls.split(' ').count() > MAX_PARTIALS {
        return Err(Refusal::Contradiction("a final upload is made of at most 1024 partial uploads"));
    }
    let partials: Option<Vec<_>> = urls.split(' ').map(|url| endpoint.resolve(url, &head.uri)).collect();
    Ok(Kind::Final(Final { header: value.clone(), partials: partials.ok_or_else(invalid)? }))
}

/// The value of `Upload-Concat` as it was received.
pub(crate) fn header(kind: &Kind) -> Option<HeaderValue> {
    match kind {
        Kind::Single => None,
        Kind::Partial => Some(HeaderValue::from_static("partial")),
        Kind::Final(parts) => Some(parts.header.clone()),
    }
}
