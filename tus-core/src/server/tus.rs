//! The dialect tus 1.0.0: what a request asks for, and how the outcome is written.

use std::{ops::Range, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{
    deliver::Conditions,
    exchange::{Append, Ask, Creation, Exchange},
    receive::Body,
};
use crate::{
    Algorithm, Checksum, Config, Extension, Kind, Metadata, NewUpload, Refusal, TUS_VERSION as VERSION, Upload,
    checksum::{InvalidChecksum, Verify},
    concat, download,
    header::{
        TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_RESUMABLE, TUS_VERSION, UPLOAD_CHECKSUM,
        UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_EXPIRES, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET,
        X_HTTP_METHOD_OVERRIDE, announces_trailer, is_offset_octet_stream, number, single, value,
    },
    location::{Endpoint, Target},
};

/// What came of a request.
pub(super) enum Outcome<'a> {
    Options,
    /// What HEAD tells; the length apart, since that of a final upload is calculated.
    Found(&'a Upload, Option<u64>),
    /// An upload was created, with or without a body to go with it.
    Created(&'a Upload, bool),
    Appended(&'a Upload),
    Terminated,
    /// Bytes of it are the body.
    Delivered(&'a Upload, Range<u64>),
    /// The client has them already.
    NotModified(&'a Upload),
    /// It was refused; with the time at which the upload goes away, where the client may know it.
    Refused(Refusal, Option<SystemTime>),
    /// Nobody asked.
    Silence,
}

pub(super) fn parse(exchange: &Exchange, head: &Parts) -> Result<Ask, Refusal> {
    let version = single(&head.headers, &TUS_RESUMABLE);
    // "If the version specified by the Client is not supported by the Server, it MUST respond with
    // the 412 Precondition Failed status [...] the Server MUST NOT process the request." But for OPTIONS,
    // "the Server MUST ignore the header."
    if head.method != Method::OPTIONS && version.clone()?.is_some_and(|version| version != VERSION) {
        return Err(Refusal::UnsupportedVersion);
    }
    let method = method(head)?;
    if method == Method::OPTIONS {
        return Ok(Ask::Options);
    }
    let config = &exchange.config;
    let target = exchange.endpoint.target(head.uri.path());
    if target != Target::Nothing && !allowed(config, &target).any(|allowed| allowed == method) {
        let allow = allowed(config, &target).map(|method| method.to_string()).collect::<Vec<_>>().join(", ");
        return Err(Refusal::MethodNotAllowed { method, allow });
    }
    // "The Tus-Resumable header MUST be included in every request" of tus; a download is none of them. A method
    // that is not had here was told so first.
    if version?.is_none() && method != Method::GET {
        return Err(Refusal::UnsupportedVersion);
    }
    match target {
        Target::Nothing => Err(Refusal::NotFound),
        Target::Endpoint => creation(exchange, head).map(Ask::Create),
        Target::Upload(id) if method == Method::HEAD => Ok(Ask::Inspect(id)),
        Target::Upload(id) if method == Method::GET => Ok(Ask::Download(id, Conditions::of(&head.headers))),
        Target::Upload(id) if method == Method::DELETE => Ok(Ask::Terminate(id)),
        Target::Upload(id) => Ok(Ask::Append(id, append(config, &head.headers)?)),
    }
}

/// The method that is meant (R32: an override turns a POST into PATCH, DELETE or HEAD only).
fn method(head: &Parts) -> Result<Method, Refusal> {
    let Some(meant) = single(&head.headers, &X_HTTP_METHOD_OVERRIDE)? else {
        return Ok(head.method.clone());
    };
    match meant.as_bytes() {
        _ if head.method != Method::POST => Err(Refusal::MethodOverride),
        b"PATCH" => Ok(Method::PATCH),
        b"DELETE" => Ok(Method::DELETE),
        b"HEAD" => Ok(Method::HEAD),
        _ => Err(Refusal::MethodOverride),
    }
}

fn allowed(config: &Config, target: &Target) -> impl Iterator<Item = Method> {
    let (endpoint, upload) = (*target == Target::Endpoint, matches!(target, Target::Upload(_)));
    let methods = [
        (true, Method::OPTIONS),
        (endpoint && config.offers(Extension::Creation), Method::POST),
        (upload && config.downloads().is_some(), Method::GET),
        (upload, Method::HEAD),
        (upload, Method::PATCH),
        (upload && config.offers(Extension::Termination), Method::DELETE),
    ];
    methods.into_iter().filter_map(|(allowed, method)| allowed.then_some(method))
}

fn creation(exchange: &Exchange, head: &Parts) -> Result<Creation, Refusal> {
    let (config, headers) = (&exchange.config, &head.headers);
    let kind = concat::kind(head, &exchange.endpoint)?;
    if kind != Kind::Single {
        offered(config, Extension::Concatenation)?;
    }
    let length = declared_length(config, headers, &kind)?;
    let body = creation_body(config, headers)?;
    if body.is_some() && matches!(kind, Kind::Final(_)) {
        return Err(Refusal::FinalTakesNoBytes);
    }
    let metadata = metadata(config, headers)?;
    let upload = NewUpload { kind, length, metadata, id: None, max_size: config.size_limit() };
    Ok(Creation { upload, body })
}

/// The length of a new upload; `None` where it is deferred or follows from the parts.
fn declared_length(config: &Config, headers: &HeaderMap, kind: &Kind) -> Result<Option<u64>, Refusal> {
    let length = number(headers, &UPLOAD_LENGTH)?;
    let deferred = single(headers, &UPLOAD_DEFER_LENGTH)?;
    if let Some(flag) = deferred {
        offered(config, Extension::CreationDeferLength)?;
        // "If the Upload-Defer-Length header contains any other value than 1 the server should
        // return a 400 Bad Request status."
        if flag != "1" {
            return Err(Refusal::invalid(&UPLOAD_DEFER_LENGTH, flag, "1, or not there"));
        }
    }
    match (kind, length, deferred) {
        (Kind::Final(_), None, None) => Ok(None),
        (Kind::Final(_), ..) => {
            Err(Refusal::Contradiction("the length of a final upload is that of its parts; leave upload-length out"))
        }
        (_, Some(_), Some(_)) => {
            Err(Refusal::Contradiction("upload-length and upload-defer-length exclude each other"))
        }
        (_, None, None) => Err(Refusal::MissingHeader(&UPLOAD_LENGTH, "bytes of the whole upload")),
        (_, length, _) => Ok(length),
    }
}

/// The body of a creation request, where bytes of the upload are in it.
fn creation_body(config: &Config, headers: &HeaderMap) -> Result<Option<Body>, Refusal> {
    let length = number(headers, &header::CONTENT_LENGTH)?;
    if length == Some(0) {
        return Ok(None);
    }
    if is_offset_octet_stream(headers)? {
        offered(config, Extension::CreationWithUpload)?;
        return body(config, headers).map(Some);
    }
    // Without a length there may be no body at all, and a wrong type is no reason to refuse that.
    if length.is_some() { Err(Refusal::UnsupportedMediaType) } else { Ok(None) }
}

fn append(config: &Config, headers: &HeaderMap) -> Result<Append, Refusal> {
    if !is_offset_octet_stream(headers)? {
        return Err(Refusal::UnsupportedMediaType);
    }
    let offset = number(headers, &UPLOAD_OFFSET)?
        .ok_or(Refusal::MissingHeader(&UPLOAD_OFFSET, "bytes of the upload that are there already"))?;
    let length = number(headers, &UPLOAD_LENGTH)?;
    Ok(Append { offset, length, body: body(config, headers)? })
}

fn body(config: &Config, headers: &HeaderMap) -> Result<Body, Refusal> {
    let length = number(headers, &header::CONTENT_LENGTH)?;
    let sent = single(headers, &UPLOAD_CHECKSUM)?;
    let verify = match (sent, announces_trailer(headers, &UPLOAD_CHECKSUM)) {
        (None, false) => Verify::Nothing,
        (Some(sent), false) => {
            offered(config, Extension::Checksum)?;
            Verify::header(checksum(sent)?)
        }
        (None, true) => {
            offered(config, Extension::ChecksumTrailer)?;
            Verify::trailer()
        }
        (Some(_), true) => {
            return Err(Refusal::Contradiction("upload-checksum is a header or a trailer, not both"));
        }
    };
    Ok(Body { length, verify })
}

/// Reads an `Upload-Checksum`, from the head or the trailers.
pub(super) fn checksum(sent: &HeaderValue) -> Result<Checksum, Refusal> {
    Checksum::parse(sent).map_err(|error| {
        let expected = match error {
            InvalidChecksum::Form => "the algorithm, a space, and the digest in base64",
            InvalidChecksum::Algorithm => "of an algorithm that tus-checksum-algorithm lists in a response to OPTIONS",
        };
        Refusal::invalid(&UPLOAD_CHECKSUM, sent, expected)
    })
}

/// The `Upload-Checksum` that trails a body.
pub(super) fn trailing_checksum(trailers: Option<&HeaderMap>) -> Result<Option<Checksum>, Refusal> {
    let sent = trailers.map(|trailers| single(trailers, &UPLOAD_CHECKSUM)).transpose()?.flatten();
    sent.map(checksum).transpose()
}

fn metadata(config: &Config, headers: &HeaderMap) -> Result<Metadata, Refusal> {
    let Some(sent) = single(headers, &UPLOAD_METADATA)? else {
        return Ok(Metadata::default());
    };
    let limit = config.metadata_limit();
    if sent.len() > limit {
        return Err(Refusal::MetadataTooLarge { actual: sent.len(), limit });
    }
    Ok(Metadata::parse(sent)?)
}

fn offered(config: &Config, extension: Extension) -> Result<(), Refusal> {
    if config.offers(extension) { Ok(()) } else { Err(Refusal::NotOffered(extension.name())) }
}

pub(super) fn render(config: &Config, endpoint: &Endpoint, outcome: Outcome<'_>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    // "The Tus-Resumable header MUST be included in every request and response"
    response.headers_mut().insert(TUS_RESUMABLE.clone(), HeaderValue::from_static(VERSION));
    match outcome {
        Outcome::Silence => {}
        Outcome::Options => options(config, &mut response),
        Outcome::Found(upload, length) => found(upload, length, &mut response),
        Outcome::Created(upload, with_body) => {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::LOCATION, endpoint.url(&upload.id));
            if with_body {
                response.headers_mut().insert(UPLOAD_OFFSET.clone(), upload.offset.into());
            }
            expires(upload.expires, &mut response);
        }
        Outcome::Appended(upload) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(UPLOAD_OFFSET.clone(), upload.offset.into());
            expires(upload.expires, &mut response);
        }
        Outcome::Terminated => *response.status_mut() = StatusCode::NO_CONTENT,
        Outcome::Delivered(upload, range) => delivered(config, upload, &range, &mut response),
        Outcome::NotModified(upload) => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(header::ETAG, download::entity_tag(upload));
        }
        Outcome::Refused(refusal, at) => {
            expires(at, &mut response);
            refused(refusal, &mut response);
        }
    }
    response
}

fn options(config: &Config, response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(TUS_VERSION.clone(), HeaderValue::from_static(VERSION));
    if let Some(list) = config.extension_list() {
        headers.insert(TUS_EXTENSION.clone(), value(list));
    }
    if let Some(limit) = config.size_limit() {
        headers.insert(TUS_MAX_SIZE.clone(), limit.into());
    }
    if config.offers(Extension::Checksum) {
        headers.insert(TUS_CHECKSUM_ALGORITHM.clone(), value(Algorithm::list()));
    }
}

fn found(upload: &Upload, length: Option<u64>, response: &mut Response<Bytes>) {
    let headers = response.headers_mut();
    // "The Server MUST prevent the client and/or proxies from caching the response"
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let pending = matches!(upload.kind, Kind::Final(_)) && !upload.is_complete();
    if !pending {
        headers.insert(UPLOAD_OFFSET.clone(), upload.offset.into());
    }
    match length {
        Some(length) => headers.insert(UPLOAD_LENGTH.clone(), length.into()),
        // The length of a final upload is not deferred; it is that of its parts.
        None if pending => None,
        None => headers.insert(UPLOAD_DEFER_LENGTH.clone(), HeaderValue::from_static("1")),
    };
    if let Some(metadata) = upload.metadata.header() {
        headers.insert(UPLOAD_METADATA.clone(), metadata.clone());
    }
    if let Some(concat) = concat::header(&upload.kind) {
        headers.insert(UPLOAD_CONCAT.clone(), concat);
    }
    expires(upload.expires, response);
}

fn delivered(config: &Config, upload: &Upload, range: &Range<u64>, response: &mut Response<Bytes>) {
    let headers = response.headers_mut();
    headers.extend(config.downloads().map(|download| download.headers(upload)).unwrap_or_default());
    headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    if *range != (0..upload.offset) {
        let (first, last, length) = (range.start, range.end - 1, upload.offset);
        headers.insert(header::CONTENT_RANGE, value(format!("bytes {first}-{last}/{length}")));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

fn expires(at: Option<SystemTime>, response: &mut Response<Bytes>) {
    if let Some(at) = at {
        response.headers_mut().insert(UPLOAD_EXPIRES.clone(), value(httpdate::fmt_http_date(at)));
    }
}

fn refused(refusal: Refusal, response: &mut Response<Bytes>) {
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    if refusal.is_passing() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A cache may keep a 404 or a 410 unasked (RFC 9111, 4.2.2), and the next HEAD is to see the truth.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The text may repeat what the client sent.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let text = refusal.to_string();
    match refusal {
        Refusal::MethodNotAllowed { allow, .. } => {
            headers.insert(header::ALLOW, value(allow));
        }
        Refusal::UnsupportedVersion => {
            // "and MUST include the Tus-Version header into the response."
            headers.insert(TUS_VERSION.clone(), HeaderValue::from_static(VERSION));
        }
        Refusal::RangeNotSatisfiable { length } => {
            headers.insert(header::CONTENT_RANGE, value(format!("bytes */{length}")));
        }
        Refusal::Rejected(rejection) => {
            let (head, body) = rejection.into_response().into_parts();
            headers.extend(head.headers);
            *response.body_mut() = body;
            return;
        }
        _ => {}
    }
    *response.body_mut() = format!("{text}\n").into();
}
