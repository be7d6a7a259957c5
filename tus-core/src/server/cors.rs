//! Which pages of other origins may upload (Fetch standard, "CORS protocol"). The headers are in every response,
//! including rejections: without them, browsers hide the reason.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header, request::Parts};

use super::Config;

/// Which pages of other origins may upload.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Cors {
    /// None, unless the application's own middleware adds the headers.
    #[default]
    Off,
    /// Any origin, without cookies.
    Any,
    /// These origins (`https://app.example`, without a path), with cookies.
    Origins(Vec<HeaderValue>),
    /// Origins for which the function returns true, with cookies.
    Matching(Arc<dyn Fn(&HeaderValue) -> bool + Send + Sync>),
}

/// The application's own response headers that scripts may see.
pub(super) type Exposed = Vec<HeaderName>;

impl Config {
    /// The application's own response headers (for example those of a [`FinishReply`](crate::server::FinishReply))
    /// that scripts of other origins may see, in addition to [`Cors::RESPONSE_HEADERS`]. Has no effect if [`Cors`] is
    /// off.
    pub fn expose_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.exposed.extend(names);
        self
    }
}

/// Header names as an array and as a list.
macro_rules! names {
    ($(#[$doc:meta])* $array:ident, $list:ident = [$first:literal $(, $name:literal)* $(,)?]) => {
        impl Cors {
            $(#[$doc])*
            pub const $array: [&'static str; [$first $(, $name)*].len()] = [$first $(, $name)*];
        }
        const $list: &str = concat!($first $(, ", ", $name)*);
    };
}

names! {
    /// The request headers of both dialects that a page's script must be allowed to send
    /// (`Access-Control-Allow-Headers`), for applications with a CORS layer of their own. Add the application's own
    /// headers.
    REQUEST_HEADERS, ALLOWED = [
        "authorization", "content-digest", "content-disposition", "content-encoding", "content-type", "repr-digest",
        "tus-resumable", "upload-checksum", "upload-complete", "upload-concat", "upload-defer-length",
        "upload-draft-interop-version", "upload-incomplete", "upload-length", "upload-metadata", "upload-offset",
        "x-http-method-override", "x-request-id", "x-requested-with",
    ]
}

names! {
    /// The response headers of both dialects and of downloads that a page's script must be allowed to see
    /// (`Access-Control-Expose-Headers`), for applications with a CORS layer of their own.
    RESPONSE_HEADERS, EXPOSED = [
        "accept-patch", "content-disposition", "content-range", "etag", "location", "retry-after",
        "tus-checksum-algorithm", "tus-extension", "tus-max-size", "tus-resumable", "tus-version", "upload-complete",
        "upload-concat", "upload-defer-length", "upload-draft-interop-version", "upload-expires", "upload-incomplete",
        "upload-length", "upload-limit", "upload-metadata", "upload-offset",
    ]
}

impl Cors {
    /// The methods of both dialects and of downloads (`Access-Control-Allow-Methods`), for applications with a CORS
    /// layer of their own. The layer should forward OPTIONS requests without `Access-Control-Request-Method`, because
    /// they belong to the protocol: if it answers them itself, clients cannot discover which extensions the server
    /// offers. Uploads still work.
    pub const METHODS: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::HEAD, Method::PATCH, Method::DELETE, Method::OPTIONS];

    /// The headers for the response to this request; `more` are the application's headers that scripts may see.
    pub(super) fn headers(&self, request: &Parts, more: &[HeaderName]) -> CorsHeaders {
        CorsHeaders(self.answer(request, more))
    }

    fn answer(&self, request: &Parts, more: &[HeaderName]) -> HeaderMap {
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
            // The allowed headers repeat the requested ones.
            headers.append(header::VARY, HeaderValue::from_static("access-control-request-headers"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        } else {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed(more));
        }
        headers
    }
}

/// The CORS headers of a response.
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

const METHODS: &str = "GET, POST, PUT, HEAD, PATCH, DELETE, OPTIONS";

/// A browser's preflight request.
fn is_preflight(request: &Parts) -> bool {
    request.method == Method::OPTIONS && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers that the browser asks for: an origin that may upload may also use the application's own headers.
fn allowed_headers(request: &Parts) -> HeaderValue {
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    asked.cloned().unwrap_or(HeaderValue::from_static(ALLOWED))
}

fn exposed(more: &[HeaderName]) -> HeaderValue {
    if more.is_empty() {
        return HeaderValue::from_static(EXPOSED);
    }
    crate::header::value(more.iter().fold(EXPOSED.to_owned(), |list, name| list + ", " + name.as_str()))
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
