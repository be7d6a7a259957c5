//! The IETF's "Resumable Uploads for HTTP", sentence by sentence: draft 12, and what differs in the versions before and
//! after it. Quotes are from draft 12 where no other is named.

mod append;
mod cancellation;
mod creation;
mod dialects;
mod digests;
mod interim;
mod limits;
mod metadata;
mod resource;
mod retrieval;
mod security;
mod state;
mod versions;

use http::Method;

use super::{
    request::{Answer, Request},
    world::World,
};
use crate::UploadId;

/// The interop version of draft 12.
pub(super) const DRAFT_12: u8 = 9;
/// All supported versions.
const VERSIONS: [u8; 8] = [3, 4, 5, 6, 7, 8, 9, 10];

const PARTIAL: &str = "application/partial-upload";

/// A request in a version of the draft.
fn request<'w>(world: &'w mut World, version: u8, method: Method, path: &str) -> Request<'w> {
    let version = version.to_string();
    world.request(method, path).without("tus-resumable").header("upload-draft-interop-version", version)
}

/// Declares whether the request completes its upload.
fn complete(request: Request<'_>, version: u8, complete: bool) -> Request<'_> {
    let (name, value) = said(version, complete);
    request.header(name, value)
}

/// The name and value by which a version says whether an upload is complete.
fn said(version: u8, complete: bool) -> (&'static str, &'static str) {
    match (version, complete) {
        (3, true) => ("upload-incomplete", "?0"),
        (3, false) => ("upload-incomplete", "?1"),
        (_, true) => ("upload-complete", "?1"),
        (_, false) => ("upload-complete", "?0"),
    }
}

/// A creation with this content.
fn post<'w>(world: &'w mut World, version: u8, completes: bool, content: &[u8]) -> Request<'w> {
    let request = request(world, version, Method::POST, "/files").body(content).without("content-type");
    complete(request, version, completes)
}

/// An append of this content at this offset.
pub(super) fn patch<'w>(
    world: &'w mut World,
    version: u8,
    id: &UploadId,
    offset: u64,
    completes: bool,
    content: &[u8],
) -> Request<'w> {
    let path = world.url(id);
    let request = request(world, version, Method::PATCH, &path).offset(offset).body(content);
    complete(request.header("content-type", PARTIAL), version, completes)
}

pub(super) fn head<'w>(world: &'w mut World, version: u8, id: &UploadId) -> Request<'w> {
    let path = world.url(id);
    request(world, version, Method::HEAD, &path)
}

fn delete<'w>(world: &'w mut World, version: u8, id: &UploadId) -> Request<'w> {
    let path = world.url(id);
    request(world, version, Method::DELETE, &path)
}

/// An incomplete upload with these bytes, of unknown length.
pub(super) fn begun(world: &mut World, version: u8, content: &[u8]) -> UploadId {
    post(world, version, false, content).send().id()
}

/// An incomplete upload with these bytes, of this length.
fn begun_of(world: &mut World, version: u8, content: &[u8], length: u64) -> UploadId {
    post(world, version, false, content).length(length).send().id()
}

/// A complete upload with these bytes.
fn completed(world: &mut World, version: u8, content: &[u8]) -> UploadId {
    post(world, version, true, content).send().id()
}

impl Answer {
    /// The completeness in the response.
    #[track_caller]
    fn complete(self, version: u8, complete: bool) -> Self {
        let (name, value) = said(version, complete);
        self.has(name, value)
    }

    /// A rejection as problem details, and their content.
    #[track_caller]
    fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_str(self.text()).unwrap();
        assert_eq!(problem["status"], self.status(), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }

    /// The type of the problem, without the common prefix of the draft's types.
    #[track_caller]
    fn problem_type(&self) -> String {
        let problem = self.problem();
        let name = problem["type"].as_str().unwrap().strip_prefix("https://iana.org/assignments/http-problem-types#");
        name.unwrap().to_owned()
    }
}
