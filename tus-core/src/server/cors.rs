//! Which pages from other origins may upload (the Fetch standard, "CORS protocol"). The headers are on every response,
//! refusals included: without them, a browser hides the reason for a refusal.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Response, header, request::Parts};

use crate::header::{ALLOWED, EXPOSED};

/// Which pages from other origins may upload.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Cors {
    /// None, unless the application's own middleware adds the headers.
    #[default]
    Off,
    /// Any, without cookies.
    Any,
    /// Those listed (`https://app.example`, without a path), with cookies.
    Origins(Vec<HeaderValue>),
    /// Those for which the function is true, with cookies.
    Matching(Arc<dyn Fn(&HeaderValue) -> bool + Send + Sync>),
}

impl Cors {
    /// The headers for the response to this request.
    pub(super) fn headers(&self, request: &Parts) -> CorsHeaders {
        CorsHeaders(self.answer(request))
    }

    fn answer(&self, request: &Parts) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(origin) = request.headers.get(header::ORIGIN) else {
            if matches!(self, Self::Origins(_) | Self::Matching(_)) {
                headers.insert(header::VARY, HeaderValue::from_static("origin"));
            }
            return headers;
        };
        let allowed = match self {
            Self::Off => return headers,
            Self::Any => true,
            Self::Origins(list) => list.contains(origin),
            Self::Matching(matches) => matches(origin),
        };
        if matches!(self, Self::Any) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
            if !allowed {
                return headers;
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if is_preflight(request) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        } else {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        headers
    }
}

/// What a response says to a browser about the pages that may see it.
pub(super) struct CorsHeaders(HeaderMap);

impl CorsHeaders {
    pub(super) fn add_to<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        for (name, value) in &self.0 {
            // The application may have set `Vary` as well.
            if name == header::VARY {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
        }
    }
}

const METHODS: &str = "POST, PUT, HEAD, PATCH, DELETE, OPTIONS";

/// A browser's preflight request.
fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers that the browser asks for: an origin that may upload may use the application's own headers, too.
fn allowed_headers(request: &Parts) -> HeaderValue {
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    asked.cloned().unwrap_or(HeaderValue::from_static(ALLOWED))
}

impl fmt::Debug for Cors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Any => f.write_str("Any"),
            Self::Origins(list) => f.debug_tuple("Origins").field(list).finish(),
            Self::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}
