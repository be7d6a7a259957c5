//! The capabilities that a server announces in its response to OPTIONS.

use http::{HeaderMap, HeaderName};

use super::{Error, response::Answer};
use crate::{
    Algorithm, TusExtension,
    header::{TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_VERSION},
};

/// The capabilities of a server (tus 1.0.0, "OPTIONS").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The versions of the protocol, the preferred one first.
    pub versions: Vec<String>,
    /// The names of the extensions.
    pub extensions: Vec<String>,
    /// The maximum size of an upload in bytes; `None` if the server announces none.
    pub max_size: Option<u64>,
    /// The names of the checksum algorithms.
    pub algorithms: Vec<String>,
}

impl Capabilities {
    pub(super) fn read(answer: &Answer<'_>) -> Result<Self, Error> {
        let headers = answer.headers();
        Ok(Self {
            versions: list(headers, &TUS_VERSION),
            extensions: list(headers, &TUS_EXTENSION),
            max_size: answer.number(&TUS_MAX_SIZE)?,
            algorithms: list(headers, &TUS_CHECKSUM_ALGORITHM),
        })
    }

    /// Whether an extension is offered.
    pub fn offers(&self, extension: TusExtension) -> bool {
        self.extensions.iter().any(|name| name == extension.name())
    }

    /// Whether the server can verify bodies by this algorithm. Every server with the extension supports SHA-1.
    pub fn verifies(&self, algorithm: Algorithm) -> bool {
        let named = self.algorithms.iter().any(|name| name == algorithm.name());
        self.offers(TusExtension::Checksum) && (named || algorithm == Algorithm::Sha1)
    }
}

fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
