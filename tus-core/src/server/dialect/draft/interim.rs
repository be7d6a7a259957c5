//! `104 Upload Resumption Supported` (draft 12, "Status Code 104").

use http::{Response, StatusCode, header};

use super::{limits, spoken::Spoken};
use crate::{
    Upload,
    header::{UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_LIMIT, UPLOAD_OFFSET},
    server::exchange::Exchange,
};

/// "When sent, it MUST include Location header field pointing to the upload resource and MUST include the Upload-Limit
/// header field with the corresponding limits if existing."
pub(in crate::server::dialect) fn interim_creation(
    exchange: &Exchange,
    spoken: Spoken,
    upload: &Upload,
) -> Option<Response<()>> {
    let mut response = interim(spoken)?;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, exchange.endpoint.url(&upload.id));
    headers.insert(UPLOAD_LIMIT.clone(), limits::of(upload, &exchange.config, spoken.rules, exchange.now));
    Some(response)
}

/// "the server SHOULD send interim responses with [...] the Upload-Offset header field set to the current offset [...]
/// These interim responses MUST NOT include the Location header field."
pub(in crate::server::dialect) fn interim_offset(spoken: Spoken, offset: u64) -> Option<Response<()>> {
    let mut response = interim(spoken).filter(|_| spoken.rules.reports_progress)?;
    response.headers_mut().insert(UPLOAD_OFFSET.clone(), offset.into());
    Some(response)
}

/// "Server implementations of draft versions of the protocol MUST NOT send a 104 interim response when the interop version
/// [...] in the request is missing or mismatching", and "MUST also send a header field Upload-Draft-Interop-Version with
/// the interop version as its value".
fn interim(spoken: Spoken) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(104).ok().filter(|_| spoken.is_named)?;
    response.headers_mut().insert(UPLOAD_DRAFT_INTEROP_VERSION.clone(), u16::from(spoken.rules.version).into());
    Some(response)
}
