//! A request, before the task's settings are applied to it.

use std::ops::Range;

use http::{HeaderName, HeaderValue, Method};
use url::Url;

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The bytes of the source that are its body.
    pub(super) body: Option<Range<u64>>,
}

impl Call {
    pub(super) fn new(method: Method, url: &Url) -> Self {
        Self { method, url: url.clone(), headers: Vec::new(), body: None }
    }

    pub(super) fn header(mut self, name: &HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name.clone(), value.into()));
        self
    }
}
