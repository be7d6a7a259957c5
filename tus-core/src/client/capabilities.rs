//! The capabilities that a server announces in its response to OPTIONS.

use http::{HeaderMap, HeaderName};

use super::{Limits, Protocol, response::Answer};
use crate::{
    Algorithm, TusExtension,
    header::{TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_VERSION},
};

/// The capabilities of a server (tus 1.0.0, "OPTIONS"; draft 12, "Limits"). They are only a hint: often a proxy or a
/// CORS layer answers instead of the server. What is missing is therefore unknown, not absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The supported versions of the protocol, the preferred one first; empty if unknown.
    pub versions: Vec<String>,
    /// The names of the extensions; `None` if unknown.
    pub extensions: Option<Vec<String>>,
    /// The maximum size of an upload in bytes; `None` if there is none or it is unknown.
    pub max_size: Option<u64>,
    /// The names of the checksum algorithms.
    pub algorithms: Vec<String>,
    /// The limits for uploads of the IETF's draft (draft 12, "Limits"); `None` if unknown.
    pub limits: Option<Limits>,
    /// Whether nothing is known only because the request failed temporarily. Ask again soon.
    pub temporary: bool,
}

impl Capabilities {
    pub(super) fn read(answer: &Answer<'_>) -> Self {
        let headers = answer.headers();
        Self {
            versions: list(headers, &TUS_VERSION),
            extensions: headers.contains_key(&TUS_EXTENSION).then(|| list(headers, &TUS_EXTENSION)),
            // No server means 0 as a limit.
            max_size: answer.number(&TUS_MAX_SIZE).ok().flatten().filter(|size| *size > 0),
            algorithms: list(headers, &TUS_CHECKSUM_ALGORITHM),
            limits: Limits::read(headers),
            temporary: false,
        }
    }

    /// The protocol to use with the server: the draft if it announces the draft and not tus; `None` if it announces
    /// neither.
    pub fn protocol(&self) -> Option<Protocol> {
        match (self.versions.is_empty(), self.limits) {
            (false, _) => Some(Protocol::Tus),
            (true, Some(_)) => Some(Protocol::Draft),
            (true, None) => None,
        }
    }

    /// Whether an extension is offered; `None` if unknown.
    pub fn offers(&self, extension: TusExtension) -> Option<bool> {
        let extensions = self.extensions.as_ref()?;
        Some(extensions.iter().any(|name| name.eq_ignore_ascii_case(extension.name())))
    }

    /// Whether the server can verify bodies with this algorithm; `None` if unknown. Every server with the extension
    /// supports SHA-1.
    pub fn verifies(&self, algorithm: Algorithm) -> Option<bool> {
        let named = self.algorithms.iter().any(|name| name.eq_ignore_ascii_case(algorithm.name()));
        let offered = self.offers(TusExtension::Checksum)?;
        Some(offered && (named || algorithm == Algorithm::Sha1))
    }
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
