//! Maps an upload's id to its URL and back.

use std::{borrow::Cow, fmt, time::SystemTime};

use http::{HeaderValue, Uri, header, request::Parts, uri::Authority};
use iri_string::{
    format::ToDedicatedString,
    types::{UriAbsoluteStr, UriReferenceStr},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Config, Mount, at_resource::AtResource, config::rounded, forwarded::Forwarded, target::Target};
use crate::{Upload, UploadId};

/// The form of an upload's URL in `Location`.
///
/// ```
/// use tus_core::{Config, Location};
///
/// # fn main() -> Result<(), tus_core::InvalidBaseUrl> {
/// let config = Config::default().location(Location::base("https://uploads.example.org/files")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Location {
    /// An absolute path. It is correct behind every proxy that keeps the path.
    #[default]
    Path,
    /// A full URL with the request's `Host`. The scheme is the forwarded one if that is trusted, otherwise that of
    /// the request's target if it has one (HTTP/2), and `http` otherwise.
    Host,
    /// A full URL below this one: see [`Location::base`].
    Base(BaseUrl),
}

impl Location {
    /// A full URL below `url`, the public URL of the endpoint: `https://example.org/files`.
    ///
    /// # Errors
    ///
    /// If `url` is not an `http` or `https` URL without a query.
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

/// The URL of an upload without a request: below [`Location::base`] if that is set, otherwise an absolute path below
/// `mount`, the path of the endpoint.
pub(crate) fn url(location: &Location, mount: &str, id: &UploadId) -> String {
    let base = match location {
        Location::Base(base) => &base.url,
        Location::Path | Location::Host => mount.trim_end_matches('/'),
    };
    [base, "/", id.as_str()].concat()
}

/// The public URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: String,
    path: String,
}

/// The text is not a URL that can be the base of upload URLs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} must be a URL without a query, such as https://example.org/files")]
pub struct InvalidBaseUrl(String);

/// The endpoint of this request, as the server and the client see it.
pub(crate) struct Endpoint {
    /// The path on the server, without a trailing slash.
    path: String,
    /// The endpoint as the client sees it: only a path if `Location` has no host, `None` if it is the same path.
    public: Option<BaseUrl>,
    /// The resource of the application that replaces the endpoint. The paths are then empty.
    at: Option<AtResource>,
}

impl Endpoint {
    /// `mount` is where the endpoint was reached. The request has its full path.
    pub(crate) fn new(config: &Config, request: &Parts, mount: &Mount<'_>) -> Self {
        let path = mount.path.trim_end_matches('/').to_owned();
        let at = mount.resource.as_ref().map(|resource| AtResource::new(resource, &request.uri));
        let forwarded = Forwarded::read(config, &request.headers);
        let forwarded_path = || format!("{}{path}", forwarded.prefix);
        let public = match &config.location {
            // The base belongs to the endpoint.
            Location::Base(_) if at.is_some() => None,
            Location::Path if forwarded.prefix.is_empty() => None,
            Location::Path => Some(BaseUrl { url: forwarded_path(), path: forwarded_path() }),
            Location::Base(base) => Some(base.clone()),
            Location::Host => {
                let scheme = forwarded.proto.as_deref().or(request.uri.scheme_str()).unwrap_or("http");
                let host = forwarded.host.or_else(|| host(request));
                // HTTP/1.0 requests may lack a host. A path is still correct then.
                let origin = host.map(|host| format!("{scheme}://{host}")).unwrap_or_default();
                Some(BaseUrl { url: format!("{origin}{}", forwarded_path()), path: forwarded_path() })
            }
        };
        Self { path, public, at }
    }

    /// The resource of the application, if it replaces the endpoint.
    pub(crate) fn resource(&self) -> Option<&AtResource> {
        self.at.as_ref()
    }

    /// Whether an upload belongs to this endpoint or resource.
    pub(crate) fn has(&self, upload: &Upload) -> bool {
        upload.verbatim.target() == self.at.as_ref().map(|at| &*at.target)
    }

    /// When an upload of this resource whose handler responds now expires.
    pub(crate) fn kept_until(&self, now: SystemTime) -> Option<SystemTime> {
        rounded(now, self.at.as_ref()?.settings.keep)
    }

    pub(crate) fn target(&self, path: &str) -> Target {
        if let Some(at) = &self.at {
            return at.named.clone();
        }
        match path.strip_prefix(&self.path) {
            Some("" | "/") => Target::Endpoint,
            Some(rest) => upload_id(rest).map_or(Target::Nothing, Target::Upload),
            None => Target::Nothing,
        }
    }

    /// The value of `Location`.
    pub(crate) fn url(&self, id: &UploadId) -> HeaderValue {
        let base = self.public.as_ref().map_or(&self.path, |public| &public.url);
        crate::header::value(match &self.at {
            Some(at) => at.url(base, id.as_str()),
            None => [base, "/", id.as_str()].concat(),
        })
    }

    /// The upload that a URL refers to; the URL may be relative to that of the request (tus 1.0.0, "Upload-Concat";
    /// RFC 3986, section 5). Scheme and host are ignored, because a server behind a proxy does not know all of its
    /// names.
    pub(crate) fn resolve(&self, reference: &str, request: &Uri) -> Option<UploadId> {
        // Nearly all of them are written as `Location` has them.
        let plain = plain_path(reference)
            .and_then(|path| self.bases().find_map(|base| path.strip_prefix(base)?.strip_prefix('/')?.parse().ok()));
        if plain.is_some() {
            return plain;
        }
        let (reference, request) = (escaped(reference), format!("http://host{}", escaped(request.path())));
        let reference = UriReferenceStr::new(&reference).ok()?;
        let url = reference.resolve_against(UriAbsoluteStr::new(&request).ok()?).to_dedicated_string();
        // "A recipient that processes such a URI reference", without a host, "MUST reject it as invalid" (RFC 9110, 4.2.1).
        let has_host = url.authority_components().is_some_and(|authority| !authority.host().is_empty());
        if !has_host || url.query_str().is_some() || url.fragment().is_some() {
            return None;
        }
        self.bases().find_map(|base| upload_id(url.path_str().strip_prefix(&*escaped(base))?))
    }

    /// The paths of the endpoint, as the client and as the server see it.
    fn bases(&self) -> impl Iterator<Item = &str> {
        let public = self.public.as_ref().map(|public| &*public.path);
        public.into_iter().chain([&*self.path])
    }
}

/// The path of a reference that is nothing but an absolute path, or an `http` URL of a host by name; `None` of any other,
/// and of what may be no URL at all.
fn plain_path(reference: &str) -> Option<&str> {
    let Some(rest) = reference.strip_prefix("http://").or_else(|| reference.strip_prefix("https://")) else {
        return Some(reference).filter(|path| path.starts_with('/') && !path.starts_with("//"));
    };
    let (authority, path) = rest.split_at(rest.find('/')?);
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    (is_name && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(path)
}

/// Characters that no URL may contain (RFC 3986, appendix A), but that request paths do contain and our URLs then
/// inherit.
const FORBIDDEN: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Percent-encodes what must not occur in a URL, and keeps what is already encoded.
fn escaped(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, FORBIDDEN).into()
}

/// `/id` or `/id/`, percent-decoded (RFC 3986, 2.4).
fn upload_id(rest: &str) -> Option<UploadId> {
    let segment = rest.strip_prefix('/')?;
    let segment = segment.strip_suffix('/').unwrap_or(segment);
    percent_encoding::percent_decode_str(segment).decode_utf8().ok()?.parse().ok()
}

fn host(request: &Parts) -> Option<Authority> {
    let named = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    named.or_else(|| request.uri.authority().cloned())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public.as_ref().map_or(&self.path, |public| &public.url))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    /// Application code gets the same URL as the client.
    #[test]
    fn the_url_without_a_request_is_the_location() {
        let id: UploadId = "a".parse().unwrap();
        for location in [Location::Path, Location::base("https://example.org/app/files/").unwrap()] {
            let config = Config::default().location(location.clone());
            for mount in ["/files", "/files/", ""] {
                let given = endpoint(&config, mount, &[("host", "inner")]).url(&id);
                assert_eq!(url(&location, mount, &id).as_str(), given, "{location:?} {mount}");
            }
        }
        assert_eq!(url(&Location::Host, "/files", &id), "/files/a");
    }

    fn endpoint(config: &Config, mount: &str, headers: &[(&str, &str)]) -> Endpoint {
        let mut request = Request::post(format!("{mount}/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Endpoint::new(config, &request.body(()).unwrap().into_parts().0, &Mount::at(mount))
    }

    fn location(config: Config, headers: &[(&str, &str)]) -> HeaderValue {
        endpoint(&config, "/files", headers).url(&"a".parse().unwrap())
    }

    #[test]
    fn a_target_names_the_endpoint_an_upload_or_nothing() {
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
    fn forwarded_headers_count_only_if_trusted() {
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
        for reference in [
            "/files/a",
            "https://example.org/public/a",
            "http://other/files/a",
            "a",
            "/public/a",
            "../files/a",
            "./a",
            "../../../files/a",
            "b/../a",
            "/x/../files/./a",
            "//other/files/a",
            "HTTPS://u@[2001:db8::1]:8080/files/a/",
            "/files/%61",
            "http://other/x/../files/a",
        ] {
            assert_eq!(resolve(reference).map(|id| id.to_string()).as_deref(), Some("a"), "{reference}");
        }
        for reference in [
            "",
            "/a",
            "/files/",
            "/files/a/b",
            "/files/../a",
            "../a",
            "..",
            "/files/%2e%2e/a",
            "/files/%2e%2e",
            "/files%2Fa",
            "/files//a",
            "/FILES/a",
            "/files/b/../../a",
            "https://example.org",
            "https://example.org/../a",
            "/files/a?b",
            "/files/a?",
            "?a",
            "/files/a#b",
            "/files/a#",
            "#a",
            "data:/files/a",
            "http:a",
            "http:///files/a",
            "http://:80/files/a",
            "///files/a",
            "x:a",
            ":a",
            "\\files\\a",
            "/files\\a",
            "/files/a\t",
            "http://[::1/files/a",
            "http://a:b/files/a",
            "/files/%",
            "/files/%zz",
            "/files/%00",
            "/files/\u{e4}",
        ] {
            assert_eq!(resolve(reference), None, "{reference}");
        }
    }

    /// RFC 3986, 5.4: the path of each example that has neither query nor fragment, against `http://a/b/c/d;p?q`.
    #[test]
    fn the_examples_of_relative_references_are_resolved() {
        for (reference, mount) in [
            ("g", "/b/c"),
            ("./g", "/b/c"),
            ("g/", "/b/c"),
            ("/g", ""),
            ("//h/g", ""),
            ("../g", "/b"),
            ("../../g", ""),
            ("../../../g", ""),
            ("../../../../g", ""),
            ("/./g", ""),
            ("/../g", ""),
            ("./../g", "/b"),
            ("./g/.", "/b/c"),
            ("g/./h/../", "/b/c"),
            ("h/../g", "/b/c"),
            ("http://a/b/c/g", "/b/c"),
        ] {
            let endpoint = endpoint(&Config::default(), mount, &[]);
            let id = endpoint.resolve(reference, &Uri::from_static("http://a/b/c/d;p?q"));
            assert_eq!(id, Some("g".parse().unwrap()), "{reference}");
        }
    }

    #[test]
    fn a_location_resolves_for_any_path_of_the_endpoint() {
        for mount in ["", "/a|b/files", "/{a}/files", "/a%20b/files", "/files;v=1", "/a:b", "/~a/@b!$&'()*+,="] {
            let endpoint = endpoint(&Config::default(), mount, &[]);
            let location = endpoint.url(&"a".parse().unwrap());
            for reference in [location.to_str().unwrap(), "a", "./a", "x/../a"] {
                let id = endpoint.resolve(reference, &format!("{mount}/").parse().unwrap());
                assert_eq!(id, Some("a".parse().unwrap()), "{mount} {reference}");
            }
        }
    }

    /// RFC 7239, sections 4, 5.4, 6.1 and 7.1, with the resulting host and scheme.
    #[test]
    fn the_examples_of_forwarded_are_understood() {
        let by_host = Config::default().location(Location::Host).trust_forwarded(true);
        for (forwarded, expected) in [
            ("for=\"_gazonk\"", "http://inner"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "http://inner"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "http://inner"),
            ("for=192.0.2.43, for=198.51.100.17", "http://inner"),
            ("for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=https;host=example.com", "http://inner"),
            ("for=192.0.2.43;proto=https;host=example.com, for=198.51.100.17;host=x", "https://example.com"),
            ("for=_hidden, for=_SEVKISEK", "http://inner"),
            ("for=\"[2001:db8:cafe::17]:_port\";by=_a-b;HOST=\"[2001:db8::1]:80\"", "http://[2001:db8::1]:80"),
            ("for=\"_a,b;host=x\\\"\";host=example.com , host=y", "http://example.com"),
            ("secret=\"\\\\\";proto=https", "https://inner"),
            ("host=\"ex\\ample.com\"; Proto=\"https\"", "https://example.com"),
            (", ;;host=example.com;", "http://example.com"),
            ("host=example.com;host=other", "http://example.com"),
        ] {
            let expected = format!("{expected}/files/a");
            assert_eq!(
                location(by_host.clone(), &[("host", "inner"), ("forwarded", forwarded)]),
                expected,
                "{forwarded}"
            );
        }
    }

    #[test]
    fn an_invalid_forwarded_header_is_ignored() {
        let by_host = Config::default().location(Location::Host).trust_forwarded(true);
        for forwarded in [
            "",
            ",",
            ";",
            "=",
            "host",
            "host=",
            "host=\"",
            "host=\"\"",
            "host=\"\\\"",
            "host=\"a",
            "host=\"a\\\"",
            "host=\"a\"b\"",
            "host=a\"",
            "host=\"a b\"",
            "host=\"a/b\"",
            "host=\"a\\\\b\"",
            "proto=\"javascript\"",
            "proto=\"https;host=x",
            "for=\",host=x;proto=https",
            "host=\u{e4}",
        ] {
            assert_eq!(
                location(by_host.clone(), &[("host", "inner"), ("forwarded", forwarded)]),
                "http://inner/files/a"
            );
        }
    }

    proptest! {
        #[test]
        fn any_reference_resolves_as_in_a_browser_or_not_at_all(
            reference in r"(http:)?/{0,3}([a.:@?#|-]|/|/|%2[eEfF]|\.\./|\./){0,9}a?",
            mount in r"(/[a|][a.|-]{0,2}){0,2}",
        ) {
            let endpoint = endpoint(&Config::default(), &mount, &[]);
            let request = format!("{mount}/").parse().unwrap();
            let browser = url::Url::parse(&format!("http://host{mount}/")).unwrap().join(&reference);
            // A browser validates the host, and may not accept it.
            if let (Some(id), Ok(url)) = (endpoint.resolve(&reference, &request), browser) {
                let path = url.path().strip_suffix('/').unwrap_or(url.path());
                prop_assert_eq!(path, format!("{mount}/{id}"));
                prop_assert_eq!((url.query(), url.fragment()), (None, None));
            }
        }

        #[test]
        fn any_forwarded_header_results_in_a_url(forwarded in r#"[hostpr=\\",;: a.\[\]]{0,24}"#) {
            let by_host = Config::default().location(Location::Host).trust_forwarded(true);
            let location = location(by_host, &[("host", "inner"), ("forwarded", &forwarded)]);
            let url: Uri = location.to_str().unwrap().parse().unwrap();
            prop_assert_eq!((url.scheme_str(), url.path()), (Some("http"), "/files/a"));
        }
    }
}
