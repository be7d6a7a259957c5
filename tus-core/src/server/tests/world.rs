//! A server without sockets, over uploads in memory: what is in it, and what a test arranges there.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Method;

use super::{
    super::{Access, Operation, Reply},
    request::Request,
};
use crate::{Config, Failure, Kind, Metadata, NewUpload, Rejection, Upload, UploadId};

/// The uploads that exist, with their bytes.
pub(crate) type Storage = HashMap<UploadId, (Upload, Vec<u8>)>;

type Rejects = dyn Fn(Operation, Option<&UploadId>) -> bool;
type Shape = dyn Fn(&mut NewUpload) -> Result<(), Rejection>;
type Change = dyn FnOnce(&mut Storage);

pub(crate) struct World {
    pub(crate) config: Arc<Config>,
    /// Where the endpoint is.
    pub(crate) mount: &'static str,
    pub(crate) now: SystemTime,
    pub(crate) uploads: Storage,
    /// The steps of the last exchange, in their order.
    pub(crate) steps: Vec<&'static str>,
    /// What the application was asked in the last exchange.
    pub(crate) asked: Vec<(Operation, Option<UploadId>)>,
    /// How the last exchange held uploads.
    pub(crate) held: Vec<Access>,
    /// The offset that a checkpoint would have made durable after each piece of the last body.
    pub(crate) checkpoints: Vec<Option<u64>>,
    /// The uploads that the application was told are whole, ever.
    pub(crate) finished: Vec<UploadId>,
    /// Whether checkpoints are committed.
    pub(crate) commits_checkpoints: bool,
    /// The application's no.
    pub(crate) rejects: Box<Rejects>,
    /// What the application does with a new upload.
    pub(crate) shape: Box<Shape>,
    /// What the application says when it is told that an upload is whole.
    pub(crate) reply: Result<Reply, Rejection>,
    /// The steps that will fail.
    pub(crate) failures: HashMap<&'static str, Failure>,
    /// What happens to the storage just before a step.
    pub(crate) meanwhile: HashMap<&'static str, Box<Change>>,
    next_id: u128,
}

impl World {
    /// A server with every extension but expiration.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            mount: "/files",
            // Wed, 25 Jun 2014 15:00:00 GMT: an hour before the time in the specification's example.
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_403_708_400),
            uploads: Storage::new(),
            steps: Vec::new(),
            asked: Vec::new(),
            held: Vec::new(),
            checkpoints: Vec::new(),
            finished: Vec::new(),
            commits_checkpoints: false,
            rejects: Box::new(|_, _| false),
            shape: Box::new(|_| Ok(())),
            reply: Ok(Reply::default()),
            failures: HashMap::new(),
            meanwhile: HashMap::new(),
            next_id: 1,
        }
    }

    pub(crate) fn request(&mut self, method: Method, path: &str) -> Request<'_> {
        Request::new(self, method, path)
    }

    pub(crate) fn options(&mut self) -> Request<'_> {
        self.request(Method::OPTIONS, self.mount).without("tus-resumable")
    }

    pub(crate) fn post(&mut self) -> Request<'_> {
        self.request(Method::POST, self.mount).header("content-length", "0")
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

    /// An upload of `length` bytes of which those given are there.
    pub(crate) fn upload(&mut self, bytes: &[u8], length: u64) -> UploadId {
        let id = self.post().length(length).send().id();
        self.fill(id, bytes)
    }

    /// An upload whose length is not known yet.
    pub(crate) fn deferred(&mut self, bytes: &[u8]) -> UploadId {
        let id = self.post().header("upload-defer-length", "1").send().id();
        self.fill(id, bytes)
    }

    /// A partial upload of `length` bytes of which those given are there.
    pub(crate) fn partial(&mut self, bytes: &[u8], length: u64) -> UploadId {
        let id = self.post().header("upload-concat", "partial").length(length).send().id();
        self.fill(id, bytes)
    }

    /// A final upload of these, whether they are complete or not.
    pub(crate) fn join(&mut self, partials: &[&UploadId]) -> UploadId {
        self.post().concat(partials).send().id()
    }

    fn fill(&mut self, id: UploadId, bytes: &[u8]) -> UploadId {
        if !bytes.is_empty() {
            self.patch(&id).offset(0).body(bytes).send().is(204);
        }
        id
    }

    /// Puts a record in place that no request could have made here.
    pub(crate) fn place(&mut self, offset: u64, length: Option<u64>, max_size: Option<u64>) -> UploadId {
        let id = self.fresh_id();
        let upload = Upload {
            id: id.clone(),
            kind: Kind::Single,
            offset,
            length,
            max_size,
            metadata: Metadata::default(),
            created: self.now,
            expires: None,
            finished: false,
        };
        self.uploads.insert(id.clone(), (upload, Vec::new()));
        id
    }

    /// A partial upload that no request could have made here.
    pub(crate) fn place_partial(&mut self, offset: u64, length: u64) -> UploadId {
        let id = self.place(offset, Some(length), None);
        self.uploads.get_mut(&id).unwrap().0.kind = Kind::Partial;
        id
    }

    /// The application chooses the ids of the next uploads.
    pub(crate) fn choose_id(&mut self, id: &'static str) {
        self.shape = Box::new(move |new| {
            new.id = id.parse().ok();
            Ok(())
        });
    }

    pub(crate) fn record(&self, id: &UploadId) -> &Upload {
        &self.uploads[id].0
    }

    pub(crate) fn bytes(&self, id: &UploadId) -> &[u8] {
        &self.uploads[id].1
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// The next step of that name fails.
    pub(crate) fn fail(&mut self, step: &'static str, failure: Failure) {
        self.failures.insert(step, failure);
    }

    /// Something else changes the storage just before the next step of that name.
    pub(crate) fn meanwhile(&mut self, step: &'static str, act: impl FnOnce(&mut Storage) + 'static) {
        self.meanwhile.insert(step, Box::new(act));
    }

    /// The steps of the last exchange in one line.
    pub(crate) fn path(&self) -> String {
        self.steps.join(" ")
    }

    pub(crate) fn passed(&self, step: &str) -> bool {
        self.steps.contains(&step)
    }

    /// Whether OPTIONS announces this extension.
    pub(crate) fn announces(&mut self, extension: &str) -> bool {
        let answer = self.options().send().is(204);
        answer.header("tus-extension").is_some_and(|list| list.split(',').any(|name| name == extension))
    }

    pub(crate) fn fresh_id(&mut self) -> UploadId {
        self.next_id += 1;
        UploadId::from_random(self.next_id)
    }
}
