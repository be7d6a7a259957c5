//! The dialect of the IETF's draft "Resumable Uploads for HTTP": draft 12, and the earlier and later versions that
//! clients use (see `interop`).

mod digest;
mod interim;
mod interop;
mod limits;
mod metadata;
mod problem;
mod request;
mod resource;
mod response;

use http::{Method, request::Parts};

pub(in crate::server) use self::digest::kept as repr_digest;
use self::interop::Rules;
pub(crate) use self::problem::Problem;
pub(in crate::server) use self::resource::{
    MAY_CREATE, announce as announce_resource, creates as creates_at_resource, handlers_head, keepable,
};
pub(super) use self::{
    interim::{interim_creation, interim_offset},
    request::{is_partial_upload, may_terminate, parse},
    response::{announce, render},
};
use crate::{
    Dialect, field,
    header::{UPLOAD_COMPLETE, UPLOAD_DRAFT_INTEROP_VERSION},
    server::Config,
};

/// Whether proxies add a header of this name to the requests that they forward (RFC 7239; RFC 9110, section 7.6.3).
fn is_of_proxy(name: &str) -> bool {
    name == "forwarded" || name == "via" || name.starts_with("x-forwarded-") || name == "x-real-ip"
}

/// The version of the draft that a request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Spoken {
    rules: &'static Rules,
    /// Whether the client may get interim responses: it named a known version.
    is_named: bool,
}

impl Spoken {
    /// The version that a request uses, if it uses the draft.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        match field::integer(&head.headers, &UPLOAD_DRAFT_INTEROP_VERSION) {
            Some(version) => Some(match Rules::of(version) {
                Some(rules) => Self { rules, is_named: true },
                None => Self::newest(),
            }),
            None => {
                let is_complete = || field::boolean(&head.headers, &UPLOAD_COMPLETE);
                let is_append = || head.method == Method::PATCH && is_partial_upload(&head.headers);
                (is_complete().is_some() || is_append()).then(Self::newest)
            }
        }
    }

    /// No interim response is sent to a proxy, unless the application says that the proxy forwards it.
    pub(super) fn unless_proxied(mut self, config: &Config, head: &Parts) -> Self {
        let is_proxied = || head.headers.keys().any(|name| is_of_proxy(name.as_str()));
        self.is_named &= config.interim_through_proxies || !is_proxied();
        self
    }

    /// The version that the client of an upload used at creation.
    pub(super) fn stored(version: u8) -> Self {
        let rules = Rules::of(version.into()).unwrap_or(Rules::newest());
        Self { rules, is_named: false }
    }

    pub(super) fn newest() -> Self {
        Self { rules: Rules::newest(), is_named: false }
    }

    /// The dialect in a new upload's record.
    pub(super) fn dialect(self) -> Dialect {
        Dialect::Draft(self.rules.version)
    }
}
