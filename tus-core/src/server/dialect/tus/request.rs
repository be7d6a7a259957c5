//! What a request of tus 1.0.0 asks for.

use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};

use super::{
    Fault, TusExtension,
    concat::{self, Concat},
    reader::{announces_trailer, is_offset_octet_stream, number},
};
use crate::{
    Checksum, Kind, Metadata, NewUpload, TUS_VERSION as VERSION, UploadId,
    checksum::InvalidChecksum,
    header::{
        TUS_RESUMABLE, UPLOAD_CHECKSUM, UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, UPLOAD_METADATA,
        UPLOAD_OFFSET, X_HTTP_METHOD_OVERRIDE, list, single,
    },
    server::{
        Config, Refusal,
        ask::{Action, Append, Ask, Body, Creation},
        dialect::file::Conditions,
        exchange::Exchange,
        target::Target,
        verify::Verify,
    },
};

pub(in crate::server) fn parse(exchange: &Exchange, head: &Parts) -> Result<Ask, Refusal> {
    if !exchange.config.tus {
        return Err(Fault::TusOff.into());
    }
    let version = single(&head.headers, &TUS_RESUMABLE);
    let method = method(head);
    // "If the version specified by the Client is not supported by the Server, it MUST respond with
    // the 412 Precondition Failed status [...] the Server MUST NOT process the request." But for OPTIONS,
    // "the Server MUST ignore the header."
    let is_options = matches!(method, Ok(Method::OPTIONS));
    if !is_options && version.clone().map_err(Fault::from)?.is_some_and(|sent| sent != VERSION) {
        return Err(Fault::UnsupportedVersion.into());
    }
    let method = method?;
    if is_options {
        return Ok(Ask::Options);
    }
    if is_coded(&head.headers) {
        return Err(Fault::TransferCoding.into());
    }
    let config = &exchange.config;
    let target = exchange.endpoint.target(head.uri.path());
    if target != Target::Nothing && !allowed(config, &target).any(|allowed| allowed == method) {
        return Err(not_allowed(config, &target, method).into());
    }
    // "The Tus-Resumable header MUST be included in every request" of tus. A download is not one. Methods that are
    // not allowed here have been rejected already.
    let version = version.map_err(Fault::from)?;
    // "The HEAD method is identical to GET except that the server MUST NOT send content in the response." (RFC 9110, 9.3.2)
    let downloads = method == Method::GET || method == Method::HEAD && version.is_none() && config.download.is_some();
    if version.is_none() && !downloads {
        return Err(Fault::UnsupportedVersion.into());
    }
    match target {
        Target::Nothing => Err(Refusal::NotFound),
        Target::Endpoint => creation(exchange, head).map(Ask::Create),
        Target::Upload(id) => {
            let action = match method {
                _ if downloads => Action::Download(Conditions::of(&method, &head.headers)),
                Method::HEAD => Action::Inspect,
                Method::DELETE => Action::Terminate,
                _ => Action::Append(append(exchange, &head.headers)?),
            };
            Ok(Ask::Existing(id, action))
        }
    }
}

/// Why a request for an upload of this dialect without tus headers is malformed: only a download does not need them.
pub(in crate::server::dialect) fn unsaid(config: &Config, id: &UploadId, action: &Action) -> Result<(), Fault> {
    match action {
        _ if !config.tus => Err(Fault::TusOff),
        Action::Download(_) if config.download.is_some() => Ok(()),
        Action::Download(_) => Err(not_allowed(config, &Target::Upload(id.clone()), Method::GET)),
        _ => Err(Fault::UnsupportedVersion),
    }
}

/// The effective method: "a string which MUST be interpreted as the request's method by the Server, if the header is
/// presented. The actual method of the request MUST be ignored."
fn method(head: &Parts) -> Result<Method, Fault> {
    let Some(meant) = single(&head.headers, &X_HTTP_METHOD_OVERRIDE)? else {
        return Ok(head.method.clone());
    };
    // Methods are case-sensitive (RFC 9110, 9.1), but clients write this header by hand.
    let name = meant.as_bytes().to_ascii_uppercase();
    Method::from_bytes(&name).map_err(|_| Fault::invalid(&X_HTTP_METHOD_OVERRIDE, meant, "the name of a method"))
}

/// Whether the bytes of the body are encoded: the frameworks decode `chunked` and nothing else (RFC 9112, 6.1).
pub(in crate::server::dialect) fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        _ => true,
    }
}

fn not_allowed(config: &Config, target: &Target, method: Method) -> Fault {
    let allow = allowed(config, target).map(|method| method.to_string()).collect::<Vec<_>>().join(", ");
    Fault::MethodNotAllowed { method, allow }
}

fn allowed(config: &Config, target: &Target) -> impl Iterator<Item = Method> {
    let (endpoint, upload) = (*target == Target::Endpoint, matches!(target, Target::Upload(_)));
    let methods = [
        (true, Method::OPTIONS),
        (endpoint && config.offers(TusExtension::Creation), Method::POST),
        (upload && config.download.is_some(), Method::GET),
        (upload, Method::HEAD),
        (upload, Method::PATCH),
        (upload && config.offers(TusExtension::Termination), Method::DELETE),
    ];
    methods.into_iter().filter_map(|(allowed, method)| allowed.then_some(method))
}

fn creation(exchange: &Exchange, head: &Parts) -> Result<Creation, Refusal> {
    let headers = &head.headers;
    let (kind, named, concat) = match concat::parse(&exchange.config, head, &exchange.endpoint)? {
        Concat::Single => (Kind::Single, Vec::new(), None),
        Concat::Partial => (Kind::Partial, Vec::new(), None),
        Concat::Final(named, sent) => (Kind::Final(Vec::new()), named, Some(sent)),
    };
    if kind != Kind::Single {
        offered(exchange, TusExtension::Concatenation)?;
    }
    let length = declared_length(exchange, headers, &kind)?;
    let body = creation_body(exchange, head, &kind)?;
    if body.is_some() && matches!(kind, Kind::Final(_)) {
        return Err(Refusal::FinalTakesNoBytes);
    }
    let mut upload = NewUpload::new(kind, length);
    upload.max_size = exchange.config.max_size;
    if let Some(concat) = concat {
        upload.verbatim.set(&UPLOAD_CONCAT, concat);
    }
    if let Some(sent) = list(headers, &UPLOAD_METADATA) {
        upload.metadata = metadata(&exchange.config, &sent)?;
        if is_spaced(&sent) {
            upload.verbatim.set(&UPLOAD_METADATA, &sent);
        }
    }
    Ok(Creation { upload, named, body })
}

/// Whether there is white space around a pair. Because base64 is parsed strictly, the pairs preserve everything else
/// in the text.
fn is_spaced(metadata: &HeaderValue) -> bool {
    metadata.as_bytes().split(|byte| *byte == b',').any(|pair| pair != pair.trim_ascii())
}

/// The sent text is repeated only while it has the same meaning: the application may have changed the metadata.
pub(in crate::server) fn creation_as_stored(new: &mut NewUpload) {
    let sent = new.verbatim.get(&UPLOAD_METADATA);
    if sent.is_some_and(|sent| Metadata::parse(&sent).as_ref() != Ok(&new.metadata)) {
        new.verbatim.remove(&UPLOAD_METADATA);
    }
}

/// The length of a new upload; `None` if it is deferred or follows from the parts.
fn declared_length(exchange: &Exchange, headers: &HeaderMap, kind: &Kind) -> Result<Option<u64>, Fault> {
    let length = number(headers, &UPLOAD_LENGTH)?;
    let deferred = single(headers, &UPLOAD_DEFER_LENGTH)?;
    if let Some(flag) = deferred {
        offered(exchange, TusExtension::CreationDeferLength)?;
        // "If the Upload-Defer-Length header contains any other value than 1 the server should
        // return a 400 Bad Request status."
        if flag != "1" {
            return Err(Fault::invalid(&UPLOAD_DEFER_LENGTH, flag, "1, or omitted"));
        }
    }
    match (kind, length, deferred) {
        (Kind::Final(_), None, None) => Ok(None),
        (Kind::Final(_), ..) => {
            Err(Fault::Contradiction("the length of a final upload is the sum of its parts; omit upload-length"))
        }
        (_, Some(_), Some(_)) => Err(Fault::Contradiction("upload-length and upload-defer-length exclude each other")),
        (_, None, None) => Err(Fault::MissingHeader(&UPLOAD_LENGTH, "the number of bytes of the complete upload")),
        (_, length, _) => Ok(length),
    }
}

/// The body of a creation request, if it contains bytes of the upload.
fn creation_body(exchange: &Exchange, head: &Parts, kind: &Kind) -> Result<Option<Body>, Fault> {
    let headers = &head.headers;
    let length = number(headers, &header::CONTENT_LENGTH)?;
    // A checksum of an empty body is verified, too.
    let is_checked = headers.contains_key(&UPLOAD_CHECKSUM);
    if length == Some(0) && !is_checked {
        return Ok(None);
    }
    // An HTTP/1.1 request has no body without one of these (RFC 9112, 6.3). An HTTP/2 request may have one.
    let framed = length.is_some() || headers.contains_key(header::TRANSFER_ENCODING);
    let later = head.version > Version::HTTP_11;
    let typed = later && headers.contains_key(header::CONTENT_TYPE);
    let is_empty = length == Some(0) || !framed && !typed;
    // A final upload is created from its parts; nobody expects bytes to count.
    let may_follow = later && length.is_none() && !matches!(kind, Kind::Final(_));
    let has_type = is_offset_octet_stream(headers)?;
    if has_type || is_empty && (is_checked || may_follow) {
        if has_type || is_checked {
            offered(exchange, TusExtension::CreationWithUpload)?;
        }
        let body = body(exchange, headers)?;
        // Bytes without their media type are refused, should some follow.
        return Ok(Some(Body { limit: if has_type { body.limit } else { Some(0) }, ..body }));
    }
    if is_empty { Ok(None) } else { Err(Fault::UnsupportedMediaType) }
}

fn append(exchange: &Exchange, headers: &HeaderMap) -> Result<Append, Fault> {
    if !is_offset_octet_stream(headers)? {
        return Err(Fault::UnsupportedMediaType);
    }
    let offset = number(headers, &UPLOAD_OFFSET)?
        .ok_or(Fault::MissingHeader(&UPLOAD_OFFSET, "the number of bytes already stored"))?;
    let length = number(headers, &UPLOAD_LENGTH)?;
    Ok(Append { offset, length, body: body(exchange, headers)? })
}

fn body(exchange: &Exchange, headers: &HeaderMap) -> Result<Body, Fault> {
    let length = number(headers, &header::CONTENT_LENGTH)?;
    let sent = single(headers, &UPLOAD_CHECKSUM)?;
    let verify = match (sent, announces_trailer(headers, &UPLOAD_CHECKSUM)) {
        (None, false) => Verify::Nothing,
        (Some(sent), false) => {
            offered(exchange, TusExtension::Checksum)?;
            Verify::header(checksum(exchange, sent)?)
        }
        (None, true) => {
            offered(exchange, TusExtension::ChecksumTrailer)?;
            Verify::trailer(&exchange.config.checksums)
        }
        (Some(_), true) => {
            return Err(Fault::Contradiction("upload-checksum is a header or a trailer, not both"));
        }
    };
    Ok(Body::new(length, verify))
}

/// Parses an `Upload-Checksum` from the head or the trailers.
fn checksum(exchange: &Exchange, sent: &HeaderValue) -> Result<Checksum, Fault> {
    Checksum::parse(sent, &exchange.config.checksums).map_err(|error| {
        let expected = match error {
            InvalidChecksum::Form => "the algorithm, a space, and the digest in base64",
            InvalidChecksum::Algorithm => "of an algorithm that tus-checksum-algorithm lists in a response to OPTIONS",
        };
        Fault::invalid(&UPLOAD_CHECKSUM, sent, expected)
    })
}

/// The `Upload-Checksum` in a trailer, whether the body `announced` it or not.
pub(in crate::server) fn trailing_checksum(
    exchange: &Exchange,
    announced: bool,
    trailers: Option<&HeaderMap>,
) -> Result<Option<Checksum>, Refusal> {
    let sent = match trailers {
        Some(trailers) => single(trailers, &UPLOAD_CHECKSUM).map_err(Fault::from)?,
        None => None,
    };
    match (sent, announced) {
        (None, false) => Ok(None),
        (Some(sent), true) => Ok(Some(checksum(exchange, sent)?)),
        (None, true) => Err(Fault::Contradiction("the trailer upload-checksum was announced but is missing").into()),
        (Some(_), false) => Err(Fault::Contradiction(
            "the trailer upload-checksum must be announced by `trailer: upload-checksum`, and not be a header as well",
        )
        .into()),
    }
}

fn metadata(config: &Config, sent: &HeaderValue) -> Result<Metadata, Fault> {
    let limit = config.max_metadata;
    if sent.len() > limit {
        return Err(Fault::MetadataTooLarge { actual: sent.len(), limit });
    }
    Ok(Metadata::parse(sent)?)
}

fn offered(exchange: &Exchange, extension: TusExtension) -> Result<(), Fault> {
    if exchange.offers(extension) { Ok(()) } else { Err(Fault::NotOffered(extension.name())) }
}
