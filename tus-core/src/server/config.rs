//! Settings that the application chooses once: limits, extensions, and the form of URLs in responses.

use std::time::{Duration, SystemTime};

use super::{Cors, Download, Location, TusExtension};
use crate::{Algorithm, Kind, Phase};

/// How uploads are served. The defaults: every extension, sha1, no size limit, no expiration, no CORS, no downloads,
/// 4096 bytes of metadata, 128 parts per final upload, and a `Location` that is an absolute path.
#[derive(Debug, Clone)]
pub struct Config {
    off: u8,
    pub(super) checksums: Vec<Algorithm>,
    pub(super) max_size: Option<u64>,
    pub(super) max_metadata: usize,
    pub(super) max_parts: usize,
    pub(super) expire_after: Option<Duration>,
    pub(super) location: Location,
    pub(super) trust_forwarded: bool,
    pub(super) cors: Cors,
    pub(super) download: Option<Download>,
    notify: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            off: 0,
            checksums: vec![Algorithm::Sha1],
            max_size: None,
            max_metadata: 4096,
            max_parts: 128,
            expire_after: None,
            location: Location::Path,
            trust_forwarded: false,
            cors: Cors::Off,
            download: None,
            notify: true,
        }
    }
}

impl Config {
    /// Turns an extension off, together with those that need it.
    pub fn without(mut self, extension: TusExtension) -> Self {
        self.off |= 1 << extension as u8;
        self
    }

    /// The checksum algorithms to offer, in this order, after `sha1`, which every server must support (tus 1.0.0,
    /// "Checksum"). By default `sha1` alone, whichever algorithms are compiled in. For a checksum in a trailer, the
    /// digests of all of them are computed.
    pub fn checksums(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.checksums = vec![Algorithm::Sha1];
        for algorithm in algorithms {
            if !self.checksums.contains(&algorithm) {
                self.checksums.push(algorithm);
            }
        }
        self
    }

    /// The maximum size of an upload in bytes; announced as `Tus-Max-Size`.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes.min(crate::MAX_LENGTH));
        self
    }

    /// The maximum length of the value of `Upload-Metadata` in bytes.
    pub fn max_metadata(mut self, bytes: usize) -> Self {
        self.max_metadata = bytes;
        self
    }

    /// The maximum number of partial uploads in a final upload.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.max_parts = parts;
        self
    }

    /// Unfinished uploads, and partial uploads, expire this long after the last request that changed them. Turns the
    /// extension `expiration` on. Finished uploads do not expire.
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// How the URL of a created upload is written.
    pub fn location(mut self, location: Location) -> Self {
        self.location = location;
        self
    }

    /// Whether to trust `Forwarded` and `X-Forwarded-*`. Only for a server that clients cannot reach except through a
    /// proxy that overwrites these headers.
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trust_forwarded = trust;
        self
    }

    /// Which pages from other origins may upload.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Serves finished uploads for download by GET at their URL. Every client that the application authorizes for
    /// [`Operation::Download`] gets the file.
    ///
    /// [`Operation::Download`]: crate::server::Operation::Download
    pub fn download(mut self, download: Download) -> Self {
        self.download = Some(download);
        self
    }

    /// Whether the application is notified of complete uploads; the default is yes. Otherwise an upload is
    /// [`Phase::Notified`] as soon as it is complete, which saves a change to its record. The driver decides this,
    /// since it knows whether there are hooks, and overrides what an application sets.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Whether an extension is on.
    pub fn offers(&self, extension: TusExtension) -> bool {
        self.off & (1 << extension as u8) == 0 && extension.needs().is_none_or(|needed| self.offers(needed))
    }

    pub(crate) fn notifies(&self) -> bool {
        self.notify
    }

    /// The phase of an upload all of whose bytes are there.
    pub(super) fn complete_phase(&self, kind: &Kind) -> Phase {
        if self.notify || *kind == Kind::Partial { Phase::Complete } else { Phase::Notified }
    }

    /// When an upload expires (R35: finished uploads stay, parts do not).
    pub(super) fn expiry(&self, kind: &Kind, is_complete: bool, now: SystemTime) -> Option<SystemTime> {
        let stays = is_complete && *kind != Kind::Partial;
        // Rounded up to seconds: an HTTP date has no fraction, and the upload must exist until the time that was
        // announced.
        let after = self.expire_after.filter(|_| !stays)?;
        let since = now.checked_add(after)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}
