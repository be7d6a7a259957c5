//! Between an upload's id and its URL, in both directions.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts, uri::Authority};

use crate::{Config, UploadId};

/// How the URL of a created upload is written in `Location`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Location {
    /// An absolute path, which is right behind any proxy that keeps the path.
    #[default]
    Path,
    /// A full URL, built from the request's `Host`. The scheme is the forwarded one where that is
    /// trusted, that of the request's target where it has one (HTTP/2), and `http` otherwise.
    Host,
    /// A full URL below this one: see [`Location::base`].
    Base(BaseUrl),
}

impl Location {
    /// A full URL below `url`, the public URL of the endpoint: `https://example.org/files`.
    ///
    /// # Errors
    ///
    /// When `url` is not an `http` or `https` URL without query.
    pub fn base(url: &str) -> Result<Self, InvalidBaseUrl> {
        let invalid = || InvalidBaseUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !http || uri.authority().is_none() || uri.query().is_some() {
            return Err(invalid());
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self::Base(BaseUrl { url: url.trim_end_matches('/').to_owned(), path }))
    }
}

/// The public URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: String,
    path: String,
}

/// The text is no URL that uploads can be found below.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a URL like https://example.org/files, without query")]
pub struct InvalidBaseUrl(String);

/// What a request's target names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The endpoint, where uploads are created.
    Endpoint,
    Upload(UploadId),
    /// A path below the endpoint that no upload can have.
    Nothing,
}

/// Where the endpoint of this request is, seen from the server and from the client.
pub(crate) struct Endpoint {
    /// The path at which the server has it, without a slash at its end.
    path: String,
    /// Where the client sees it: a path alone where no host is to be named, `None` where it is the same path.
    public: Option<BaseUrl>,
}

impl Endpoint {
    /// `mount` is the path at which the endpoint was reached; the request has its full path.
    pub(crate) fn new(config: &Config, request: &Parts, mount: &str) -> Self {
        let path = mount.trim_end_matches('/').to_owned();
        let forwarded = Forwarded::read(config, &request.headers);
        let forwarded_path = || format!("{}{path}", forwarded.prefix);
        let public = match config.locations() {
            Location::Path if forwarded.prefix.is_empty() => None,
            Location::Path => Some(BaseUrl { url: forwarded_path(), path: forwarded_path() }),
            Location::Base(base) => Some(base.clone()),
            Location::Host => {
                let scheme = forwarded.proto.as_deref().or(request.uri.scheme_str()).unwrap_or("http");
                let host = forwarded.host.or_else(|| host(request));
                // HTTP/1.0 may name no host; a path is still right then.
                let origin = host.map(|host| format!("{scheme}://{host}")).unwrap_or_default();
                Some(BaseUrl { url: format!("{origin}{}", forwarded_path()), path: forwarded_path() })
            }
        };
        Self { path, public }
    }

    pub(crate) fn target(&self, path: &str) -> Target {
        match path.strip_prefix(&self.path) {
            Some("" | "/") => Target::Endpoint,
            Some(rest) => upload_id(rest).map_or(Target::Nothing, Target::Upload),
            None => Target::Nothing,
        }
    }

    /// The value of `Location`.
    pub(crate) fn url(&self, id: &UploadId) -> HeaderValue {
        let base = self.public.as_ref().map_or(&self.path, |public| &public.url);
        crate::header::value(format!("{base}/{id}"))
    }

    /// The upload that a URL names, absolute or relative to that of the request (tus 1.0.0, "Upload-Concat"). The host is
    /// not looked at: behind a proxy this server does not know all of its names.
    pub(crate) fn resolve(&self, reference: &str, request: &Uri) -> Option<UploadId> {
        let path = match reference.split_once("://") {
            Some((_, rest)) => rest[rest.find('/')?..].to_owned(),
            None if reference.starts_with('/') => reference.to_owned(),
            None => {
                let base = request.path();
                let directory = &base[..base.rfind('/').map_or(0, |at| at + 1)];
                format!("{directory}{reference}")
            }
        };
        let bases = [self.public.as_ref().map(|public| &public.path), Some(&self.path)];
        bases.into_iter().flatten().find_map(|base| upload_id(path.strip_prefix(base.as_str())?))
    }
}

/// `/id` or `/id/`, with percent-encoding undone (RFC 3986, 2.4).
fn upload_id(rest: &str) -> Option<UploadId> {
    let segment = rest.strip_prefix('/')?;
    let segment = segment.strip_suffix('/').unwrap_or(segment);
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.parse().ok()
}

fn host(request: &Parts) -> Option<Authority> {
    let named = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    named.or_else(|| request.uri.authority().cloned())
}

/// What the proxy that the client reached tells of the request (RFC 7239, and the older names). It must
/// overwrite what the client itself sends in these headers.
#[derive(Default)]
struct Forwarded {
    proto: Option<String>,
    host: Option<Authority>,
    prefix: String,
}

impl Forwarded {
    fn read(config: &Config, headers: &HeaderMap) -> Self {
        if !config.trusts_forwarded() {
            return Self::default();
        }
        let field = |name: &str| {
            let list = first(headers, &header::FORWARDED)?;
            let pairs = list.split(';').filter_map(|pair| pair.trim().split_once('='));
            let value = pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1;
            Some(value.trim_matches('"').to_owned())
        };
        let old = |name: &'static str| first(headers, &HeaderName::from_static(name));
        let proto = field("proto").or_else(|| old("x-forwarded-proto"));
        let host = field("host").or_else(|| old("x-forwarded-host"));
        let prefix = old("x-forwarded-prefix")
            .filter(|prefix| !prefix.starts_with("//") && prefix.parse::<Uri>().is_ok_and(|u| u.path() == prefix));
        Self {
            proto: proto.map(|p| p.to_ascii_lowercase()).filter(|p| p == "http" || p == "https"),
            host: host.and_then(|h| h.parse().ok()),
            prefix: prefix.unwrap_or_default().trim_end_matches('/').to_owned(),
        }
    }
}

/// The first element of a list: what the proxy said that the client reached.
fn first(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let list = headers.get(name)?.to_str().ok()?;
    list.split(',').next().map(|value| value.trim().to_owned())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public.as_ref().map_or(&self.path, |public| &public.url))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn endpoint(config: &Config, mount: &str, headers: &[(&str, &str)]) -> Endpoint {
        let mut request = Request::post(format!("{mount}/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Endpoint::new(config, &request.body(()).unwrap().into_parts().0, mount)
    }

    fn location(config: Config, headers: &[(&str, &str)]) -> HeaderValue {
        endpoint(&config, "/files", headers).url(&"a".parse().unwrap())
    }

    #[test]
    fn a_target_is_the_endpoint_an_upload_or_nothing() {
        let endpoint = endpoint(&Config::default(), "/api/files", &[]);
        assert_eq!(endpoint.target("/api/files"), Target::Endpoint);
        assert_eq!(endpoint.target("/api/files/"), Target::Endpoint);
        for path in ["/api/files/ab", "/api/files/ab/", "/api/files/%61b"] {
            assert_eq!(endpoint.target(path), Target::Upload("ab".parse().unwrap()), "{path}");
        }
        for path in ["/api/filesab", "/api/files/a/b", "/api/files/..", "/api/files/%2e%2e", "/api/files//", "/", "*"] {
            assert_eq!(endpoint.target(path), Target::Nothing, "{path}");
        }
    }

    #[test]
    fn location_is_a_path_a_url_by_host_or_below_a_base() {
        let host = ("host", "up.example:8080");
        assert_eq!(location(Config::default(), &[host]), "/files/a");
        let by_host = Config::default().location(Location::Host);
        assert_eq!(location(by_host.clone(), &[host]), "http://up.example:8080/files/a");
        assert_eq!(location(by_host.clone(), &[]), "/files/a");
        assert_eq!(location(by_host, &[("host", "a b")]), "/files/a");
        let below = Config::default().location(Location::base("https://example.org/u/").unwrap());
        assert_eq!(location(below, &[host]), "https://example.org/u/a");
    }

    #[test]
    fn forwarded_headers_count_only_where_they_are_trusted() {
        let headers = [
            ("host", "inner"),
            ("forwarded", "for=1.2.3.4;host=\"outer:1\";proto=HTTPS, host=x"),
            ("x-forwarded-prefix", "/p"),
        ];
        let by_host = Config::default().location(Location::Host);
        assert_eq!(location(by_host.clone(), &headers), "http://inner/files/a");
        assert_eq!(location(by_host.clone().trust_forwarded(true), &headers), "https://outer:1/p/files/a");
        let old = [("host", "inner"), ("x-forwarded-host", "outer"), ("x-forwarded-proto", "https")];
        assert_eq!(location(by_host.trust_forwarded(true), &old), "https://outer/files/a");
    }

    #[test]
    fn a_base_url_is_http_and_has_no_query() {
        for url in ["", "/files", "example.org", "ftp://example.org/", "https://example.org/?a", "https://"] {
            assert!(Location::base(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_is_resolved_to_the_upload_it_names() {
        let config = Config::default().location(Location::base("https://example.org/public").unwrap());
        let endpoint = endpoint(&config, "/files", &[]);
        let resolve = |reference| endpoint.resolve(reference, &Uri::from_static("/files/"));
        for reference in ["/files/a", "https://example.org/public/a", "http://other/files/a", "a", "/public/a"] {
            assert_eq!(resolve(reference).unwrap().as_str(), "a", "{reference}");
        }
        for reference in
            ["", "/a", "/files/", "/files/a/b", "/files/../a", "../files/a", "https://example.org", "/files/a?b"]
        {
            assert_eq!(resolve(reference), None, "{reference}");
        }
    }
}
