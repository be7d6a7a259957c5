//! The data that every step of an exchange carries.

use std::{fmt, sync::Arc, time::SystemTime};

use http::request::Parts;

use super::{
    Config, Mount, Refusal, TusExtension, ask::Action, cors::CorsHeaders, dialect::speech::Speech, location::Endpoint,
};
use crate::{Phase, Upload};

pub(super) struct Exchange {
    pub(super) config: Arc<Config>,
    pub(super) endpoint: Endpoint,
    pub(super) now: SystemTime,
    /// When the upload that this request adds to expires. Every response announces it.
    pub(super) expires: Option<SystemTime>,
    /// The committed offset of the upload that this request adds to, if known. It is unknown while a body arrives.
    pub(super) at: Option<u64>,
    /// Whether the client may know its new upload already. If so, the creation is not undone.
    pub(super) informed: bool,
    /// Whether request trailers reach the server.
    pub(super) trailers: bool,
    /// The dialect of the request and its response.
    pub(super) speech: Speech,
    pub(super) cors: CorsHeaders,
}

impl Exchange {
    pub(super) fn new(config: &Arc<Config>, head: &Parts, mount: &Mount<'_>, now: SystemTime) -> Box<Self> {
        let endpoint = Endpoint::new(config, head, mount);
        Box::new(Self {
            config: config.clone(),
            speech: Speech::of(config, head, &endpoint),
            endpoint,
            now,
            expires: None,
            at: None,
            informed: false,
            trailers: mount.trailers,
            cors: config.cors.headers(head, &config.exposed),
        })
    }

    /// Whether an extension is on and the request can carry what it needs.
    pub(super) fn offers(&self, extension: TusExtension) -> bool {
        self.config.offers(extension) && extension.is_carried(self.trailers)
    }

    /// Whether the application determines the response to a request that completes an upload, and has to be asked.
    pub(super) fn needs_reply(&self) -> bool {
        matches!(self.speech, Speech::Draft(_))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Whether this action is possible on an upload: it has not expired, and is not invalid, unless it is to be deleted.
pub(super) fn check_present(upload: &Upload, action: &Action, now: SystemTime) -> Result<(), Refusal> {
    match usable(upload, now) {
        Err(Refusal::Invalid) if matches!(action, Action::Terminate) => Ok(()),
        usable => usable,
    }
}

pub(super) fn usable(upload: &Upload, now: SystemTime) -> Result<(), Refusal> {
    match upload.phase {
        _ if upload.is_expired(now) => Err(Refusal::Expired),
        Phase::Invalid => Err(Refusal::Invalid),
        _ => Ok(()),
    }
}
