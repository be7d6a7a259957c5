//! Writes the outcome of a request of the draft as a response.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{completeness, details, interop::Rules, limits, spoken::Spoken};
use crate::{
    Upload,
    header::{ACCEPT_PATCH, PARTIAL_UPLOAD, UPLOAD_LENGTH, UPLOAD_LIMIT, UPLOAD_OFFSET},
    server::{dialect::file, exchange::Exchange, outcome::Outcome},
};

pub(in crate::server::dialect) fn render(exchange: &Exchange, spoken: Spoken, outcome: Outcome<'_>) -> Response<Bytes> {
    let (rules, config) = (spoken.rules, &*exchange.config);
    let mut response = Response::new(Bytes::new());
    match outcome {
        Outcome::Options => *response.status_mut() = StatusCode::NO_CONTENT,
        Outcome::Found(upload, length) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            found(exchange, rules, upload, length, response.headers_mut());
            // "SHOULD include the Cache-Control header field with the value no-store"
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        // The response to the request that completed the upload is the endpoint's response to a complete upload,
        // whichever request that was: "the response that matches what the resource, that was targeted by the initial
        // upload creation, would have generated if it had processed the entire representation in the initial
        // request".
        Outcome::Created(upload, _) | Outcome::Appended(upload) if upload.is_complete() => {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::LOCATION, exchange.endpoint.url(&upload.id));
            state(exchange, rules, upload, true, response.headers_mut());
        }
        Outcome::Created(upload, _) => {
            // "the server MUST include the Location response header field pointing to the upload resource and MUST
            // include the Upload-Limit header field [...] Servers are RECOMMENDED to use the 201 (Created) status code."
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::LOCATION, exchange.endpoint.url(&upload.id));
            state(exchange, rules, upload, false, response.headers_mut());
        }
        Outcome::Appended(upload) => {
            let created = rules.creates_by_append;
            *response.status_mut() = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
            state(exchange, rules, upload, false, response.headers_mut());
        }
        Outcome::Terminated => *response.status_mut() = StatusCode::NO_CONTENT,
        Outcome::Downloaded(upload, part) => {
            file::download(config, upload, part, &mut response);
            found(exchange, rules, upload, upload.length, response.headers_mut());
        }
        Outcome::NotModified(upload) => file::not_modified(upload, &mut response),
        Outcome::Declined(upload, rejection) => {
            // The application's answer is the final response. A failure is not final, and the client may try again.
            let is_final = !rejection.status().is_server_error();
            details::rejected(rejection, is_final, &mut response);
            state(exchange, rules, upload, is_final, response.headers_mut());
        }
        Outcome::Answered(upload, answer, is_creation) => {
            response = answer;
            state(exchange, rules, upload, true, response.headers_mut());
            // tus-js-client requires it in every response to a creation, in the versions that it supports.
            if is_creation && rules.completes_at_length && !response.headers().contains_key(header::LOCATION) {
                response.headers_mut().insert(header::LOCATION, exchange.endpoint.url(&upload.id));
            }
        }
        Outcome::Refused(refusal, _) => details::refused(exchange, rules, refusal, &mut response),
    }
    response
}

/// What a response to OPTIONS announces about the draft, in addition to tus: "the server MUST include the
/// Upload-Limit header field". `Accept-Patch` belongs to drafts 10 and 11.
pub(in crate::server::dialect) fn announce(exchange: &Exchange, spoken: Spoken, response: &mut Response<Bytes>) {
    let headers = response.headers_mut();
    headers.insert(UPLOAD_LIMIT.clone(), limits::of_new(&exchange.config, spoken.rules));
    headers.insert(ACCEPT_PATCH.clone(), HeaderValue::from_static(PARTIAL_UPLOAD));
}

/// An upload in a response to a request for its offset: "MUST include the Upload-Complete header field indicating
/// whether a final response was produced from processing the uploaded representation". What the application does
/// after that response is not part of the processing.
fn found(exchange: &Exchange, rules: &Rules, upload: &Upload, length: Option<u64>, headers: &mut HeaderMap) {
    state(exchange, rules, upload, exchange.config.has_responded(upload), headers);
    if let Some(length) = length {
        headers.insert(UPLOAD_LENGTH.clone(), length.into());
    }
}

fn state(exchange: &Exchange, rules: &Rules, upload: &Upload, is_complete: bool, headers: &mut HeaderMap) {
    headers.insert(UPLOAD_OFFSET.clone(), upload.offset.into());
    headers.insert(UPLOAD_LIMIT.clone(), limits::of(upload, &exchange.config, rules, exchange.now));
    completeness::write(rules, is_complete, headers);
}
