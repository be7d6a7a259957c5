//! URLs of requests: validity in HTTP, origin, and secrets.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::{Origin, Url};

/// The URL as a request target. `url` accepts some URLs that `http` does not.
pub(super) fn uri(url: &Url) -> Option<Uri> {
    let is_http = matches!(url.scheme(), "http" | "https");
    url.as_str().split('#').next().filter(|_| is_http)?.parse().ok()
}

/// Origins that the caller named, and the credentials in their URLs.
#[derive(Debug, Clone, Default)]
pub(super) struct Trusted {
    origins: Vec<Origin>,
    basic: Vec<(Origin, HeaderValue)>,
}

impl Trusted {
    /// Trusts the origin of a URL. Returns the URL without `user:password@`.
    pub(super) fn trust(&mut self, url: Url) -> Url {
        let url = self.without_credentials(url);
        if !self.origins.contains(&url.origin()) {
            self.origins.push(url.origin());
        }
        url
    }

    /// Removes `user:password@`, and remembers it as the credentials for the URL's origin only (RFC 7617).
    pub(super) fn without_credentials(&mut self, mut url: Url) -> Url {
        if let Some(value) = basic(&url) {
            remove_credentials(&mut url);
            self.basic.retain(|(origin, _)| *origin != url.origin());
            self.basic.push((url.origin(), value));
        }
        url
    }

    pub(super) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(super) fn contains(&self, url: &Url) -> bool {
        self.origins.contains(&url.origin())
    }

    /// `Authorization` for a URL.
    pub(super) fn authorization(&self, url: &Url) -> Option<&HeaderValue> {
        self.basic.iter().find(|(origin, _)| *origin == url.origin()).map(|(_, value)| value)
    }
}

/// Removes `user:password@`.
pub(super) fn remove_credentials(url: &mut Url) {
    // It fails only for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = crate::header::value(format!("Basic {}", BASE64_STANDARD.encode(pair)));
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_becomes_credentials_for_its_origin() {
        let mut trusted = Trusted::default();
        let url = trusted.trust("https://user:p%40ss@example.org/files".parse().unwrap());
        assert_eq!(url.as_str(), "https://example.org/files");
        assert_eq!(trusted.authorization(&url).unwrap(), "Basic dXNlcjpwQHNz");
        assert!(!format!("{trusted:?}").contains("dXNl"), "{trusted:?}");
        for other in ["https://example.org:444/files", "http://example.org/files", "https://example.com/"] {
            assert_eq!(trusted.authorization(&other.parse().unwrap()), None, "{other}");
        }
        // Credentials alone do not make an origin trusted.
        let other = trusted.without_credentials("https://token@cdn.example.org/".parse().unwrap());
        assert!(trusted.contains(&url) && !trusted.contains(&other));
        assert_eq!(trusted.authorization(&other).unwrap(), "Basic dG9rZW46");
    }
}
