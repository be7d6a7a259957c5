//! What a request of the draft asks for.

use http::{HeaderMap, Method, request::Parts};

use super::{
    Problem, completeness,
    content::{content_length, is_partial_upload},
    digest,
    interop::Rules,
    metadata, resource,
    spoken::Spoken,
};
use crate::{
    Kind, NewUpload, TusExtension,
    field::{self, MAX_INTEGER},
    header::{CONTENT_DIGEST, REPR_DIGEST, UPLOAD_LENGTH, UPLOAD_OFFSET},
    server::{
        Config, Refusal,
        ask::{Action, Append, Ask, Body, Completes, Creation},
        dialect::is_coded,
        exchange::Exchange,
        target::Target,
        verify::Verify,
    },
};

pub(in crate::server::dialect) fn parse(exchange: &Exchange, spoken: Spoken, head: &Parts) -> Result<Ask, Refusal> {
    let (rules, config) = (spoken.rules, &*exchange.config);
    if head.method == Method::OPTIONS {
        return Ok(Ask::Options);
    }
    if is_coded(&head.headers) {
        return Err(Problem::TransferCoding.into());
    }
    match exchange.endpoint.target(head.uri.path()) {
        Target::Nothing => Err(Refusal::NotFound),
        Target::Endpoint => match head.method {
            ref method if exchange.endpoint.resource().is_some() && resource::is_for_content(method) => {
                let mut creation = creation(config, rules, &head.headers)?;
                resource::keep_request(&mut creation.upload, exchange, head)?;
                Ok(Ask::Create(creation))
            }
            Method::POST | Method::PUT if config.offers(TusExtension::Creation) => {
                creation(config, rules, &head.headers).map(Ask::Create)
            }
            _ => Err(not_allowed(config, &head.method, true).into()),
        },
        Target::Upload(id) => {
            let action = match head.method {
                Method::HEAD | Method::GET => Action::Inspect,
                Method::DELETE => Action::Terminate,
                Method::PATCH => return Ok(Ask::Existing(id, Action::Append(append(config, rules, &head.headers)?))),
                _ => return Err(not_allowed(config, &head.method, false).into()),
            };
            // "The request MUST NOT include the Upload-Offset or Upload-Complete header fields. The server MUST reject
            // requests with either of these fields by responding with a 400 (Bad Request) status code." (draft 03,
            // "Offset Retrieval" and "Upload Cancellation")
            if rules.refuses_state && has_state(rules, &head.headers) {
                return Err(Problem::HasState.into());
            }
            Ok(Ask::Existing(id, action))
        }
    }
}

/// Whether clients may delete uploads.
pub(in crate::server::dialect) fn may_terminate(config: &Config) -> Result<(), Problem> {
    match config.offers(TusExtension::Termination) {
        true => Ok(()),
        false => Err(not_allowed(config, &Method::DELETE, false)),
    }
}

/// The method is not allowed for an upload, or for the endpoint.
fn not_allowed(config: &Config, method: &Method, is_endpoint: bool) -> Problem {
    let creation = is_endpoint && config.offers(TusExtension::Creation);
    let methods = [
        (true, "OPTIONS"),
        (creation, "POST"),
        (creation, "PUT"),
        (!is_endpoint, "HEAD"),
        (!is_endpoint, "GET"),
        (!is_endpoint, "PATCH"),
        (!is_endpoint && config.offers(TusExtension::Termination), "DELETE"),
    ];
    let allowed: Vec<_> = methods.into_iter().filter_map(|(allowed, method)| allowed.then_some(method)).collect();
    Problem::NotAllowed { method: method.clone(), allow: allowed.join(", ") }
}

fn creation(config: &Config, rules: &Rules, headers: &HeaderMap) -> Result<Creation, Refusal> {
    let completes = completeness::read(rules, headers).ok_or(Problem::NotSaid(rules.says_incomplete))?;
    let content = content_length(headers)?;
    let declared = field::integer(headers, &UPLOAD_LENGTH);
    let length = match (declared, content.filter(|_| completes)) {
        // "If indicators (1) and (2) are both present in the same request, their indicated lengths MUST match."
        (Some(declared), Some(content)) if declared != content => {
            return Err(Problem::Lengths { declared, content }.into());
        }
        (declared, content) => declared.or(content),
    };
    check_content(config, content, completes, true)?;
    let body = body(config, rules, headers, content, completes)?;
    let mut upload = NewUpload::new(Kind::Single, length);
    upload.max_size = config.max_size;
    upload.metadata = metadata::read(config, headers)?;
    if let Some(repr_digest) = &body.repr_digest {
        digest::keep(&mut upload.verbatim, repr_digest);
    }
    // "The request content can be empty." An upload that is complete anyway is completed by its body.
    let is_complete = completes || rules.completes_at_length && length == Some(0);
    let has_digest = !matches!(body.verify, Verify::Nothing);
    let body = (is_complete || has_digest || content != Some(0)).then_some(body);
    Ok(Creation { upload, named: Vec::new(), body })
}

fn append(config: &Config, rules: &Rules, headers: &HeaderMap) -> Result<Append, Refusal> {
    if rules.has_media_type && !is_partial_upload(headers) {
        return Err(Problem::MediaType.into());
    }
    let offset = field::integer(headers, &UPLOAD_OFFSET).ok_or(Problem::NoOffset)?;
    let is_silent = rules.completes_silently && !completeness::is_present(rules, headers);
    let said = completeness::read(rules, headers).or(is_silent.then_some(true));
    let completes = said.ok_or(Problem::NotSaid(rules.says_incomplete))?;
    let content = content_length(headers)?;
    check_content(config, content, completes, false)?;
    let length = field::integer(headers, &UPLOAD_LENGTH);
    Ok(Append { offset, length, body: body(config, rules, headers, content, completes)? })
}

fn body(
    config: &Config,
    rules: &Rules,
    headers: &HeaderMap,
    length: Option<u64>,
    completes: bool,
) -> Result<Body, Problem> {
    let content_digest = crate::digest::read(headers, &CONTENT_DIGEST, config.verified())?;
    Ok(Body {
        length,
        limit: config.max_append_size,
        verify: content_digest.map_or(Verify::Nothing, Verify::header),
        completes: match completes {
            true => Completes::AtEnd,
            false if rules.completes_at_length => Completes::AtLength,
            false => Completes::Never,
        },
        repr_digest: crate::digest::read(headers, &REPR_DIGEST, config.verified())?,
        invalidates: rules.invalidates,
        fails_if_cut: rules.succeeds_completely && completes,
    })
}

fn has_state(rules: &Rules, headers: &HeaderMap) -> bool {
    field::integer(headers, &UPLOAD_OFFSET).is_some() || completeness::read(rules, headers).is_some()
}

/// The limits of a single request's content (draft 12, "Limits").
fn check_content(config: &Config, content: Option<u64>, completes: bool, creates: bool) -> Result<(), Refusal> {
    let Some(content) = content else {
        return Ok(());
    };
    if let Some(limit) = config.max_append_size.filter(|limit| content > *limit) {
        return Err(Refusal::BodyTooLarge { limit });
    }
    // "This limit does not apply to upload creation requests with no content, or to requests completing the upload"
    let is_exempt = completes || creates && content == 0;
    match config.min_append_size.filter(|limit| !is_exempt && content < *limit) {
        Some(limit) => Err(Refusal::BodyTooSmall { limit }),
        None if content > MAX_INTEGER => Err(Refusal::TooLarge { limit: MAX_INTEGER }),
        None => Ok(()),
    }
}
