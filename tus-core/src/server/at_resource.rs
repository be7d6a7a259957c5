//! The URLs of uploads at a resource of the application.

use std::{borrow::Cow, time::Duration};

use http::Uri;

use super::target::Target;

/// The query parameter that identifies an upload.
const PARAMETER: &str = "resumable-upload=";

/// Settings of uploads at a resource of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// A request with the complete content does not become an upload if the content is smaller than this, in bytes:
    /// sending it again costs less than storing it. 1 MiB by default.
    pub min_size: u64,
    /// How long an upload is kept after its handler has responded, so that a client that lost the response can get it
    /// again. One hour by default.
    pub keep: Duration,
}

impl Default for Resource {
    fn default() -> Self {
        Self { min_size: 1024 * 1024, keep: Duration::from_secs(3600) }
    }
}

/// The resource of a request, from its URL.
#[derive(Debug)]
pub(super) struct AtResource {
    pub(super) settings: Resource,
    /// Path and query, without the parameter that identifies an upload.
    pub(super) target: String,
    /// What the request refers to.
    pub(super) named: Target,
}

impl AtResource {
    pub(super) fn new(settings: &Resource, uri: &Uri) -> Self {
        let (query, named) = apart(uri);
        let target = joined(uri.path(), &query);
        let named = match named {
            None => Target::Endpoint,
            Some(id) => id.parse().map_or(Target::Nothing, Target::Upload),
        };
        Self { settings: settings.clone(), target, named }
    }

    /// The URL of an upload, below the path that a proxy has removed.
    pub(super) fn url(&self, prefix: &str, id: &str) -> String {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        format!("{prefix}{}{separator}{PARAMETER}{id}", self.target)
    }
}

/// Whether the query of a URL may identify an upload at a resource.
pub(super) fn query_names_upload(query: &str) -> bool {
    query.split('&').any(|parameter| parameter.starts_with(PARAMETER))
}

/// The URL of a resource, given that of an upload there: the URL for the handler.
///
/// ```
/// use tus_core::server::resource_of;
///
/// let upload = "/photos?album=7&resumable-upload=f00".parse().unwrap();
/// assert_eq!(resource_of(&upload), "/photos?album=7");
/// ```
pub fn resource_of(upload: &Uri) -> Uri {
    if !upload.query().is_some_and(query_names_upload) {
        return upload.clone();
    }
    let mut parts = upload.clone().into_parts();
    parts.path_and_query = joined(upload.path(), &apart(upload).0).parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// The query without the parameter, and the first value of the parameter.
fn apart(uri: &Uri) -> (Cow<'_, str>, Option<&str>) {
    let query = uri.query().unwrap_or_default();
    let values = |parameter: &'static str| query.split('&').find_map(move |pair| pair.strip_prefix(parameter));
    match values(PARAMETER) {
        None => (query.into(), None),
        named => {
            let others: Vec<_> = query.split('&').filter(|pair| !pair.starts_with(PARAMETER)).collect();
            (others.join("&").into(), named)
        }
    }
}

fn joined(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> AtResource {
        AtResource::new(&Resource::default(), &url.parse().unwrap())
    }

    #[test]
    fn an_upload_has_the_url_of_its_resource_and_a_parameter() {
        for (url, upload) in [
            ("/photos", "/photos?resumable-upload=f00"),
            ("/photos/", "/photos/?resumable-upload=f00"),
            ("/photos?album=7&x", "/photos?album=7&x&resumable-upload=f00"),
            ("/", "/?resumable-upload=f00"),
        ] {
            let (resource, id) = (at(url), "f00".parse().unwrap());
            assert_eq!((&resource.named, &*resource.target), (&Target::Endpoint, url));
            assert_eq!(resource.url("", "f00"), upload);
            assert_eq!((at(upload).named, &*at(upload).target), (Target::Upload(id), url));
            assert_eq!(resource_of(&upload.parse().unwrap()), url);
        }
        assert_eq!(resource_of(&"http://a/b?resumable-upload=c&d".parse().unwrap()), "http://a/b?d");
    }

    #[test]
    fn invalid_ids_refer_to_nothing() {
        for url in ["/photos?resumable-upload=", "/photos?resumable-upload=a/b", "/photos?resumable-upload=%61"] {
            assert_eq!(at(url).named, Target::Nothing, "{url}");
        }
    }
}
