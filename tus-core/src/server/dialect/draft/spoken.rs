//! The version of the draft that a request uses.

use http::{Method, header, request::Parts};

use super::{content::is_partial_upload, interop::Rules};
use crate::{
    Dialect, field,
    header::{UPLOAD_COMPLETE, UPLOAD_DRAFT_INTEROP_VERSION, UPLOAD_METADATA},
    server::Config,
};

/// Whether proxies add a header of this name to the requests that they forward (RFC 7239; RFC 9110, section 7.6.3).
fn is_of_proxy(name: &str) -> bool {
    name == "forwarded" || name == "via" || name.starts_with("x-forwarded-") || name == "x-real-ip"
}

/// Whether the client probably cannot read an interim response. Browsers show pages none; they send `Sec-Fetch-Mode` to
/// secure origins and `Origin` with each of these methods. tus-js-client and tus-reqwest, which often send a header of tus
/// or a media type that says nothing about a creation, get none from their libraries.
fn reads_none(head: &Parts) -> bool {
    let is_creation = head.method != Method::PATCH;
    head.headers.contains_key("sec-fetch-mode")
        || head.headers.contains_key(header::ORIGIN)
        || head.headers.contains_key(&UPLOAD_METADATA)
        || is_creation && is_partial_upload(&head.headers)
}

/// The version of the draft that a request uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Spoken {
    pub(super) rules: &'static Rules,
    /// Whether the client may get interim responses: it named a known version.
    pub(super) is_named: bool,
}

impl Spoken {
    /// The version that a request uses, if it uses the draft.
    pub(in crate::server::dialect) fn of(head: &Parts) -> Option<Self> {
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

    /// No interim response is sent to a proxy, unless the application says that the proxy forwards it, nor to a client
    /// that cannot read it: the server must not believe that it knows the URL of its upload.
    pub(in crate::server::dialect) fn unless_unread(mut self, config: &Config, head: &Parts) -> Self {
        let is_proxied = || head.headers.keys().any(|name| is_of_proxy(name.as_str()));
        self.is_named &= config.interim_through_proxies || !is_proxied();
        self.is_named &= !reads_none(head);
        self
    }

    /// The version that the client of an upload used at creation.
    pub(in crate::server::dialect) fn stored(version: u8) -> Self {
        let rules = Rules::of(version.into()).unwrap_or(Rules::newest());
        Self { rules, is_named: false }
    }

    pub(in crate::server::dialect) fn newest() -> Self {
        Self { rules: Rules::newest(), is_named: false }
    }

    /// The dialect in a new upload's record.
    pub(in crate::server::dialect) fn dialect(self) -> Dialect {
        Dialect::Draft(self.rules.version)
    }
}
