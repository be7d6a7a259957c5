//! What a dialect must repeat exactly as it was sent.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

/// What the upload's dialect must repeat exactly as it was sent, if the record alone would not reproduce the text:
/// header values, and for an upload at a resource of the application, the request that created it and the response to
/// it. Opaque to all other code; empty for most uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Verbatim(#[cfg_attr(feature = "serde", serde(with = "super::document::base64"))] Bytes);

// One line per value, `name:value`: neither names nor values can contain a line feed. The request comes first and the
// response last. Their lines begin with a character that no name contains, and the first line of each has no name. An
// empty line and the content of the response may follow.
const REQUEST: u8 = b'>';
const RESPONSE: u8 = b'<';

/// The first line of a response that was too large to store.
const NOT_KEPT: &[u8] = b"-";

impl Verbatim {
    /// From the bytes that a storage stored.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value that was sent for this header.
    pub(crate) fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        let value = self.lines().find_map(|line| line.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b":"))?;
        HeaderValue::from_bytes(value).ok()
    }

    pub(crate) fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        let mut lines = self.0.to_vec();
        for piece in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
            lines.extend_from_slice(piece);
        }
        self.0 = lines.into();
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        if self.get(name).is_some() {
            let mut prefix = name.as_str().as_bytes().to_vec();
            prefix.push(b':');
            let others = self.0.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(&prefix));
            self.0 = others.collect::<Vec<_>>().concat().into();
        }
    }

    /// Whether the request that created the upload is stored.
    pub(crate) fn has_request(&self) -> bool {
        self.0.first() == Some(&REQUEST)
    }

    /// Stores the request that created the upload. Call it once, after header values and before anything else.
    /// `target` is the path and query.
    pub(crate) fn set_request(&mut self, method: &Method, target: &str, headers: &HeaderMap) {
        let mut lines = Vec::new();
        for piece in [&[REQUEST], method.as_str().as_bytes(), b" ", target.as_bytes(), b"\n"] {
            lines.extend_from_slice(piece);
        }
        add_lines(&mut lines, REQUEST, headers);
        lines.extend_from_slice(&self.0);
        self.0 = lines.into();
    }

    /// The path and query of the request that created the upload.
    pub(crate) fn target(&self) -> Option<&str> {
        std::str::from_utf8(self.first_of(REQUEST)?).ok()?.split_once(' ').map(|(_, target)| target)
    }

    /// The method and the headers of the request that created the upload.
    pub(crate) fn request(&self) -> Option<(Method, HeaderMap)> {
        let first = self.first_of(REQUEST)?;
        let method = first.split(|byte| *byte == b' ').next()?;
        Some((Method::from_bytes(method).ok()?, self.headers_of(REQUEST)?))
    }

    /// The same data with the response to that request; `None` stands for a response that was too large to store.
    pub(crate) fn with_response(&self, response: Option<&Response<Bytes>>) -> Self {
        let mut bytes = self.0.to_vec();
        bytes.push(RESPONSE);
        match response {
            Some(response) => {
                bytes.extend_from_slice(response.status().as_str().as_bytes());
                bytes.push(b'\n');
                add_lines(&mut bytes, RESPONSE, response.headers());
                bytes.push(b'\n');
                bytes.extend_from_slice(response.body());
            }
            None => bytes.extend_from_slice(&[NOT_KEPT, b"\n"].concat()),
        }
        Self(bytes.into())
    }

    /// The response to the request that created the upload; `None` if it was too large to store or there is none.
    pub(crate) fn response(&self) -> Option<Response<Bytes>> {
        let status = StatusCode::from_bytes(self.first_of(RESPONSE)?).ok()?;
        let mut response = Response::new(self.0.slice(self.content_begins()?..));
        *response.status_mut() = status;
        *response.headers_mut() = self.headers_of(RESPONSE)?;
        Some(response)
    }

    /// The lines, without the content that may follow them.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty())
    }

    fn content_begins(&self) -> Option<usize> {
        let lines: usize = self.lines().map(|line| line.len() + 1).sum();
        (lines < self.0.len()).then_some(lines + 1)
    }

    /// The first line of the request or the response.
    fn first_of(&self, which: u8) -> Option<&[u8]> {
        self.lines().find_map(|line| line.strip_prefix(&[which]))
    }

    /// The headers of the request or the response.
    fn headers_of(&self, which: u8) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for line in self.lines().filter_map(|line| line.strip_prefix(&[which])).skip(1) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
        }
        Some(headers)
    }
}

fn add_lines(lines: &mut Vec<u8>, which: u8, headers: &HeaderMap) {
    for (name, value) in headers {
        for piece in [&[which], name.as_str().as_bytes(), b":", value.as_bytes(), b"\n"] {
            lines.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stored_by_name() {
        let (a, b) = (HeaderName::from_static("a"), HeaderName::from_static("ab"));
        let mut verbatim = Verbatim::default();
        assert_eq!(verbatim.get(&a), None);
        verbatim.set(&a, &HeaderValue::from_static("1: x"));
        verbatim.set(&b, &HeaderValue::from_static(""));
        verbatim.set(&a, &HeaderValue::from_bytes(b"2\xff").unwrap());
        let mut verbatim = Verbatim::from_bytes(verbatim.as_bytes().clone());
        assert_eq!(verbatim.get(&a).unwrap().as_bytes(), b"2\xff");
        assert_eq!(verbatim.get(&b).unwrap(), "");
        verbatim.remove(&a);
        assert_eq!((verbatim.get(&a), verbatim.get(&b).unwrap().as_bytes()), (None, &b""[..]));
    }

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_request_and_its_response_are_stored() {
        let digest = HeaderName::from_static("repr-digest");
        let sent = headers(&[("accept", b"a"), ("x", b"1"), ("x", b""), ("x", b"\xe4: b")]);
        let mut verbatim = Verbatim::default();
        assert!(!verbatim.has_request() && verbatim.target().is_none() && verbatim.request().is_none());
        verbatim.set(&digest, &HeaderValue::from_static("d"));
        verbatim.set_request(&Method::PUT, "/photos?a=b c", &sent);
        assert!(verbatim.has_request() && verbatim.response().is_none());
        assert_eq!((verbatim.target(), verbatim.get(&digest).unwrap().as_bytes()), (Some("/photos?a=b c"), &b"d"[..]));
        assert_eq!(verbatim.request(), Some((Method::PUT, sent.clone())));
        for content in [&b""[..], b"\n", b"\n\n<200\nrepr-digest:e\n\n>x", &[0, 255, b'\n']] {
            let mut response = Response::new(Bytes::copy_from_slice(content));
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            *response.headers_mut() = headers(&[("accept", b"c"), ("set-cookie", b"1"), ("set-cookie", b"2")]);
            let with = Verbatim::from_bytes(verbatim.with_response(Some(&response)).as_bytes().clone());
            let kept = with.response().unwrap();
            assert_eq!((kept.status(), kept.body()), (response.status(), response.body()));
            assert_eq!(kept.headers(), response.headers());
            assert_eq!(with.request(), Some((Method::PUT, sent.clone())));
            assert_eq!(with.get(&digest).unwrap().as_bytes(), b"d");
        }
        let without = verbatim.with_response(None);
        assert!(without.response().is_none() && without.has_request());
    }
}
