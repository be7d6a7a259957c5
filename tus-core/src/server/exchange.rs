//! The data that every step of an exchange carries. All responses are made here.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{
    Authorize, Config, FinishReply, Load, Mount, Refusal, Step, TusExtension,
    ask::{Action, Ask},
    cors::CorsHeaders,
    dialect::{self, Speech},
    location::Endpoint,
    outcome::Outcome,
};
use crate::{Phase, Upload, UploadId};

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
    cors: CorsHeaders,
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

    pub(super) fn start(self: Box<Self>, ask: Ask) -> Step {
        match ask {
            Ask::Options => self.respond(Outcome::Options),
            Ask::Create(creation) => Authorize::creation(self, creation),
            Ask::Existing(id, action) => self.load(id, action),
        }
    }

    fn load(self: Box<Self>, id: UploadId, action: Action) -> Step {
        Load::of(self, id, action)
    }

    /// Whether an extension is on and the request can carry what it needs.
    pub(super) fn offers(&self, extension: TusExtension) -> bool {
        self.config.offers(extension) && extension.is_carried(self.trailers)
    }

    pub(super) fn respond(self: Box<Self>, outcome: Outcome<'_>) -> Step {
        Step::Respond(self.response(outcome))
    }

    pub(super) fn response(&self, outcome: Outcome<'_>) -> Response<Bytes> {
        let mut response = dialect::render(self, outcome);
        self.cors.add_to(&mut response);
        response
    }

    /// The response to a request that completed an upload: the application may add to it.
    pub(super) fn respond_with(self: Box<Self>, outcome: Outcome<'_>, reply: FinishReply) -> Step {
        let mut response = dialect::render(&self, outcome);
        reply.add_to(&mut response, self.needs_reply());
        self.cors.add_to(&mut response);
        Step::Respond(response)
    }

    /// Whether the application determines the response to a request that completes an upload, and has to be asked.
    pub(super) fn needs_reply(&self) -> bool {
        matches!(self.speech, Speech::Draft(_))
    }

    pub(super) fn refuse(self: Box<Self>, refusal: impl Into<Refusal>) -> Step {
        let expires = self.expires;
        self.respond(Outcome::Refused(refusal.into(), expires))
    }

    pub(super) fn refusal(&self, refusal: Refusal) -> Response<Bytes> {
        self.response(Outcome::Refused(refusal, None))
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
