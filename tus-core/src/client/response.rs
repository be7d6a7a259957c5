//! Strict parsing of a server's response: missing or invalid values are errors, never guesses.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use url::Url;

use super::{
    Error, Problem, Protocol, Refused, Truncated,
    target::{remove_credentials, uri},
};
use crate::header::UPLOAD_OFFSET;

/// The response to a request of this method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) method: &'a Method,
    /// The URL of the request.
    pub(super) url: &'a Url,
    pub(super) response: &'a Response<Bytes>,
    pub(super) protocol: Protocol,
    /// Whether a 404 or 410 counts even if it does not come from a server of the protocol.
    pub(super) believes: bool,
    /// Whether what is only a hint has been retried often enough.
    pub(super) is_last_try: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn status(self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(self) -> &'a HeaderMap {
        self.response.headers()
    }

    /// A successful response of the supported version.
    pub(super) fn success(self) -> Result<Self, Error> {
        self.protocol.check_version(self.response)?;
        match self.status() {
            status if status.is_success() => Ok(self),
            status if status.is_redirection() => Err(self.redirected()),
            _ => Err(self.refused()),
        }
    }

    pub(super) fn refused(self) -> Error {
        Error::Refused(Box::new(Refused {
            method: self.method.clone(),
            status: self.status(),
            headers: self.headers().clone(),
            body: self.response.body().clone(),
            truncated: self.is_truncated(),
            problem: Problem::read(self.headers(), self.response.body()),
            is_final: self.completeness() == Some(true),
            is_doubtful: self.is_doubtful(),
        }))
    }

    pub(super) fn is_truncated(self) -> bool {
        self.response.extensions().get::<Truncated>().is_some()
    }

    /// Whether it says that an upload is missing, but probably comes from a proxy while the server restarts. "The
    /// Tus-Resumable header MUST be included in every request and response except for OPTIONS requests." The draft has
    /// no such sign.
    pub(super) fn is_doubtful(self) -> bool {
        let missing = matches!(self.status(), StatusCode::NOT_FOUND | StatusCode::GONE);
        let of_an_upload = [Method::HEAD, Method::PATCH, Method::DELETE].contains(self.method);
        let foreign = self.protocol == Protocol::Tus && !self.protocol.is_spoken_in(self.headers());
        missing && of_an_upload && foreign && !self.believes
    }

    pub(super) fn redirected(self) -> Error {
        let location = self.headers().get(header::LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Error::Redirected { method: self.method.clone(), location: location.unwrap_or_default().into_owned() }
    }

    /// A header that is a number of bytes; `None` if it is missing.
    pub(super) fn number(self, name: &'static HeaderName) -> Result<Option<u64>, Error> {
        self.protocol.number(self.headers(), name).map_err(|problem| self.misbehaved(name, &problem))
    }

    /// The completeness that the response states, in a protocol where responses state it.
    pub(super) fn completeness(self) -> Option<bool> {
        self.protocol.completeness(self.headers())
    }

    /// The offset, which must be neither before `least` nor past `most`.
    pub(super) fn offset(self, least: u64, most: Option<u64>) -> Result<u64, Error> {
        let offset = self.number(&UPLOAD_OFFSET)?.ok_or_else(|| self.missing(&UPLOAD_OFFSET))?;
        match most {
            _ if offset < least => {
                Err(self.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, after {least} were acknowledged")))
            }
            Some(most) if offset > most => {
                Err(self.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, but at most {most} can be there")))
            }
            _ => Ok(offset),
        }
    }

    /// The URL in `Location`, which may be relative to that of the request, without credentials. It never leads from
    /// https to http: a server behind an https proxy may not know about the proxy, so a URL on the same host means
    /// the origin of the request. On another host it is an error.
    pub(super) fn location(self) -> Result<Url, Error> {
        let value = self.headers().get(header::LOCATION).ok_or_else(|| self.missing(&header::LOCATION))?;
        let text = value.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
        let url = text.and_then(|text| self.url.join(text).ok()).filter(|url| uri(url).is_some());
        let not_a_url = || self.misbehaved(&header::LOCATION, &format!("{value:?}, which is not a URL"));
        let mut url = url.ok_or_else(not_a_url)?;
        remove_credentials(&mut url);
        url.set_fragment(None);
        if self.is_downgrade(&url) {
            if url.host() != self.url.host() {
                return Err(self.redirected());
            }
            // The order matters: a URL without a port keeps none.
            let secure = url.set_scheme("https").and_then(|()| url.set_port(self.url.port()));
            secure.map_err(|()| not_a_url())?;
        }
        Ok(url)
    }

    /// Where to send the request instead, if the redirect keeps the method (RFC 9110, 15.4.8 and 15.4.9), and whether
    /// the redirect is permanent. Never from https to http.
    pub(super) fn redirect(self) -> Result<Option<(Url, bool)>, Error> {
        let permanent = match self.status() {
            StatusCode::TEMPORARY_REDIRECT => false,
            StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        // The application's response to the complete upload redirects its user.
        if self.completeness() == Some(true) {
            return Ok(None);
        }
        let text = self.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.url.join(text).is_ok_and(|url| self.is_downgrade(&url)) {
            return Err(self.redirected());
        }
        self.location().map(|url| Some((url, permanent)))
    }

    fn is_downgrade(self, url: &Url) -> bool {
        self.url.scheme() == "https" && url.scheme() == "http"
    }

    /// How long the server asks the client to wait (RFC 9110, 10.2.3). A date is relative to the server's own date,
    /// so that the clocks need not agree.
    pub(super) fn retry_after(self) -> Option<Duration> {
        let text = self.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = httpdate::parse_http_date(text).ok()?;
        let now = self.headers().get(header::DATE)?.to_str().ok()?;
        at.duration_since(httpdate::parse_http_date(now).ok()?).ok()
    }

    fn missing(self, name: &'static HeaderName) -> Error {
        self.error(name, format!("no header {name}"))
    }

    pub(super) fn misbehaved(self, name: &'static HeaderName, problem: &str) -> Error {
        self.error(name, format!("the header {name} {problem}"))
    }

    fn error(self, header: &'static HeaderName, problem: String) -> Error {
        let by_server = self.protocol.is_spoken_in(self.headers());
        Error::Misbehaved { method: self.method.clone(), header, problem, by_server }
    }
}
