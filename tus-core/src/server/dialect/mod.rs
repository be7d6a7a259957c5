//! The dialects: each parses a request into what it [asks](super::ask) for, and writes its [outcome](super::outcome) as
//! a response. Among the steps, statuses and header names live only here.
//!
//! One endpoint supports both. The dialect of a request (`speech`, and `resolve` for rule 4):
//!
//! 1. `Tus-Resumable` selects tus. Apple's URLSession adds the draft's headers to every upload, including those of a
//!    tus client; together with `Tus-Resumable` they mean nothing.
//! 2. A completeness, an interop version, or an append of `application/partial-upload` selects the draft.
//! 3. OPTIONS is answered for both.
//! 4. HEAD, GET and DELETE of an upload without any of these use the dialect in which the upload was created.
//! 5. All other requests are tus.

pub(super) mod draft;
pub(super) mod file;
pub(super) mod speech;
pub(super) mod tus;

use bytes::Bytes;
use http::{Method, Response, request::Parts};

pub(super) use self::draft::{
    MAY_CREATE, announce_resource, creates_at_resource, handlers_head, keepable, repr_digest,
};
pub use self::tus::TusExtension;
pub(super) use self::tus::creation_as_stored;
use self::{draft::spoken::Spoken, speech::Speech, tus::is_coded};
use super::{
    Failure, Refusal,
    ask::{Action, Ask},
    exchange::Exchange,
    outcome::Outcome,
    target::Target,
};
use crate::{Checksum, Dialect, Phase, Upload};

pub(super) fn parse(exchange: &Exchange, head: &Parts) -> Result<Ask, Refusal> {
    match (exchange.speech, &head.method) {
        (Speech::Tus, &Method::OPTIONS) if !exchange.config.tus => Ok(Ask::Options),
        (Speech::Tus, _) => tus::parse(exchange, head),
        (Speech::Draft(spoken), _) => draft::parse(exchange, spoken, head),
        (Speech::Unsaid, method) => {
            let Target::Upload(id) = exchange.endpoint.target(head.uri.path()) else {
                return Err(Refusal::NotFound);
            };
            let action = match *method {
                Method::DELETE => Action::Terminate,
                Method::HEAD | Method::GET if exchange.endpoint.resource().is_some() => Action::Inspect,
                Method::HEAD if exchange.config.download.is_none() => Action::Inspect,
                _ => Action::Download(file::Conditions::of(method, &head.headers)),
            };
            Ok(Ask::Existing(id, action))
        }
    }
}

/// A request that does not state its dialect uses that of the upload, if the application allows it: a refusal does not
/// reveal it. In the draft, HEAD asks for the offset, and so does GET if there is nothing to download.
pub(super) fn resolve(exchange: &Exchange, upload: &Upload, action: Action) -> (Action, Speech) {
    let (Speech::Unsaid, Dialect::Draft(version)) = (exchange.speech, upload.dialect) else {
        return (action, exchange.speech);
    };
    let config = &exchange.config;
    let action = match action {
        Action::Download(conditions)
            if config.download.is_none() || conditions.is_head() || upload.phase != Phase::Notified =>
        {
            Action::Inspect
        }
        action => action,
    };
    (action, Speech::Draft(Spoken::stored(version)))
}

/// Whether a request may refer to an upload in this dialect. Downloads belong to no dialect. A resource of the
/// application has none, whatever the endpoint offers.
pub(super) fn admit(exchange: &Exchange, upload: &Upload, action: &Action) -> Result<(), Refusal> {
    match (exchange.speech, upload.dialect) {
        (Speech::Tus, Dialect::Tus) => Ok(()),
        (Speech::Draft(_), Dialect::Draft(_)) => match action {
            Action::Terminate => Ok(draft::may_terminate(&exchange.config)?),
            _ => Ok(()),
        },
        (Speech::Unsaid, _) => Ok(tus::unsaid(&exchange.config, &upload.id, action)?),
        (Speech::Tus, Dialect::Draft(_))
            if matches!(action, Action::Download(_)) && exchange.endpoint.resource().is_none() =>
        {
            Ok(())
        }
        (Speech::Tus, Dialect::Draft(_)) | (Speech::Draft(_), Dialect::Tus) => Err(Refusal::OtherDialect),
    }
}

pub(super) fn render(exchange: &Exchange, outcome: Outcome<'_>) -> Response<Bytes> {
    let is_options = matches!(outcome, Outcome::Options);
    let (config, speech) = (&exchange.config, exchange.speech);
    let mut response = match speech {
        Speech::Draft(spoken) if !is_options || !config.tus || exchange.endpoint.resource().is_some() => {
            draft::render(exchange, spoken, outcome)
        }
        _ => tus::render(exchange, outcome),
    };
    if is_options && config.draft && (config.offers(TusExtension::Creation) || exchange.endpoint.resource().is_some()) {
        let spoken = if let Speech::Draft(spoken) = speech { spoken } else { Spoken::newest() };
        draft::announce(exchange, spoken, &mut response);
    }
    response
}

/// The interim response that announces a new upload, for a client that can receive it.
pub(super) fn interim_creation(exchange: &Exchange, upload: &Upload) -> Option<Response<()>> {
    match exchange.speech {
        Speech::Draft(spoken) => draft::interim_creation(exchange, spoken, upload),
        Speech::Tus | Speech::Unsaid => None,
    }
}

/// The interim response with the progress of an upload.
pub(super) fn interim_offset(exchange: &Exchange, offset: u64) -> Option<Response<()>> {
    match exchange.speech {
        Speech::Draft(spoken) => draft::interim_offset(spoken, offset),
        Speech::Tus | Speech::Unsaid => None,
    }
}

/// The checksum in a trailer, whether the body `announced` it or not. The draft has none.
pub(super) fn trailing_checksum(
    exchange: &Exchange,
    announced: bool,
    trailers: Option<&http::HeaderMap>,
) -> Result<Option<Checksum>, Refusal> {
    match exchange.speech {
        Speech::Draft(_) => Ok(None),
        Speech::Tus | Speech::Unsaid => tus::trailing_checksum(exchange, announced, trailers),
    }
}

/// What both dialects say about a failure of the storage.
fn storage_failed(failure: Failure) -> &'static str {
    match failure {
        Failure::Conflict => "the upload has changed in the meantime; ask for its offset and continue from there",
        Failure::NotFound => "there is no such upload",
        Failure::Gone => "the file was moved and can no longer be downloaded here",
        Failure::Exists => "an upload with this id already exists",
        Failure::Busy => "the upload is in use elsewhere; try again in a moment",
        Failure::Full => "the server has no room left; acknowledged bytes are kept; try again later",
        Failure::Overloaded => "the server is handling too many requests of this kind; try again in a moment",
        Failure::Unavailable => {
            "the server's store does not answer at the moment; acknowledged bytes are kept; try again"
        }
        Failure::Internal => "the server failed; acknowledged bytes are kept; try again later",
    }
}

/// The rejection that users see most often, in both dialects. It states the limit.
fn too_large(limit: u64) -> String {
    format!("the upload may have at most {}; choose a smaller file", amount(limit))
}

/// A number of bytes, also in the unit that people read.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    match power.checked_sub(1).and_then(|unit| UNITS.get(unit as usize)) {
        Some(unit) => {
            let (units, rest) = (bytes >> (10 * power), bytes & ((1 << (10 * power)) - 1));
            // Rounded down, so that an upload of the stated size fits.
            let tenth = (u128::from(rest) * 10) >> (10 * power);
            let fraction = if tenth == 0 { String::new() } else { format!(".{tenth}") };
            format!("{bytes} bytes ({units}{fraction} {unit})")
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_readable_and_rounded_down() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1024 bytes (1 KiB)"),
            (1 << 20, "1048576 bytes (1 MiB)"),
            ((1 << 20) - 1, "1048575 bytes (1023.9 KiB)"),
            (5 << 29, "2684354560 bytes (2.5 GiB)"),
            (10 << 30, "10737418240 bytes (10 GiB)"),
            (u64::MAX, "18446744073709551615 bytes (15.9 EiB)"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
