//! The dialect of a request, by its head.

use http::{Method, request::Parts};

use super::draft::spoken::Spoken;
use crate::{
    Dialect,
    header::{TUS_RESUMABLE, X_HTTP_METHOD_OVERRIDE},
    server::{Config, location::Endpoint, target::Target},
};

/// The dialect of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Speech {
    Tus,
    Draft(Spoken),
    /// The dialect of the upload that the request is for.
    Unsaid,
}

impl Speech {
    pub(in crate::server) fn of(config: &Config, head: &Parts, endpoint: &Endpoint) -> Self {
        if head.headers.contains_key(&TUS_RESUMABLE) || !config.draft {
            return Self::Tus;
        }
        if let Some(spoken) = Spoken::of(head) {
            return Self::Draft(spoken.unless_unread(config, head));
        }
        let is_plain = matches!(head.method, Method::HEAD | Method::GET | Method::DELETE)
            && !head.headers.contains_key(&X_HTTP_METHOD_OVERRIDE);
        match config.tus && endpoint.resource().is_none() {
            _ if is_plain && matches!(endpoint.target(head.uri.path()), Target::Upload(_)) => Self::Unsaid,
            true => Self::Tus,
            false => Self::Draft(Spoken::newest()),
        }
    }

    /// The dialect of an upload that such a request creates.
    pub(in crate::server) fn dialect(self) -> Dialect {
        match self {
            Self::Tus | Self::Unsaid => Dialect::Tus,
            Self::Draft(spoken) => spoken.dialect(),
        }
    }
}
