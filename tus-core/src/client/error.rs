//! Why an upload failed, grouped by who caused the failure.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::Problem;

/// The cause of an error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an upload failed. Its text does not repeat its causes ([`source`](std::error::Error::source));
/// [`Error::with_causes`] includes them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something impossible.
    #[error("{0}")]
    Invalid(String),
    /// The source ended early, or is not the same as before.
    #[error("the source {problem}")]
    Source {
        /// What is wrong with it.
        problem: SourceProblem,
        /// The system's error, if the source cannot be read.
        #[source]
        cause: Option<Cause>,
    },
    /// Something failed on the client's side: a URL store, or a function of the caller.
    #[error("the client failed")]
    Local(#[source] Cause),
    /// The server does not offer what the upload needs.
    #[error("the server does not offer {0}")]
    Unsupported(String),
    /// The upload would expire before the next request: the server keeps it no longer (`max-age` of `Upload-Limit`;
    /// draft 12, "Limits").
    #[error("the upload expires before the next request")]
    Expired(#[source] Box<Error>),
    /// The upload is larger than the server accepts.
    #[error("the upload has {length} bytes, but the server accepts at most {limit}")]
    TooLarge {
        /// Length of the upload in bytes; a lower bound if the length is unknown.
        length: u64,
        /// The server's maximum (`Tus-Max-Size`; in the draft `max-size` of `Upload-Limit`).
        limit: u64,
    },
    /// The server could not be reached, or the connection broke.
    #[error("the connection failed")]
    Connection(#[source] Cause),
    /// The server is unreachable: its name is unknown, or its certificate is not trusted. Retried only if an earlier
    /// request of the same task was answered.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Cause),
    /// Nothing was sent or received for too long.
    #[error("no bytes were sent or received for {} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The server rejected the request.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The server violated the protocol.
    #[error("the response to {method} has {problem}")]
    Misbehaved {
        /// The method of the request.
        method: Method,
        /// The header that is missing or wrong.
        header: &'static HeaderName,
        /// What is wrong with it.
        problem: String,
        /// Whether the response comes from a server of the protocol: it has `Tus-Resumable`, or a header of the
        /// draft. If not, something else answered, for example a proxy or a captive portal.
        by_server: bool,
    },
    /// A redirect that the client must not follow.
    #[error("the response to {method} redirects to {location:?}, which is not followed")]
    Redirected {
        /// The method of the request.
        method: Method,
        /// The value of `Location`.
        location: String,
    },
    /// The server has not finished concatenating the parts of an upload. It may still do so.
    #[error("the server has not concatenated the parts yet")]
    Pending,
    /// The response to the concatenation of parts was lost, and the parts are gone: the server has probably
    /// concatenated them, but the URL of the upload is unknown. Repeating the call sends everything again.
    ///
    /// As long as the parts exist, the machine repeats the concatenation instead, and the server may then have the
    /// upload twice. A server that keeps parts for a while after their concatenation never causes this error.
    #[error(
        "the parts are probably concatenated, but the server's response was lost, and the upload's URL with it; to get \
         a URL, send everything again"
    )]
    Unlocated,
    /// The number of retries is exhausted.
    #[error("gave up after {retries} retries without progress")]
    GivenUp {
        /// Retries since the last progress.
        retries: u32,
        /// Why the last request failed.
        #[source]
        last: Box<Error>,
    },
    /// The time limit for the task has passed.
    #[error("not finished within {} s", limit.as_secs_f64())]
    Late {
        /// The limit: [`Retry::deadline`](super::Retry::deadline).
        limit: Duration,
        /// Why the last request failed, if it did.
        #[source]
        last: Option<Box<Error>>,
    },
    /// The server demands a longer wait than the client accepts.
    #[error("the server asks for a wait of {} s, but the client waits at most {} s", asked.as_secs(), limit.as_secs())]
    LongWait {
        /// `Retry-After`.
        asked: Duration,
        /// The maximum.
        limit: Duration,
        /// Why the request failed.
        #[source]
        last: Box<Error>,
    },
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceProblem {
    /// It cannot be opened or read. The cause is the system's error.
    #[error("{0} cannot be read")]
    Unreadable(String),
    /// It has changed since its upload began.
    #[error("{0} has changed since its upload began")]
    Changed(String),
    /// It ends before the upload does.
    #[error("ends at byte {end}, before the {length} bytes that it should have")]
    Short {
        /// Where it ends.
        end: u64,
        /// Its expected length in bytes.
        length: u64,
    },
    /// It continues after the end of the upload.
    #[error("continues after the {length} bytes for which the upload was created")]
    Long {
        /// Length of the upload in bytes.
        length: u64,
    },
    /// The upload was created with another length.
    #[error("has {length} bytes, but the upload was created for {declared}")]
    Other {
        /// Length of the source in bytes.
        length: u64,
        /// Length of the upload in bytes.
        declared: u64,
    },
    /// It ends before the offset of the upload.
    #[error("ends at byte {end}, but the upload already has {offset}")]
    Behind {
        /// Where it ends.
        end: u64,
        /// The offset of the upload.
        offset: u64,
    },
    /// The server needs bytes of a stream again that are no longer in memory.
    #[error("is past byte {0}, but the server needs it again")]
    Past(u64),
}

/// The server's rejection of a request.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {method} with {status}{}", self.words())]
#[non_exhaustive]
pub struct Refused {
    /// The method of the request.
    pub method: Method,
    /// The status of the response.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether the body has more bytes than the driver has read.
    pub truncated: bool,
    /// The problem details in the body (RFC 9457), if there are any.
    pub problem: Option<Problem>,
    /// Whether this is the application's response to the complete upload (draft 12, "Completeness": `Upload-Complete:
    /// ?1`). Retrying would change nothing.
    pub is_final: bool,
    /// Whether it says that an upload is missing, but may come from something else than its server.
    pub(super) is_doubtful: bool,
}

impl Refused {
    /// The server's description of the problem, or the beginning of the body if it is text.
    fn words(&self) -> String {
        let body = || String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        let words = self.problem.as_ref().and_then(Problem::words);
        let text = words.map_or_else(body, Into::into).trim().to_owned();
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

impl Error {
    /// A connection failure.
    pub fn connection(source: impl Into<Cause>) -> Self {
        Self::Connection(source.into())
    }

    /// A failure on the client's side.
    pub fn local(source: impl Into<Cause>) -> Self {
        Self::Local(source.into())
    }

    /// A source that cannot be read, and the system's error.
    pub fn unreadable(name: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Source { problem: SourceProblem::Unreadable(name.into()), cause: Some(cause.into()) }
    }

    /// A source that differs from what was expected.
    pub fn source_is(problem: SourceProblem) -> Self {
        Self::Source { problem, cause: None }
    }

    /// The text followed by those of all causes, separated by colons.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let _ = write!(text, ": {cause}");
            next = cause.source();
        }
        text
    }

    /// The error of the last request, if the client has given up.
    pub fn last(&self) -> &Self {
        match self {
            Self::GivenUp { last, .. }
            | Self::LongWait { last, .. }
            | Self::Late { last: Some(last), .. }
            | Self::Expired(last) => last.last(),
            _ => self,
        }
    }

    /// The status of the server's rejection, including the last one before the client gave up.
    pub fn status(&self) -> Option<StatusCode> {
        match self.last() {
            Self::Refused(refused) => Some(refused.status),
            _ => None,
        }
    }

    /// Whether the upload does not exist, or no longer, so that a new one must be started (tus 1.0.0, "Expiration":
    /// "In both cases the Client SHOULD start a new upload").
    ///
    /// In tus, a 404 or 410 without `Tus-Resumable` may come from a proxy while the server restarts. It is retried as a
    /// temporary failure, and believed after eight of them in a row, or if the retries end with two of them (with one if
    /// nothing is retried); at once if it is the first response of the URL of a new upload without bytes.
    pub fn is_gone(&self) -> bool {
        let gone = matches!(self.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE));
        gone && !self.is_final() && !self.is_doubtful() || matches!(self, Self::Expired(_))
    }

    /// Whether the upload seems to be missing, but something else than its server may say so.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self.last(), Self::Refused(refused) if refused.is_doubtful)
    }

    /// Whether this is the application's response to the complete upload ([`Refused::is_final`]): the upload is over.
    pub fn is_final(&self) -> bool {
        matches!(self.last(), Self::Refused(refused) if refused.is_final)
    }

    /// Whether the same request may succeed later. `answered`: whether the server has answered a request before.
    pub(super) fn is_passing(&self, answered: bool) -> bool {
        match self {
            Self::Connection(_) | Self::Silent(_) => true,
            Self::Unreachable(_) => answered,
            Self::Misbehaved { by_server, .. } => !by_server,
            Self::Refused(refused) if refused.is_final => false,
            Self::Refused(refused) if refused.is_doubtful => true,
            Self::Refused(refused) => match refused.status.as_u16() {
                // Not implemented; HTTP version not supported.
                501 | 505 => false,
                status => status >= 500 || matches!(status, 408 | 409 | 423 | 425 | 429 | 460),
            },
            _ => false,
        }
    }

    /// Whether the server reported a wrong offset, so that the client can ask for the right one immediately.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refused) if refused.status == StatusCode::CONFLICT)
    }

    /// Whether the request took too long: silence, a server's timeout, or what a proxy makes of these (524 is
    /// Cloudflare's).
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Refused(refused) => matches!(refused.status.as_u16(), 408 | 504 | 524),
            _ => false,
        }
    }

    /// Whether the connection broke, or a proxy's to its server. The reason may be a limit on the way that the request
    /// was too large for, or any other.
    pub(super) fn is_broken(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused(refused) => matches!(refused.status.as_u16(), 502 | 503),
            _ => false,
        }
    }
}
