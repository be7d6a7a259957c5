//! A request as a client writes it, and the response as a client reads it.

use std::fmt::Display;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, request::Parts};

use super::{
    super::{End, Interruption},
    world::World,
};
use crate::{Algorithm, Checksum, UploadId, testing::Body};

/// Bytes of a body that arrive at once.
const PIECE: usize = 3;

#[must_use]
pub(crate) struct Request<'w> {
    world: &'w mut World,
    head: Parts,
    body: Body,
}

impl<'w> Request<'w> {
    pub(crate) fn new(world: &'w mut World, method: Method, path: &str) -> Self {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        let request = Self { world, head: request.into_parts().0, body: Body::default() };
        request.header("host", "tus.example.org").header("tus-resumable", "1.0.0")
    }

    /// Sets a header.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.headers.insert(field(name), bytes(value));
        self
    }

    /// Adds a header, even if there is one of that name.
    pub(crate) fn also(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.headers.append(field(name), bytes(value));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.head.headers.remove(name);
        self
    }

    pub(crate) fn http_2(mut self) -> Self {
        self.head.version = Version::HTTP_2;
        self
    }

    pub(crate) fn offset(self, offset: u64) -> Self {
        self.header("upload-offset", offset.to_string())
    }

    pub(crate) fn length(self, length: u64) -> Self {
        self.header("upload-length", length.to_string())
    }

    /// Asks for a final upload of these parts.
    pub(crate) fn concat(self, partials: &[&UploadId]) -> Self {
        let urls: Vec<_> = partials.iter().map(|id| format!("/files/{id}")).collect();
        self.header("upload-concat", format!("final;{}", urls.join(" ")))
    }

    /// The SHA-1 of these bytes, which may be those of the body.
    pub(crate) fn sha1_of(self, bytes: &[u8]) -> Self {
        self.header("upload-checksum", Checksum::of(Algorithm::Sha1, bytes).to_header())
    }

    /// A body whose length is declared.
    pub(crate) fn body(self, bytes: &[u8]) -> Self {
        self.stream(bytes).header("content-length", bytes.len().to_string())
    }

    /// A body whose length is not declared.
    pub(crate) fn stream(mut self, bytes: &[u8]) -> Self {
        self.body.pieces = Body::in_pieces(bytes, PIECE).pieces;
        self.header("content-type", "application/offset+octet-stream").without("content-length")
    }

    /// The body arrives in pieces of this many bytes.
    pub(crate) fn in_pieces(mut self, piece: usize) -> Self {
        self.body.pieces = Body::in_pieces(&self.body.pieces.concat(), piece).pieces;
        self
    }

    /// A trailer that the head does not announce.
    pub(crate) fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut trailers = match self.body.end {
            End::Complete(Some(trailers)) => trailers,
            _ => HeaderMap::new(),
        };
        trailers.append(field(name), bytes(value));
        self.body.end = End::Complete(Some(trailers));
        self
    }

    /// An `Upload-Checksum` as an announced trailer.
    pub(crate) fn trailing_sha1_of(self, bytes: &[u8]) -> Self {
        let checksum = Checksum::of(Algorithm::Sha1, bytes).to_header();
        self.header("trailer", "Upload-Checksum").trailer("upload-checksum", checksum)
    }

    /// The body is interrupted after the given bytes.
    pub(crate) fn interrupted(mut self, why: Interruption) -> Self {
        self.body.end = End::Interrupted(why);
        self
    }

    /// The head alone, for tests that drive the steps.
    pub(crate) fn into_head(self) -> Parts {
        self.head
    }

    pub(crate) fn send(self) -> Answer {
        Answer(self.world.exchange(&self.head, self.body))
    }
}

fn field(name: &str) -> HeaderName {
    name.parse().unwrap()
}

fn bytes(value: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(value.as_ref()).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Response<Bytes>);

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The value of a header that may occur once at most.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        assert!(self.0.headers().get_all(name).iter().count() <= 1, "{name} is repeated in {self:?}");
        self.0.headers().get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.0.body()).unwrap()
    }

    /// The upload in `Location`.
    #[track_caller]
    pub(crate) fn id(&self) -> UploadId {
        assert_eq!(self.status(), 201, "{self:?}");
        self.header("location").unwrap().rsplit('/').next().unwrap().parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn has(self, name: &str, value: impl Display) -> Self {
        assert_eq!(self.header(name), Some(value.to_string().as_str()), "{name} of {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn lacks(self, name: &str) -> Self {
        assert_eq!(self.header(name), None, "{name} of {self:?}");
        self
    }

    /// Asserts the status of a rejection and a part of its text.
    #[track_caller]
    pub(crate) fn says(self, status: u16, word: &str) -> Self {
        let answer = self.is(status);
        assert!(answer.text().contains(word), "{word:?} is not in {:?}", answer.text());
        answer
    }
}
