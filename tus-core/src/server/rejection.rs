//! The application's rejection of a request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// The application's rejection: the response that the client gets instead.
///
/// ```
/// use http::{HeaderValue, StatusCode, header};
/// use tus_core::Rejection;
///
/// let closed = Rejection::new(StatusCode::SERVICE_UNAVAILABLE, "come back tomorrow\n")
///     .header(header::RETRY_AFTER, HeaderValue::from(86400));
/// assert_eq!(closed.status(), 503);
/// assert_eq!(closed.headers()[header::RETRY_AFTER], "86400");
/// assert_eq!(closed.body(), "come back tomorrow\n");
/// assert_eq!(Rejection::from(StatusCode::FORBIDDEN).status(), 403);
/// ```
#[derive(Debug, Clone)]
pub struct Rejection(Box<Response<Bytes>>);

impl Rejection {
    /// A rejection with a status and a text that the user may read.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let mut response = Response::new(Bytes::from(text.into()));
        *response.status_mut() = status;
        Self(Box::new(response))
    }

    /// `401 Unauthorized`, which requests credentials of this scheme (for example `Bearer`).
    ///
    /// # Panics
    ///
    /// If the scheme is not a valid header value: it has other characters than visible ASCII, spaces and tabs.
    pub fn unauthorized(scheme: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "credentials are needed\n")
            .header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme))
    }

    /// `403 Forbidden`.
    pub fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    /// `307 Temporary Redirect` to `location`. Use it to send downloads to a file that the application has moved
    /// elsewhere.
    ///
    /// ```
    /// use tus_core::Rejection;
    ///
    /// let elsewhere = Rejection::redirect("https://cdn.example/films/1".parse()?);
    /// assert_eq!(elsewhere.status(), 307);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    pub fn redirect(location: HeaderValue) -> Self {
        Self::new(StatusCode::TEMPORARY_REDIRECT, "the file has moved\n").header(http::header::LOCATION, location)
    }

    /// Sets a header of the response.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// Its headers. A response has more: those that the protocol adds.
    pub fn headers(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// Its body: the text that the user may read.
    pub fn body(&self) -> &Bytes {
        self.0.body()
    }

    /// The rejection includes the upload's URL nevertheless.
    pub(super) fn located(self, location: HeaderValue) -> Self {
        self.header(http::header::LOCATION, location)
    }
}

/// A rejection whose text is the status' reason phrase.
///
/// ```
/// use http::StatusCode;
/// use tus_core::Rejection;
///
/// let rejection = Rejection::from(StatusCode::PAYMENT_REQUIRED);
/// assert_eq!(rejection.status(), 402);
/// ```
impl From<StatusCode> for Rejection {
    fn from(status: StatusCode) -> Self {
        Self::new(status, format!("{}\n", status.canonical_reason().unwrap_or("refused")))
    }
}

impl From<Response<Bytes>> for Rejection {
    fn from(response: Response<Bytes>) -> Self {
        Self(Box::new(response))
    }
}

impl From<Rejection> for Response<Bytes> {
    fn from(rejection: Rejection) -> Self {
        *rejection.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_the_response_that_it_was_made_of() {
        let mut response = Response::new(Bytes::from("no\n"));
        *response.status_mut() = StatusCode::CONFLICT;
        response.headers_mut().insert("x-reason", HeaderValue::from(7));
        let rejection = Rejection::from(response);
        assert_eq!((rejection.headers()["x-reason"].to_str().unwrap(), &rejection.body()[..]), ("7", &b"no\n"[..]));
        let again = Response::from(rejection);
        assert_eq!((again.status(), again.headers().len(), &again.body()[..]), (StatusCode::CONFLICT, 1, &b"no\n"[..]));
    }
}
