//! What the application decides once: limits, extensions, and how responses are addressed.

use std::time::Duration;

use crate::{Cors, Download, Location};

/// An extension of tus 1.0.0 that can be turned off.
///
/// `expiration` is not among them: it is on exactly when [`Config::expire_after`] was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Extension {
    /// Uploads are created by POST.
    Creation,
    /// The POST may bring bytes; needs [`Extension::Creation`].
    CreationWithUpload,
    /// The length may be told later; needs [`Extension::Creation`].
    CreationDeferLength,
    /// A body is compared to its checksum.
    Checksum,
    /// The checksum may follow the body; needs [`Extension::Checksum`].
    ChecksumTrailer,
    /// Uploads are deleted by DELETE.
    Termination,
    /// Uploads are made of partial uploads; needs [`Extension::Creation`].
    Concatenation,
    /// They may be joined before all parts are there; needs [`Extension::Concatenation`].
    ConcatenationUnfinished,
}

impl Extension {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Self; 8] = [
        Self::Creation,
        Self::CreationWithUpload,
        Self::CreationDeferLength,
        Self::Checksum,
        Self::ChecksumTrailer,
        Self::Termination,
        Self::Concatenation,
        Self::ConcatenationUnfinished,
    ];

    /// The name in `Tus-Extension`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::CreationWithUpload => "creation-with-upload",
            Self::CreationDeferLength => "creation-defer-length",
            Self::Checksum => "checksum",
            Self::ChecksumTrailer => "checksum-trailer",
            Self::Termination => "termination",
            Self::Concatenation => "concatenation",
            Self::ConcatenationUnfinished => "concatenation-unfinished",
        }
    }

    /// The extension without which this one makes no sense.
    const fn needs(self) -> Option<Self> {
        match self {
            Self::Creation | Self::Checksum | Self::Termination => None,
            Self::CreationWithUpload | Self::CreationDeferLength | Self::Concatenation => Some(Self::Creation),
            Self::ChecksumTrailer => Some(Self::Checksum),
            Self::ConcatenationUnfinished => Some(Self::Concatenation),
        }
    }
}

/// How uploads are served. The defaults: every extension, no limit of size, no expiry, no CORS, no
/// download, 4096 bytes of metadata, and a `Location` that is an absolute path.
#[derive(Debug, Clone)]
pub struct Config {
    off: u8,
    max_size: Option<u64>,
    max_metadata: usize,
    expire_after: Option<Duration>,
    location: Location,
    trust_forwarded: bool,
    cors: Cors,
    download: Option<Download>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            off: 0,
            max_size: None,
            max_metadata: 4096,
            expire_after: None,
            location: Location::Path,
            trust_forwarded: false,
            cors: Cors::Off,
            download: None,
        }
    }
}

impl Config {
    /// Turns an extension off, and with it those that need it.
    pub fn without(mut self, extension: Extension) -> Self {
        self.off |= 1 << extension as u8;
        self
    }

    /// The most bytes an upload may have; announced as `Tus-Max-Size`.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes.min(crate::MAX_LENGTH));
        self
    }

    /// The most bytes the value of `Upload-Metadata` may have.
    pub fn max_metadata(mut self, bytes: usize) -> Self {
        self.max_metadata = bytes;
        self
    }

    /// Unfinished uploads, and partial ones, go away so long after the last request that changed
    /// them. Turns the extension `expiration` on. Finished uploads stay.
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// How the URL of a created upload is written.
    pub fn location(mut self, location: Location) -> Self {
        self.location = location;
        self
    }

    /// Whether `Forwarded` and `X-Forwarded-*` are believed. Only for a server that clients can
    /// reach through a proxy alone, which overwrites these headers.
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trust_forwarded = trust;
        self
    }

    /// Which pages of other origins may upload.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Serves finished uploads by GET at their URL. The application is asked ([`Operation::Download`]), and
    /// whoever it lets pass gets the file.
    ///
    /// [`Operation::Download`]: crate::server::Operation::Download
    pub fn download(mut self, download: Download) -> Self {
        self.download = Some(download);
        self
    }

    /// Whether an extension is on.
    pub fn offers(&self, extension: Extension) -> bool {
        self.off & (1 << extension as u8) == 0 && extension.needs().is_none_or(|needed| self.offers(needed))
    }

    pub(crate) fn size_limit(&self) -> Option<u64> {
        self.max_size
    }

    pub(crate) fn metadata_limit(&self) -> usize {
        self.max_metadata
    }

    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        self.expire_after
    }

    pub(crate) fn locations(&self) -> &Location {
        &self.location
    }

    pub(crate) fn trusts_forwarded(&self) -> bool {
        self.trust_forwarded
    }

    pub(crate) fn cross_origin(&self) -> &Cors {
        &self.cors
    }

    pub(crate) fn downloads(&self) -> Option<&Download> {
        self.download.as_ref()
    }

    /// The value of `Tus-Extension`; `None` where there is none.
    pub(crate) fn extension_list(&self) -> Option<String> {
        let mut names: Vec<_> = Extension::ALL.iter().filter(|e| self.offers(**e)).map(|e| e.name()).collect();
        if self.expire_after.is_some() {
            names.push("expiration");
        }
        (!names.is_empty()).then(|| names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_goes_with_the_one_it_needs() {
        let config = Config::default().without(Extension::Creation).without(Extension::Checksum);
        assert_eq!(config.extension_list().as_deref(), Some("termination"));
        let config = config.without(Extension::Termination);
        assert_eq!(config.extension_list(), None);
        assert_eq!(config.expire_after(Duration::from_secs(1)).extension_list().as_deref(), Some("expiration"));
    }
}
