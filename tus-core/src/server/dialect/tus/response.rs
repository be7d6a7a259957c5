//! Writes the outcome of a tus 1.0.0 request as a response.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{Fault, TusExtension, concat, extension};
use crate::{
    Failure, Kind, TUS_VERSION as VERSION, Upload,
    header::{
        TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION, UPLOAD_CONCAT,
        UPLOAD_DEFER_LENGTH, UPLOAD_EXPIRES, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, value,
    },
    server::{
        Config, Refusal,
        dialect::{file, storage_failed, too_large},
        exchange::Exchange,
        location::Endpoint,
        outcome::Outcome,
    },
};

pub(in crate::server) fn render(exchange: &Exchange, outcome: Outcome<'_>) -> Response<Bytes> {
    let (config, endpoint) = (&*exchange.config, &exchange.endpoint);
    let mut response = Response::new(Bytes::new());
    // "The Tus-Resumable header MUST be included in every request and response"
    response.headers_mut().insert(TUS_RESUMABLE.clone(), HeaderValue::from_static(VERSION));
    match outcome {
        Outcome::Options => options(config, exchange.trailers, &mut response),
        Outcome::Found(upload, length) => found(upload, endpoint, length, &mut response),
        Outcome::Created(upload, with_body) => {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::LOCATION, endpoint.url(&upload.id));
            if with_body {
                response.headers_mut().insert(UPLOAD_OFFSET.clone(), upload.offset.into());
            }
            expires(announced(upload), &mut response);
        }
        Outcome::Appended(upload) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(UPLOAD_OFFSET.clone(), upload.offset.into());
            expires(announced(upload), &mut response);
        }
        Outcome::Terminated => *response.status_mut() = StatusCode::NO_CONTENT,
        Outcome::Downloaded(upload, part) => file::download(config, upload, part, &mut response),
        Outcome::NotModified(upload) => file::not_modified(upload, &mut response),
        Outcome::Declined(upload, rejection) => {
            expires(upload.expires, &mut response);
            refused(Refusal::Rejected(rejection), &mut response);
        }
        // Exists only in the draft.
        Outcome::Answered(_, answer, _) => response = answer,
        Outcome::Refused(refusal, at) => {
            expires(at, &mut response);
            refused(refusal, &mut response);
        }
    }
    response
}

fn options(config: &Config, trailers: bool, response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(TUS_VERSION.clone(), HeaderValue::from_static(VERSION));
    if let Some(list) = extension::list(config, trailers) {
        headers.insert(TUS_EXTENSION.clone(), value(list));
    }
    if let Some(limit) = config.max_size {
        headers.insert(TUS_MAX_SIZE.clone(), limit.into());
    }
    if config.offers(TusExtension::Checksum) {
        headers.insert(
            TUS_CHECKSUM_ALGORITHM.clone(),
            value(config.checksums.iter().map(|known| known.name()).collect::<Vec<_>>().join(",")),
        );
    }
}

fn found(upload: &Upload, endpoint: &Endpoint, length: Option<u64>, response: &mut Response<Bytes>) {
    let headers = response.headers_mut();
    // "The Server MUST prevent the client and/or proxies from caching the response"
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let pending = matches!(upload.kind, Kind::Final(_)) && !upload.is_complete();
    if !pending {
        headers.insert(UPLOAD_OFFSET.clone(), upload.offset.into());
    }
    match length {
        Some(length) => headers.insert(UPLOAD_LENGTH.clone(), length.into()),
        // The length of a final upload is not deferred: it is the sum of its parts.
        None if pending => None,
        None => headers.insert(UPLOAD_DEFER_LENGTH.clone(), HeaderValue::from_static("1")),
    };
    if let Some(metadata) = upload.verbatim.get(&UPLOAD_METADATA).or_else(|| upload.metadata.to_header()) {
        headers.insert(UPLOAD_METADATA.clone(), metadata);
    }
    if let Some(concat) = concat::header(upload, endpoint) {
        headers.insert(UPLOAD_CONCAT.clone(), concat);
    }
    expires(announced(upload), response);
}

/// "The Upload-Expires response header indicates the time after which the unfinished upload expires."
fn announced(upload: &Upload) -> Option<SystemTime> {
    let is_finished = upload.is_complete() && upload.kind != Kind::Partial;
    upload.expires.filter(|_| !is_finished)
}

fn expires(at: Option<SystemTime>, response: &mut Response<Bytes>) {
    if let Some(at) = at {
        response.headers_mut().insert(UPLOAD_EXPIRES.clone(), value(httpdate::fmt_http_date(at)));
    }
}

fn refused(refusal: Refusal, response: &mut Response<Bytes>) {
    *response.status_mut() = status(&refusal);
    let headers = response.headers_mut();
    if may_pass(&refusal) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // Caches may store a 404 or a 410 by default (RFC 9111, 4.2.2), but the next HEAD must see the current state.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The text may repeat what the client sent.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let text = text(&refusal);
    match refusal {
        Refusal::Fault(Fault::MethodNotAllowed { allow, .. }) => {
            headers.insert(header::ALLOW, value(allow));
        }
        Refusal::Fault(Fault::UnsupportedVersion) => {
            // "and MUST include the Tus-Version header into the response."
            headers.insert(TUS_VERSION.clone(), HeaderValue::from_static(VERSION));
        }
        Refusal::RangeNotSatisfiable { length } => {
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{length}")));
        }
        Refusal::Rejected(rejection) => {
            let (head, body) = Response::from(rejection).into_parts();
            headers.extend(head.headers);
            *response.body_mut() = body;
            return;
        }
        _ => {}
    }
    *response.body_mut() = format!("{text}\n").into();
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Fault(fault) => match fault {
            Fault::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Fault::UnsupportedVersion => StatusCode::PRECONDITION_FAILED,
            Fault::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Fault::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Fault::MissingHeader(..)
            | Fault::RepeatedHeader(_)
            | Fault::InvalidHeader { .. }
            | Fault::Contradiction(_)
            | Fault::Metadata(_)
            | Fault::MetadataTooLarge { .. }
            | Fault::TooManyParts(_)
            | Fault::ConcatTooLarge { .. }
            | Fault::NotOffered(_)
            | Fault::TusOff
            | Fault::Unreadable(_) => StatusCode::BAD_REQUEST,
        },
        Refusal::Problem(_)
        | Refusal::ReprDigestMismatch
        | Refusal::BodyTooSmall { .. }
        | Refusal::LengthMismatch { .. }
        | Refusal::LengthTooSmall { .. }
        | Refusal::NotPart(_) => StatusCode::BAD_REQUEST,
        Refusal::FinalTakesNoBytes | Refusal::OtherDialect => StatusCode::FORBIDDEN,
        Refusal::NotFound | Refusal::PartNotFound(_) | Refusal::NotFinished => StatusCode::NOT_FOUND,
        Refusal::OffsetMismatch { .. } | Refusal::AlreadyComplete | Refusal::NotKept | Refusal::PartIncomplete(_) => {
            StatusCode::CONFLICT
        }
        Refusal::Unanswered => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::Expired | Refusal::Invalid => StatusCode::GONE,
        Refusal::TooLarge { .. } | Refusal::BeyondLength { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        // Only bytes without their media type have a limit of their own in this dialect.
        Refusal::BodyTooLarge { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        Refusal::AnotherFile => StatusCode::PRECONDITION_FAILED,
        // Temporary failures: clients retry no 4xx other than 409 and 423, so a 408 would end the upload.
        Refusal::Superseded => StatusCode::LOCKED,
        Refusal::ChecksumMismatch => checksum_mismatch(),
        Refusal::TimedOut { .. } | Refusal::BrokenOff { .. } | Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Storage(failure) => match failure {
            Failure::Exists => StatusCode::CONFLICT,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::Gone => StatusCode::GONE,
            // Another request holds the upload, or changed it first.
            Failure::Busy | Failure::Conflict => StatusCode::LOCKED,
            Failure::Full => StatusCode::INSUFFICIENT_STORAGE,
            Failure::Overloaded | Failure::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
        Refusal::Rejected(rejection) => rejection.status(),
    }
}

/// `460 Checksum Mismatch`, a status without a name outside tus (tus 1.0.0, "Checksum").
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Whether the same request may succeed in a second.
fn may_pass(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Superseded
            | Refusal::TimedOut { .. }
            | Refusal::BrokenOff { .. }
            | Refusal::ShuttingDown
            | Refusal::Storage(Failure::Busy | Failure::Conflict | Failure::Overloaded | Failure::Unavailable)
    )
}

/// The text for the client.
fn text(refusal: &Refusal) -> String {
    let text = match refusal {
        Refusal::Fault(fault) => return fault.to_string(),
        Refusal::Storage(failure) => storage_failed(*failure),
        Refusal::LengthMismatch { sent } => {
            return format!("the header upload-length is {sent}, but it must be the length that was declared before");
        }
        Refusal::LengthTooSmall { sent } => {
            return format!(
                "the header upload-length is {sent}, but it must be at least the number of bytes already stored"
            );
        }
        Refusal::RangeNotSatisfiable { length } => {
            return format!("the range is not within the {length} bytes of the upload");
        }
        Refusal::OffsetMismatch { sent, actual } => {
            return format!("upload-offset is {sent}, but the upload's offset is {actual}");
        }
        Refusal::TooLarge { limit } => return too_large(*limit),
        Refusal::BeyondLength { length } => return format!("the upload would exceed its length of {length} bytes"),
        Refusal::Problem(problem) => return problem.to_string(),
        Refusal::OtherDialect => {
            "the upload was created with the IETF's \"Resumable Uploads for HTTP\"; use that protocol, without tus-resumable"
        }
        Refusal::BodyTooLarge { .. } => return Fault::UnsupportedMediaType.to_string(),
        // These exist only in the other dialect.
        Refusal::BodyTooSmall { .. } => "the body is smaller than allowed",
        Refusal::Unanswered => "the application did not respond to the upload",
        Refusal::NotKept => "the response to the upload is not stored",
        Refusal::AlreadyComplete => "the upload is complete; nothing can be added",
        Refusal::ReprDigestMismatch => "the upload does not match its digest",
        Refusal::AnotherFile => "the file is none of those that if-match names",
        Refusal::PartNotFound(id) => return format!("there is no partial upload {id}"),
        Refusal::NotPart(id) => return format!("{id} was not created with upload-concat: partial"),
        Refusal::PartIncomplete(id) => return format!("the partial upload {id} is not complete yet"),
        Refusal::TimedOut { offset } => {
            return format!("no data, or too little, was received for too long; the upload's offset is {offset}");
        }
        Refusal::BrokenOff { offset } => return format!("the body was interrupted; the upload's offset is {offset}"),
        Refusal::NotFound => "there is no such upload",
        Refusal::Expired => "the upload has expired; start a new one",
        Refusal::Invalid => "the upload can never be completed; start a new one",
        Refusal::NotFinished => "the upload is not finished yet; try again later",
        Refusal::FinalTakesNoBytes => "a final upload consists of its parts and accepts no bytes",
        Refusal::ChecksumMismatch => "the body does not match upload-checksum and was discarded",
        Refusal::Superseded => "another request continues this upload",
        Refusal::ShuttingDown => "the server is shutting down; resume in a moment",
        Refusal::Rejected(_) => "the application rejected the request",
    };
    text.to_owned()
}
