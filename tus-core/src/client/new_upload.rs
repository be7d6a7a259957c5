//! An upload before it exists: what the request that creates it says.

use std::ops::Range;

use http::{HeaderValue, Method};
use url::Url;

use super::{Capabilities, Error, Options, Verification, step::Call};
use crate::{
    Metadata, TusExtension,
    header::{UPLOAD_CONCAT, UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH, UPLOAD_METADATA},
};

/// An upload to create.
#[derive(Debug, Clone, Default)]
pub struct NewUpload {
    metadata: Metadata,
    role: Role,
    pub(super) length: Option<u64>,
    /// The position of its first byte in the source.
    pub(super) start: u64,
    /// Whether the source may end elsewhere than where its length says.
    pub(super) streamed: bool,
}

#[derive(Debug, Clone, Default)]
enum Role {
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

    /// An upload of a stream that promises to have this many bytes. They are read before they are sent, and the stream
    /// must end there.
    pub fn stream(length: u64) -> Self {
        Self { length: Some(length), streamed: true, ..Self::default() }
    }

    /// A part of an upload, with these bytes of the source (tus 1.0.0, "Concatenation").
    pub fn partial(range: Range<u64>) -> Self {
        Self { role: Role::Partial, length: Some(range.end - range.start), start: range.start, ..Self::default() }
    }

    /// An upload that concatenates these parts, in order.
    pub fn concatenation(parts: Vec<Url>) -> Self {
        Self { role: Role::Final(parts), ..Self::default() }
    }

    /// Sets the metadata that the server gets.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether it depends on the server's capabilities: if it has checksums, parts, a deferred length, or bytes in the
    /// creation. If not, they need not be asked for.
    pub fn needs_capabilities(&self, options: &Options) -> bool {
        let simple = matches!((&self.role, self.length), (Role::Single, Some(_)));
        let plain = options.verification == Verification::Off && !options.data_in_creation;
        options.discovery && !(simple && plain)
    }

    /// The parts that it concatenates.
    pub(super) fn parts(&self) -> Option<&[Url]> {
        match &self.role {
            Role::Final(parts) => Some(parts),
            Role::Single | Role::Partial => None,
        }
    }

    /// Whether a server may offer what the upload needs.
    pub(super) fn check(&self, capabilities: &Capabilities) -> Result<(), Error> {
        let needed = match (&self.role, self.length) {
            // The creation itself shows whether it is possible.
            (Role::Single, Some(_)) => None,
            (Role::Single, None) => Some(TusExtension::CreationDeferLength),
            (Role::Partial | Role::Final(_), _) => Some(TusExtension::Concatenation),
        };
        if let Some(needed) = needed.filter(|needed| capabilities.offers(*needed) == Some(false)) {
            return Err(Error::Unsupported(format!("the extension {}", needed.name())));
        }
        match (self.length, capabilities.max_size) {
            (Some(length), Some(limit)) if length > limit => Err(Error::TooLarge { length, limit }),
            _ => Ok(()),
        }
    }

    /// The request that creates it, without bytes (tus 1.0.0, "Creation").
    pub(super) fn creation(&self, endpoint: &Url) -> Call {
        let mut call = Call::new(Method::POST, endpoint);
        if let Some(metadata) = self.metadata.to_header() {
            call = call.header(&UPLOAD_METADATA, metadata);
        }
        match (&self.role, self.length) {
            // "The Client MUST NOT include the Upload-Length header in the final upload creation."
            (Role::Final(parts), _) => {
                let urls: Vec<_> = parts.iter().map(Url::as_str).collect();
                return call.header(&UPLOAD_CONCAT, crate::header::value(format!("final;{}", urls.join(" "))));
            }
            (Role::Partial, _) => call = call.header(&UPLOAD_CONCAT, HeaderValue::from_static("partial")),
            (Role::Single, _) => {}
        }
        match self.length {
            Some(length) => call.header(&UPLOAD_LENGTH, length),
            None => call.header(&UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
        }
    }
}
