//! An upload before it exists.

use std::ops::Range;

use url::Url;

use super::{Capabilities, Error, Options, Protocol, Verification};
use crate::{Metadata, TusExtension};

/// An upload to create.
#[derive(Debug, Clone, Default)]
pub struct NewUpload {
    pub(super) metadata: Metadata,
    pub(super) role: Role,
    pub(super) length: Option<u64>,
    /// The position of its first byte in the source.
    pub(super) start: u64,
    /// Whether the source may end somewhere other than at its declared length.
    pub(super) streamed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Role {
    #[default]
    Single,
    Partial,
    Final(Vec<Url>),
}

impl NewUpload {
    /// An upload of a source of this length in bytes; `None` if it is not known yet.
    pub fn new(length: Option<u64>) -> Self {
        Self { length, ..Self::default() }
    }

    /// An upload of a stream that promises this many bytes. They are read before they are sent, and the stream must
    /// end there.
    pub fn stream(length: u64) -> Self {
        Self { length: Some(length), streamed: true, ..Self::default() }
    }

    /// A part of an upload with these bytes of the source (tus 1.0.0, "Concatenation").
    pub fn partial(range: Range<u64>) -> Self {
        Self { role: Role::Partial, length: Some(range.end - range.start), start: range.start, ..Self::default() }
    }

    /// An upload that concatenates these parts, in order.
    pub fn concatenation(parts: Vec<Url>) -> Self {
        Self { role: Role::Final(parts), ..Self::default() }
    }

    /// Sets the metadata for the server.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether it depends on the server's capabilities: if the protocol does, or in tus, if it uses checksums, parts,
    /// a deferred length, or bytes in the creation. Otherwise they need not be requested.
    pub fn needs_capabilities(&self, options: &Options) -> bool {
        let simple = matches!((&self.role, self.length), (Role::Single, Some(_)));
        let plain = options.verification == Verification::Off && !options.data_in_creation;
        options.discovery
            && match options.protocol {
                Some(Protocol::Tus) => !(simple && plain),
                // The response to the creation contains everything.
                Some(Protocol::Draft) => false,
                None => true,
            }
    }

    /// The parts that it concatenates.
    pub(super) fn parts(&self) -> Option<&[Url]> {
        match &self.role {
            Role::Final(parts) => Some(parts),
            Role::Single | Role::Partial => None,
        }
    }

    /// Whether a server may offer what the upload needs.
    pub(super) fn check(&self, protocol: Protocol, capabilities: Option<&Capabilities>) -> Result<(), Error> {
        let max_size = match (protocol, &self.role) {
            // "this protocol does not support transferring an upload as multiple requests in parallel." (draft 12,
            // "Introduction")
            (Protocol::Draft, Role::Partial | Role::Final(_)) => {
                return Err(Error::Unsupported("uploads in parts: the draft has none".into()));
            }
            (Protocol::Draft, Role::Single) => {
                capabilities.and_then(|known| known.limits).and_then(|limits| limits.max_size)
            }
            (Protocol::Tus, _) => capabilities.map_or(Ok(None), |capabilities| self.check_extensions(capabilities))?,
        };
        match (self.length, max_size) {
            (Some(length), Some(limit)) if length > limit => Err(Error::TooLarge { length, limit }),
            _ => Ok(()),
        }
    }

    /// Returns the maximum size.
    fn check_extensions(&self, capabilities: &Capabilities) -> Result<Option<u64>, Error> {
        let needed = match (&self.role, self.length) {
            // The response to the creation shows whether it is possible.
            (Role::Single, Some(_)) => None,
            (Role::Single, None) => Some(TusExtension::CreationDeferLength),
            (Role::Partial | Role::Final(_), _) => Some(TusExtension::Concatenation),
        };
        if let Some(needed) = needed.filter(|needed| capabilities.offers(*needed) == Some(false)) {
            return Err(Error::Unsupported(format!("the extension {}", needed.name())));
        }
        Ok(capabilities.max_size)
    }
}
