//! The model of a server, and the most common requests to it.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use http::Method;

use super::request::Request;
use crate::{Config, Kind, Phase, Upload, UploadId, testing::Model};

pub(crate) struct World(pub(crate) Model);

impl Deref for World {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.0
    }
}

impl World {
    /// A server with every extension except expiration.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self(Model::new(config))
    }

    pub(crate) fn request(&mut self, method: Method, path: &str) -> Request<'_> {
        Request::new(self, method, path)
    }

    pub(crate) fn options(&mut self) -> Request<'_> {
        self.request(Method::OPTIONS, &self.mount.clone()).without("tus-resumable")
    }

    pub(crate) fn post(&mut self) -> Request<'_> {
        self.request(Method::POST, &self.mount.clone()).header("content-length", "0")
    }

    pub(crate) fn head(&mut self, id: &UploadId) -> Request<'_> {
        self.request(Method::HEAD, &self.url(id))
    }

    pub(crate) fn patch(&mut self, id: &UploadId) -> Request<'_> {
        self.request(Method::PATCH, &self.url(id)).body(b"")
    }

    pub(crate) fn delete(&mut self, id: &UploadId) -> Request<'_> {
        self.request(Method::DELETE, &self.url(id))
    }

    /// The path of an upload.
    pub(crate) fn url(&self, id: &UploadId) -> String {
        format!("{}/{id}", self.mount)
    }

    /// An upload of `length` bytes that has the given bytes.
    pub(crate) fn upload(&mut self, bytes: &[u8], length: u64) -> UploadId {
        let id = self.post().length(length).send().id();
        self.fill(id, bytes)
    }

    /// An upload whose length is still unknown.
    pub(crate) fn deferred(&mut self, bytes: &[u8]) -> UploadId {
        let id = self.post().header("upload-defer-length", "1").send().id();
        self.fill(id, bytes)
    }

    /// A partial upload of `length` bytes that has the given bytes.
    pub(crate) fn partial(&mut self, bytes: &[u8], length: u64) -> UploadId {
        let id = self.post().header("upload-concat", "partial").length(length).send().id();
        self.fill(id, bytes)
    }

    /// A final upload of these parts, complete or not.
    pub(crate) fn concatenate(&mut self, partials: &[&UploadId]) -> UploadId {
        self.post().concat(partials).send().id()
    }

    fn fill(&mut self, id: UploadId, bytes: &[u8]) -> UploadId {
        if !bytes.is_empty() {
            self.patch(&id).offset(0).body(bytes).send().is(204);
        }
        id
    }

    /// Stores a record that no request can produce here.
    pub(crate) fn place(&mut self, offset: u64, length: Option<u64>, max_size: Option<u64>) -> UploadId {
        self.place_of(Kind::Single, offset, length, max_size)
    }

    /// A partial upload that no request can produce here.
    pub(crate) fn place_partial(&mut self, offset: u64, length: u64) -> UploadId {
        self.place_of(Kind::Partial, offset, Some(length), None)
    }

    fn place_of(&mut self, kind: Kind, offset: u64, length: Option<u64>, max_size: Option<u64>) -> UploadId {
        let (id, incarnation) = self.fresh_name();
        let mut upload = Upload::new(id.clone(), incarnation, kind);
        (upload.offset, upload.length, upload.max_size) = (offset, length, max_size);
        upload.created = self.now;
        if length == Some(offset) {
            upload.phase = Phase::Complete;
        }
        self.uploads.place(upload, []);
        id
    }

    /// The application chooses the ids of the next uploads.
    pub(crate) fn choose_id(&mut self, id: &'static str) {
        self.application.shape = Box::new(move |new| {
            new.id = id.parse().ok();
            Ok(())
        });
    }

    pub(crate) fn record(&self, id: &UploadId) -> &Upload {
        &self.uploads.get(id).unwrap().upload
    }

    pub(crate) fn bytes(&self, id: &UploadId) -> &[u8] {
        self.uploads.bytes(id).unwrap()
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn passed(&self, step: &str) -> bool {
        self.log.steps.contains(&step)
    }

    /// Whether OPTIONS announces this extension.
    pub(crate) fn announces(&mut self, extension: &str) -> bool {
        let answer = self.options().send().is(204);
        answer.header("tus-extension").is_some_and(|list| list.split(',').any(|name| name == extension))
    }
}
