//! What every step of an exchange carries along, and the one place where responses are made.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Response, header, request::Parts};

use super::{
    Authorize, Load, Reply, Step,
    deliver::Conditions,
    hold::Then,
    receive::Body,
    tus::{self, Outcome},
};
use crate::{Config, Kind, NewUpload, Refusal, Upload, UploadId, location::Endpoint};

/// What a request asks for, whatever dialect it asks in.
#[derive(Debug)]
pub(super) enum Ask {
    Options,
    Create(Creation),
    Inspect(UploadId),
    Append(UploadId, Append),
    Terminate(UploadId),
    Download(UploadId, Conditions),
}

/// A new upload, and the body that may come with it.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) upload: NewUpload,
    pub(super) body: Option<Body>,
}

/// Bytes to be added to an upload.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) offset: u64,
    /// The length of the whole upload, where it is declared now.
    pub(super) length: Option<u64>,
    pub(super) body: Body,
}

pub(super) struct Exchange {
    pub(super) config: Arc<Config>,
    pub(super) endpoint: Endpoint,
    pub(super) now: SystemTime,
    /// When the upload goes away that this adds to: every response tells of it.
    pub(super) expires: Option<SystemTime>,
    cors: HeaderMap,
}

impl Exchange {
    pub(super) fn new(config: &Arc<Config>, head: &Parts, mount: &str, now: SystemTime) -> Box<Self> {
        Box::new(Self {
            config: config.clone(),
            endpoint: Endpoint::new(config, head, mount),
            now,
            expires: None,
            cors: config.cross_origin().headers(head),
        })
    }

    /// An exchange without a client.
    pub(super) fn detached(config: &Arc<Config>, now: SystemTime) -> Box<Self> {
        Self::new(config, &http::Request::new(()).into_parts().0, "", now)
    }

    pub(super) fn start(self: Box<Self>, ask: Ask) -> Step {
        match ask {
            Ask::Options => self.respond(Outcome::Options),
            Ask::Create(creation) => Authorize::creation(self, creation),
            Ask::Inspect(id) => Load::of(self, id, Then::Inspect),
            Ask::Append(id, append) => Load::of(self, id, Then::Append(append)),
            Ask::Terminate(id) => Load::of(self, id, Then::Terminate),
            Ask::Download(id, conditions) => Load::of(self, id, Then::Download(conditions)),
        }
    }

    pub(super) fn respond(self: Box<Self>, outcome: Outcome<'_>) -> Step {
        Step::Respond(self.response(outcome))
    }

    pub(super) fn response(&self, outcome: Outcome<'_>) -> Response<Bytes> {
        self.across_origins(tus::render(&self.config, &self.endpoint, outcome))
    }

    /// The response to a request that made an upload whole: the application may add to it.
    pub(super) fn respond_with(self: Box<Self>, outcome: Outcome<'_>, reply: Reply) -> Step {
        let mut response = tus::render(&self.config, &self.endpoint, outcome);
        reply.add_to(&mut response);
        Step::Respond(self.across_origins(response))
    }

    pub(super) fn refuse(self: Box<Self>, refusal: Refusal) -> Step {
        let expires = self.expires;
        self.respond(Outcome::Refused(refusal, expires))
    }

    pub(super) fn refusal(self: Box<Self>, refusal: Refusal) -> Response<Bytes> {
        self.response(Outcome::Refused(refusal, None))
    }

    fn across_origins(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        let headers = response.headers_mut();
        for (name, value) in &self.cors {
            // The application may have said that it varies by something else as well.
            if name == header::VARY {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
        }
        response
    }

    /// When an upload in this state goes away (R35: finished uploads stay, parts do not).
    pub(super) fn expiry(&self, kind: &Kind, complete: bool, now: SystemTime) -> Option<SystemTime> {
        let stays = complete && *kind != Kind::Partial;
        // Whole seconds, upwards: an HTTP date has no fraction, and must not promise more than is kept.
        let after = self.config.idle_limit().filter(|_| !stays)?;
        let since = now.checked_add(after)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// An upload that requests can still change or find: there, and not past its time.
pub(super) fn present(upload: Option<Upload>, now: SystemTime) -> Result<Upload, Refusal> {
    let upload = upload.ok_or(Refusal::NotFound)?;
    if upload.is_expired(now) { Err(Refusal::Expired) } else { Ok(upload) }
}
