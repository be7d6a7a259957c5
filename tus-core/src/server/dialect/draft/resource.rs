//! Which requests to a resource of the application are uploads, and which parts of a request and its response are
//! stored.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header, request::Parts, response,
};

use super::{
    Problem, completeness,
    content::{content_length, is_partial_upload},
    interop::Rules,
    limits, metadata,
    spoken::Spoken,
};
use crate::{
    NewUpload, Upload,
    header::{
        ACCEPT_PATCH, CONTENT_DIGEST, PARTIAL_UPLOAD, REPR_DIGEST, TUS_RESUMABLE, UPLOAD_CHECKSUM, UPLOAD_COMPLETE,
        UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_INCOMPLETE, UPLOAD_LENGTH,
        UPLOAD_LIMIT, UPLOAD_METADATA, UPLOAD_OFFSET, X_HTTP_METHOD_OVERRIDE,
    },
    server::{Config, Resource, exchange::Exchange, resource_of},
};

/// The most bytes of a request's target and headers that are stored.
const MAX_HEAD: usize = 16 * 1024;

/// The most bytes of a response that are stored, headers and content together.
const MAX_RESPONSE: usize = 64 * 1024;

/// Every request that creates an upload has one of these headers.
pub(in crate::server) const MAY_CREATE: [&str; 2] = ["upload-complete", "upload-incomplete"];

/// Headers about the connection, not the content (RFC 9110, section 7.6.1).
fn is_of_connection(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 8] = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::CONTENT_LENGTH,
        HeaderName::from_static("keep-alive"),
    ];
    NAMES.contains(name)
}

/// Headers that identify the sender, the host, the origin or the route of a request. They are not stored: the handler
/// gets those of the request that completes the upload, or none.
fn is_of_sender(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 9] = [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::HOST,
        header::FORWARDED,
        HeaderName::from_static("x-real-ip"),
        header::VIA,
        header::ORIGIN,
        header::REFERER,
    ];
    NAMES.contains(name) || ["x-forwarded-", "sec-fetch-"].into_iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Headers that describe content. In a request that completes an upload, the content is at most a piece of the
/// representation.
fn is_of_content(name: &HeaderName) -> bool {
    *name == REPR_DIGEST || name.as_str().starts_with("content-") || ["digest", "mime-version"].contains(&name.as_str())
}

/// Headers that matter only to the upload protocols, not to the handler.
fn is_of_protocol(name: &HeaderName) -> bool {
    let of_tus = [
        &TUS_RESUMABLE,
        &UPLOAD_DEFER_LENGTH,
        &UPLOAD_METADATA,
        &UPLOAD_CHECKSUM,
        &UPLOAD_CONCAT,
        &X_HTTP_METHOD_OVERRIDE,
    ];
    is_of_upload(name) || of_tus.into_iter().any(|known| known == name)
}

/// Headers about the upload, not about the representation.
fn is_of_upload(name: &HeaderName) -> bool {
    let names = [
        &UPLOAD_COMPLETE,
        &UPLOAD_INCOMPLETE,
        &UPLOAD_OFFSET,
        &UPLOAD_LENGTH,
        &UPLOAD_LIMIT,
        &UPLOAD_DRAFT_INTEROP_VERSION,
        &CONTENT_DIGEST,
    ];
    names.into_iter().any(|known| known == name)
}

/// Whether requests of this method may carry content for a resource.
pub(super) fn is_for_content(method: &Method) -> bool {
    let others = [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS, Method::TRACE, Method::CONNECT];
    !others.contains(method)
}

/// Whether a request to a resource creates an upload there.
pub(in crate::server) fn creates(config: &Config, head: &Parts, resource: &Resource, informs: bool) -> bool {
    let headers = &head.headers;
    if !MAY_CREATE.into_iter().any(|name| headers.contains_key(name)) {
        return false;
    }
    // The application handles an append that does not belong to an upload.
    let is_append = head.method == Method::PATCH && is_partial_upload(headers);
    if headers.contains_key(&TUS_RESUMABLE) || !is_for_content(&head.method) || is_append {
        return false;
    }
    let Some(spoken) = Spoken::of(head).map(|spoken| spoken.unless_unread(config, head)) else {
        return false;
    };
    match completeness::read(spoken.rules, headers) {
        Some(true) => {
            let Ok(content) = content_length(headers) else { return false };
            let is_large = content.is_none_or(|length| length >= resource.min_size);
            // The handler may accept what an upload's limits do not.
            let is_allowed = config.max_append_size.is_none_or(|limit| content.is_some_and(|length| length <= limit));
            let may_resume = informs && head.version == Version::HTTP_11 && spoken.is_named && is_large;
            may_resume && is_allowed && size(head) <= MAX_HEAD && metadata::read(config, headers).is_ok()
        }
        Some(false) => true,
        None => false,
    }
}

/// The size of a request's target and headers in bytes.
fn size(head: &Parts) -> usize {
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    target + bytes_of(&head.headers)
}

fn bytes_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Stores the request that creates an upload in its record.
pub(super) fn keep_request(upload: &mut NewUpload, exchange: &Exchange, head: &Parts) -> Result<(), Problem> {
    let actual = size(head);
    if actual > MAX_HEAD {
        return Err(Problem::HeadTooLarge { actual, limit: MAX_HEAD });
    }
    let headers = without(of_representation(&head.headers), |name| is_of_sender(name) || is_of_upload(name));
    if let Some(resource) = exchange.endpoint.resource() {
        upload.verbatim.set_request(&head.method, &resource.target, &headers);
    }
    Ok(())
}

/// The headers that do not concern the connection, including those that `Connection` names: "Intermediaries MUST
/// parse a received Connection header field before a message is forwarded and [...] remove any header or trailer
/// field(s) from the message with the same name as the connection-option" (RFC 9110, section 7.6.1).
fn of_representation(headers: &HeaderMap) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let named: Vec<_> = named.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    without(headers.clone(), |name| is_of_connection(name) || named.iter().any(|other| other == name.as_str()))
}

fn without(mut headers: HeaderMap, goes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let names: Vec<_> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    headers
}

/// The head of the request for the application's handler. The request that completes the upload is the one that was
/// authorized, so the handler sees its headers, except those that describe the content.
pub(in crate::server) fn handlers_head(upload: &Upload, completing: &Parts) -> Option<Parts> {
    let (method, headers) = upload.verbatim.request()?;
    // Older versions stored some of these.
    let mut headers = without(headers, is_of_sender);
    // Headers that `Connection` names are replaced as well. Otherwise a client could use it to keep the creation's
    // value.
    let now = without(completing.headers.clone(), |name| {
        is_of_connection(name) || is_of_content(name) || is_of_protocol(name)
    });
    for name in now.keys() {
        headers.remove(name);
    }
    for (name, value) in &now {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(header::CONTENT_LENGTH, upload.offset.into());
    let mut head = completing.clone();
    (head.method, head.headers) = (method, headers);
    head.uri = resource_of(&completing.uri);
    Some(head)
}

/// The response of the application's handler in the form in which it is stored; `None` if it is too large. Cookies
/// belong to the client that received the response, not to one that asks again.
pub(in crate::server) fn keepable(head: &response::Parts, body: Bytes) -> Option<Response<Bytes>> {
    const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");
    let headers = without(of_representation(&head.headers), |name| [header::SET_COOKIE, SET_COOKIE2].contains(name));
    if bytes_of(&headers) + body.len() > MAX_RESPONSE {
        return None;
    }
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (head.status, headers);
    Some(response)
}

/// What a response to OPTIONS announces about uploads at a resource.
pub(in crate::server) fn announce<B>(config: &Config, resource: &Resource, response: &mut Response<B>) {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        *response.status_mut() = StatusCode::NO_CONTENT;
        // "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
        // (Informational) or 204 (No Content)." (RFC 9110, section 8.6)
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
            response.headers_mut().remove(name);
        }
    }
    let limits = limits::of_resource(config, Rules::newest(), resource.min_size);
    response.headers_mut().insert(UPLOAD_LIMIT.clone(), limits);
    response.headers_mut().insert(ACCEPT_PATCH.clone(), HeaderValue::from_static(PARTIAL_UPLOAD));
}
