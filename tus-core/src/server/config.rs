//! Settings that the application chooses once: limits, extensions, and the form of URLs in responses.

use std::time::{Duration, SystemTime};

use super::{Cors, Download, Location, TusExtension, cors::Exposed};
use crate::{Algorithm, Kind, Phase, Upload};

/// The protocol's settings. The defaults: both dialects, every extension, sha1, no size limit, no expiration, no
/// CORS, no downloads, 4096 bytes of metadata, 16 parts per final upload, 1024 final uploads that wait for their
/// parts, and an absolute path as `Location`.
///
/// ```
/// use std::time::Duration;
///
/// use tus_core::{Algorithm, Config, Cors, TusExtension};
///
/// let config = Config::default()
///     .max_size(10 << 30)
///     .expire_after(Duration::from_secs(24 * 3600))
///     .checksums([Algorithm::Sha1])
///     .cors(Cors::Any)
///     .without(TusExtension::Concatenation);
/// assert!(!config.offers(TusExtension::Concatenation));
/// assert!(config.offers(TusExtension::Termination));
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    off: u8,
    pub(super) checksums: Vec<Algorithm>,
    pub(super) max_size: Option<u64>,
    pub(super) max_metadata: usize,
    pub(super) max_parts: usize,
    pub(super) max_pending_finals: usize,
    pub(super) expire_after: Option<Duration>,
    keep_finished: Option<Duration>,
    keep_parts: Option<Duration>,
    pub(super) location: Location,
    pub(super) trust_forwarded: bool,
    pub(super) cors: Cors,
    pub(super) exposed: Exposed,
    pub(super) download: Option<Download>,
    pub(super) tus: bool,
    pub(super) draft: bool,
    pub(super) interim_through_proxies: bool,
    pub(super) min_append_size: Option<u64>,
    pub(super) max_append_size: Option<u64>,
    notify: bool,
    shapes_responses: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            off: 0,
            checksums: vec![Algorithm::Sha1],
            max_size: None,
            max_metadata: 4096,
            max_parts: 16,
            max_pending_finals: 1024,
            expire_after: None,
            keep_finished: None,
            keep_parts: Some(Duration::from_secs(3600)),
            location: Location::Path,
            trust_forwarded: false,
            cors: Cors::Off,
            exposed: Exposed::default(),
            download: None,
            tus: true,
            draft: true,
            interim_through_proxies: false,
            min_append_size: None,
            max_append_size: None,
            notify: true,
            shapes_responses: true,
        }
    }
}

impl Config {
    /// Turns an extension off, and the extensions that need it.
    pub fn without(mut self, extension: TusExtension) -> Self {
        self.off |= 1 << extension as u8;
        self
    }

    /// Turns tus 1.0.0 off: its requests are rejected. Uploads that were created with it stay.
    pub fn without_tus(mut self) -> Self {
        self.tus = false;
        self
    }

    /// Turns the IETF's "Resumable Uploads for HTTP" off, **which is a draft** until it is an RFC. Its requests are
    /// then read as requests of tus. Uploads that were created with it stay.
    pub fn without_draft(mut self) -> Self {
        self.draft = false;
        self
    }

    /// The checksum algorithms to offer, in this order, after `sha1`, which every server must support (tus 1.0.0,
    /// "Checksum"). The default is `sha1` alone, whichever algorithms are compiled in. For a checksum in a trailer,
    /// all of these digests are computed.
    ///
    /// In the IETF's draft, `Content-Digest` and `Repr-Digest` are verified if they name one of these algorithms, and
    /// ignored otherwise: they know SHA-256 and SHA-512, so by default none is verified. To verify `Repr-Digest`, all
    /// bytes of the upload are read back. Without [`TusExtension::Checksum`], nothing is verified in either dialect.
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

    /// The maximum content of one request of the IETF's draft, in bytes; announced as `max-append-size` in
    /// `Upload-Limit` (draft 12, "Limits"). No limit by default. tus has no such limit.
    pub fn max_append_size(mut self, bytes: u64) -> Self {
        self.max_append_size = Some(bytes);
        self
    }

    /// The minimum content of one request of the IETF's draft that does not complete its upload, in bytes; announced
    /// as `min-append-size` in `Upload-Limit` (draft 12, "Limits"). No limit by default. tus has no such limit.
    pub fn min_append_size(mut self, bytes: u64) -> Self {
        self.min_append_size = Some(bytes);
        self
    }

    /// Sends interim responses (`104 Upload Resumption Supported`, to clients of the IETF's draft) even if a request
    /// has headers that proxies add (`Forwarded`, `X-Forwarded-*`, `Via`). Enable this only for a proxy that forwards
    /// them immediately, as Caddy, HAProxy and lighttpd do: nginx mistakes one for the final response, and Apache
    /// delays it.
    pub fn interim_through_proxies(mut self) -> Self {
        self.interim_through_proxies = true;
        self
    }

    /// The maximum length in bytes of `Upload-Metadata`, and of the headers that replace it in the IETF's draft
    /// (`Content-Type`, `Content-Disposition`, `Content-Encoding`).
    pub fn max_metadata(mut self, bytes: usize) -> Self {
        self.max_metadata = bytes;
        self
    }

    /// The maximum number of partial uploads in a final upload; 16 by default. Each costs work whenever the final
    /// upload is created, asked for, assembled or deleted: with 16, no request allocates memory more than ten times as
    /// often as a HEAD, or twelve times if it has a final upload assembled.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.max_parts = parts;
        self
    }

    /// The maximum number of final uploads in the storage that wait for their parts or for their assembly; 1024 by
    /// default. Each costs work whenever one of its parts becomes complete, and in every sweep. Further ones are
    /// answered with 503 and `Retry-After`. Those whose parts are complete have as much room again, because they are assembled
    /// soon. Concurrent requests may exceed the maximum slightly.
    pub fn max_pending_finals(mut self, finals: usize) -> Self {
        self.max_pending_finals = finals;
        self
    }

    /// Unfinished and partial uploads expire this long after the last request that changed them. Turns the extension
    /// `expiration` on. A part stays as long as the final upload that waits for it, and both stay as long as its
    /// other parts make progress. Finished uploads do not expire.
    pub fn expire_after(mut self, idle: Duration) -> Self {
        self.expire_after = Some(idle);
        self
    }

    /// Finished uploads are removed this long after the application was notified of them. By default they stay.
    pub fn remove_finished_after(mut self, age: Duration) -> Self {
        self.keep_finished = Some(age);
        self
    }

    /// The parts of a final upload are removed this long after its assembly, one hour by default, unless another
    /// final upload waits for them. A client that missed the response repeats its request, which names them. `None`
    /// keeps them as long as other unfinished uploads.
    pub fn keep_parts(mut self, age: Option<Duration>) -> Self {
        self.keep_parts = age;
        self
    }

    /// The form of an upload's URL.
    pub fn location(mut self, location: Location) -> Self {
        self.location = location;
        self
    }

    /// Whether to trust `Forwarded` and `X-Forwarded-*`. Enable this only if clients can reach the server only
    /// through a proxy that overwrites these headers.
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
    /// [`Operation::Download`] gets the file. If the application has moved the file away, the response is `410 Gone`,
    /// unless the application answers otherwise, for example with a [redirect](crate::Rejection::redirect).
    ///
    /// [`Operation::Download`]: crate::server::Operation::Download
    pub fn download(mut self, download: Download) -> Self {
        self.download = Some(download);
        self
    }

    /// Whether the application is notified of complete uploads; yes by default. Otherwise an upload becomes
    /// [`Phase::Notified`] as soon as it is complete, which saves a change to its record. The driver sets this,
    /// because it knows whether there are hooks, and overrides the application's setting.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Whether the application is asked for its part of the response to the request that completes an upload
    /// ([`Finish`](crate::server::Finish)); yes by default. Otherwise that response is settled as soon as the upload
    /// is complete. The driver sets this, like [`notify`](Self::notify).
    pub fn shapes_responses(mut self, shapes: bool) -> Self {
        self.shapes_responses = shapes;
        self
    }

    /// Whether an extension is on.
    pub fn offers(&self, extension: TusExtension) -> bool {
        self.off & (1 << extension as u8) == 0 && extension.needs().is_none_or(|needed| self.offers(needed))
    }

    /// The algorithms by which bodies and uploads are verified.
    pub(super) fn verified(&self) -> &[Algorithm] {
        if self.offers(TusExtension::Checksum) { &self.checksums } else { &[] }
    }

    pub(crate) fn notifies(&self) -> bool {
        self.notify
    }

    /// Whether the response to the request that completes an upload is settled. If the application shapes it, that is
    /// the case once the application has been notified: a server that restarts before that asks again.
    pub(super) fn has_responded(&self, upload: &Upload) -> bool {
        match upload.phase {
            Phase::Notified => true,
            // An application's handler always shapes its response.
            Phase::Complete => !self.shapes_responses && !upload.is_at_resource(),
            Phase::Receiving | Phase::Assembling | Phase::Invalid => false,
        }
    }

    /// The phase of an upload that has received all bytes.
    pub(super) fn complete_phase(&self, upload: &Upload) -> Phase {
        let awaits = self.notify || upload.kind == Kind::Partial || upload.is_at_resource();
        if awaits { Phase::Complete } else { Phase::Notified }
    }

    /// When an upload expires that reaches this phase now.
    pub(super) fn expiry(&self, upload: &Upload, phase: Phase, now: SystemTime) -> Option<SystemTime> {
        match (&upload.kind, phase) {
            (Kind::Partial, _) | (_, Phase::Receiving | Phase::Assembling) => rounded(now, self.expire_after?),
            // Its client has yet to ask for the response.
            (_, Phase::Complete) if upload.is_at_resource() => rounded(now, self.expire_after?),
            (_, Phase::Notified) => rounded(now, self.keep_finished?),
            (_, Phase::Complete | Phase::Invalid) => None,
        }
    }

    /// When a part expires whose final upload is assembled now.
    pub(super) fn part_expiry(&self, now: SystemTime) -> Option<SystemTime> {
        rounded(now, self.keep_parts?)
    }
}

/// Rounded up to seconds: an HTTP date has no fraction, and the upload must exist until the time that was announced.
pub(super) fn rounded(now: SystemTime, after: Duration) -> Option<SystemTime> {
    let since = now.checked_add(after)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
