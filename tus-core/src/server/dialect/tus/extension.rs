//! The extensions of tus 1.0.0, and which of them the server offers.

use crate::server::Config;

/// An extension of tus 1.0.0 that can be turned off.
///
/// `expiration` is not among them: it is on only if [`Config::expire_after`] was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum TusExtension {
    /// Uploads are created by POST.
    Creation,
    /// The POST may contain bytes; needs [`TusExtension::Creation`].
    CreationWithUpload,
    /// The length may be declared later; needs [`TusExtension::Creation`].
    CreationDeferLength,
    /// A body is verified against its checksum.
    Checksum,
    /// The checksum may follow the body; needs [`TusExtension::Checksum`].
    ChecksumTrailer,
    /// Uploads are deleted by DELETE.
    Termination,
    /// Final uploads consist of partial uploads; needs [`TusExtension::Creation`].
    Concatenation,
    /// Final uploads may be created before all parts are complete; needs [`TusExtension::Concatenation`].
    ConcatenationUnfinished,
}

impl TusExtension {
    /// All extensions, in the order in which they are announced.
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

    /// Whether requests to this server can carry what the extension needs.
    pub(in crate::server) fn is_carried(self, trailers: bool) -> bool {
        self != Self::ChecksumTrailer || trailers
    }

    /// The extension that this one needs.
    pub(in crate::server) const fn needs(self) -> Option<Self> {
        match self {
            Self::Creation | Self::Checksum | Self::Termination => None,
            Self::CreationWithUpload | Self::CreationDeferLength | Self::Concatenation => Some(Self::Creation),
            Self::ChecksumTrailer => Some(Self::Checksum),
            Self::ConcatenationUnfinished => Some(Self::Concatenation),
        }
    }
}

/// The value of `Tus-Extension`; `None` if the server offers no extension.
pub(super) fn list(config: &Config, trailers: bool) -> Option<String> {
    let offered = |extension: &&TusExtension| config.offers(**extension) && extension.is_carried(trailers);
    let mut names: Vec<_> = TusExtension::ALL.iter().filter(offered).map(|extension| extension.name()).collect();
    if config.expire_after.is_some() {
        names.push("expiration");
    }
    (!names.is_empty()).then(|| names.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_extension_is_off_without_the_one_it_needs() {
        let config = Config::default().without(TusExtension::Creation).without(TusExtension::Checksum);
        assert_eq!(list(&config, true).as_deref(), Some("termination"));
        assert_eq!(
            list(&Config::default(), false).unwrap().matches("checksum").count(),
            1,
            "no trailers, no extension"
        );
        let config = config.without(TusExtension::Termination);
        assert_eq!(list(&config, true), None);
        assert_eq!(list(&config.expire_after(Duration::from_secs(1)), true).as_deref(), Some("expiration"));
    }
}
