//! Rejections as problem details (RFC 9457): the draft's own types where they exist, otherwise the status and a text.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{Problem, completeness, interop::Rules, limits};
use crate::{
    Failure,
    header::{ACCEPT_PATCH, PARTIAL_UPLOAD, PROBLEM, UPLOAD_LIMIT, UPLOAD_OFFSET, value},
    server::{
        Refusal, Rejection,
        dialect::{storage_failed, too_large},
        exchange::Exchange,
    },
};

/// A problem type of the draft: the end of its URI, and its title.
struct Type(&'static str, &'static str);

const MISMATCHING_OFFSET: Type =
    Type("mismatching-upload-offset", "offset from request does not match offset of resource");
const INCONSISTENT_LENGTH: Type = Type("inconsistent-upload-length", "inconsistent length values for upload");
/// Of drafts 04 to 11.
const COMPLETED: Type = Type("completed-upload", "upload is already completed");

pub(super) fn refused(exchange: &Exchange, rules: &Rules, refusal: Refusal, response: &mut Response<Bytes>) {
    let status = status(rules, &refusal);
    let offset = match &refusal {
        // "The response MUST include the correct offset in the Upload-Offset header field."
        Refusal::OffsetMismatch { actual, .. } => Some(*actual),
        _ => exchange.at,
    };
    match refusal {
        Refusal::Rejected(rejection) => rejected(rejection, false, response),
        refusal => {
            *response.status_mut() = status;
            let body = details(rules, status, &refusal);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
            // The text may repeat what the client sent.
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            if may_pass(&refusal) {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            match refusal {
                Refusal::Problem(Problem::NotAllowed { allow, .. }) => {
                    headers.insert(header::ALLOW, value(allow));
                }
                Refusal::Problem(Problem::MediaType) => {
                    headers.insert(ACCEPT_PATCH.clone(), HeaderValue::from_static(PARTIAL_UPLOAD));
                }
                // "When a request is rejected because limits were violated, the response SHOULD include the Upload-Limit
                // header field carrying all limits of the corresponding upload if possible."
                Refusal::TooLarge { limit } => {
                    headers.insert(UPLOAD_LIMIT.clone(), limits::refusing(exchange, rules, Some(limit)));
                }
                Refusal::BodyTooLarge { .. } | Refusal::BodyTooSmall { .. } => {
                    headers.insert(UPLOAD_LIMIT.clone(), limits::refusing(exchange, rules, exchange.config.max_size));
                }
                Refusal::RangeNotSatisfiable { length } => {
                    headers.insert(header::CONTENT_RANGE, value(format!("bytes */{length}")));
                }
                _ => {}
            }
            *response.body_mut() = body.into();
        }
    }
    let headers = response.headers_mut();
    // Caches may store a 404 or a 410 by default (RFC 9111, 4.2.2), but the next request must see the current state.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(offset) = offset {
        headers.insert(UPLOAD_OFFSET.clone(), offset.into());
    }
    completeness::write(rules, false, headers);
}

/// The application's own response.
pub(super) fn rejected(rejection: Rejection, is_final: bool, response: &mut Response<Bytes>) {
    *response = rejection.into();
    let status = response.status_mut();
    // "The server SHOULD NOT generate a response with the 301 (Moved Permanently), 302 (Found), or 303 (See Other) status
    // codes and the Upload-Complete: ?0 header field because clients might follow the redirect without preserving the
    // original method."
    *status = match *status {
        StatusCode::MOVED_PERMANENTLY if !is_final => StatusCode::PERMANENT_REDIRECT,
        StatusCode::FOUND | StatusCode::SEE_OTHER if !is_final => StatusCode::TEMPORARY_REDIRECT,
        other => other,
    };
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// The draft's clients retry after 409, 413, 429 and 5xx, and after nothing else (draft 12, "Retry").
fn status(rules: &Rules, refusal: &Refusal) -> StatusCode {
    match refusal {
        // "If the server does not consider the upload resource to be active, it MUST respond with a 404 (Not Found)
        // status code." (drafts 01 to 05)
        Refusal::Expired | Refusal::Invalid if !rules.knows_gone => StatusCode::NOT_FOUND,
        // "If the upload is already complete, the server MUST NOT modify the upload resource and MUST respond with a 400
        // (Bad Request) status code." (drafts 04 and 05)
        Refusal::NotKept if !rules.knows_gone => StatusCode::BAD_REQUEST,
        Refusal::Problem(problem) => match problem {
            Problem::NotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Problem::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Problem::HeadTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Problem::NotSaid(_)
            | Problem::NoOffset
            | Problem::HasState
            | Problem::ContentLength
            | Problem::Lengths { .. }
            | Problem::Digest(_)
            | Problem::Repeated(_)
            | Problem::Metadata(_)
            | Problem::MetadataTooLarge { .. } => StatusCode::BAD_REQUEST,
        },
        Refusal::Fault(_)
        | Refusal::LengthMismatch { .. }
        | Refusal::LengthTooSmall { .. }
        | Refusal::BeyondLength { .. }
        | Refusal::BodyTooSmall { .. }
        | Refusal::AlreadyComplete
        | Refusal::NotPart(_)
        | Refusal::ChecksumMismatch
        | Refusal::ReprDigestMismatch => StatusCode::BAD_REQUEST,
        Refusal::OtherDialect | Refusal::FinalTakesNoBytes => StatusCode::FORBIDDEN,
        Refusal::NotFound | Refusal::PartNotFound(_) | Refusal::NotFinished => StatusCode::NOT_FOUND,
        Refusal::OffsetMismatch { .. }
        | Refusal::PartIncomplete(_)
        // Without an offset: "the client SHOULD retrieve the offset before resuming."
        | Refusal::Superseded
        | Refusal::Storage(Failure::Conflict | Failure::Exists) => StatusCode::CONFLICT,
        Refusal::Expired | Refusal::Invalid | Refusal::NotKept | Refusal::Storage(Failure::Gone) => StatusCode::GONE,
        Refusal::TooLarge { .. } | Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Refusal::AnotherFile => StatusCode::PRECONDITION_FAILED,
        Refusal::BrokenOff { .. }
        | Refusal::TimedOut { .. }
        | Refusal::ShuttingDown
        | Refusal::Storage(Failure::Busy | Failure::Overloaded | Failure::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Storage(Failure::NotFound) => StatusCode::NOT_FOUND,
        Refusal::Storage(Failure::Full) => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::Storage(Failure::Internal) | Refusal::Unanswered => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Rejected(rejection) => rejection.status(),
    }
}

/// Whether the same request, or one from the current offset, may succeed in a second.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::ShuttingDown | Refusal::Storage(Failure::Busy | Failure::Overloaded | Failure::Unavailable)
    )
}

/// The body (RFC 9457, section 3).
fn details(rules: &Rules, status: StatusCode, refusal: &Refusal) -> String {
    let named = match refusal {
        Refusal::OffsetMismatch { .. } => Some(MISMATCHING_OFFSET),
        Refusal::AlreadyComplete | Refusal::NotKept if rules.knows_completed => Some(COMPLETED),
        // "MUST be treated as an inconsistent length failure" (drafts 10 and 11).
        Refusal::AlreadyComplete
        | Refusal::Problem(Problem::Lengths { .. })
        | Refusal::LengthMismatch { .. }
        | Refusal::LengthTooSmall { .. }
        | Refusal::BeyondLength { .. } => Some(INCONSISTENT_LENGTH),
        _ => None,
    };
    let mut json = String::from("{");
    if let Some(Type(name, _)) = named {
        let _ = write!(json, "\"type\":\"https://iana.org/assignments/http-problem-types#{name}\",");
    }
    let title = named.map_or(status.canonical_reason().unwrap_or("refused"), |Type(_, title)| title);
    let _ = write!(json, "\"title\":{},\"status\":{},", quoted(title), status.as_u16());
    if let Refusal::OffsetMismatch { sent, actual } = refusal {
        let _ = write!(json, "\"expected-offset\":{actual},\"provided-offset\":{sent},");
    }
    let _ = write!(json, "\"detail\":{}}}", quoted(&text(refusal)));
    json
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The text for the client.
fn text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Problem(problem) => problem.to_string(),
        Refusal::Fault(fault) => fault.to_string(),
        Refusal::Storage(failure) => storage_failed(*failure).into(),
        Refusal::OtherDialect => "the upload was created with the protocol tus 1.0.0; use that protocol for it".into(),
        Refusal::NotFound => "there is no such upload".into(),
        Refusal::Expired => "the upload has expired; start a new one".into(),
        Refusal::Invalid => "the upload can never be completed; start a new one".into(),
        Refusal::NotFinished => "the upload is not finished yet; try again later".into(),
        Refusal::AnotherFile => "the file is none of those that if-match names".into(),
        Refusal::RangeNotSatisfiable { length } => {
            format!("the range is not within the {length} bytes of the upload")
        }
        Refusal::OffsetMismatch { sent, actual } => {
            format!("upload-offset is {sent}, but the upload's offset is {actual}")
        }
        Refusal::LengthMismatch { sent } => {
            format!("with this request the upload would have {sent} bytes, which differs from the declared length")
        }
        Refusal::LengthTooSmall { sent } => {
            format!("the upload would have {sent} bytes, but more are already stored")
        }
        Refusal::BeyondLength { length } => format!("the upload would exceed its length of {length} bytes"),
        Refusal::TooLarge { limit } => too_large(*limit),
        Refusal::BodyTooLarge { limit } => {
            format!("the content of one request may have at most {limit} bytes; send the upload in several")
        }
        Refusal::BodyTooSmall { limit } => {
            format!("the content of a request that does not complete its upload must have at least {limit} bytes")
        }
        Refusal::AlreadyComplete => "the upload is complete; nothing can be added".into(),
        Refusal::ChecksumMismatch => "the content does not match content-digest and was discarded".into(),
        Refusal::ReprDigestMismatch => "the upload does not match repr-digest; start a new one".into(),
        Refusal::TimedOut { offset } => {
            format!("no data was received for too long; the upload's offset is {offset}")
        }
        Refusal::BrokenOff { offset } => format!("the content was interrupted; the upload's offset is {offset}"),
        Refusal::Superseded => "another request continues this upload".into(),
        Refusal::ShuttingDown => "the server is shutting down; resume in a moment".into(),
        Refusal::Rejected(_) => "the application rejected the request".into(),
        Refusal::Unanswered => "the application did not respond to the upload; try again".into(),
        Refusal::NotKept => "the upload is complete, but the response to it was too large to store".into(),
        // These exist only in tus.
        Refusal::FinalTakesNoBytes => "a final upload consists of its parts and accepts no bytes".into(),
        Refusal::PartNotFound(id) | Refusal::NotPart(id) | Refusal::PartIncomplete(id) => {
            format!("{id} is not a complete partial upload")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_json_string() {
        for text in ["plain", "say \"hi\"", "a\\b", "\0\r\n\t\u{7f}\u{85}", "größer 💾", "</script>"] {
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        }
    }
}
