//! A server without sockets: it drives the machine over uploads in memory, and at each step it checks what must
//! hold whatever a client sends.
//!
//! - Nothing is created, held, received, delivered or deleted that was not authorized in the same exchange.
//! - An upload is an append-only register: a commit adds bytes that came in this exchange, in their order.
//! - The offset is never beyond the length, and as many bytes are there.
//! - An exchange changes no upload but its own.
//! - A response that tells an offset tells the one that is stored; a refusal has a text.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header::HeaderValue, request::Parts};
use tus_core::{
    Config, Failure, Kind, Rejection, Upload, UploadId,
    server::{self, End, Interruption, Operation, Receive, Reply, Step},
};

/// The path of the endpoint.
pub const MOUNT: &str = "/files";

/// The uploads that exist, with their bytes.
pub struct World {
    pub config: Arc<Config>,
    pub now: SystemTime,
    pub uploads: BTreeMap<UploadId, (Upload, Vec<u8>)>,
    created: u128,
}

/// What a client sends after the head, and what goes wrong meanwhile.
#[derive(Default)]
pub struct Sent {
    pub pieces: Vec<Vec<u8>>,
    pub end: Option<End>,
    /// Whether what a checkpoint may commit is committed.
    pub checkpoints: bool,
    /// The number of the step that fails, and how.
    pub failure: Option<(u8, Failure)>,
    /// The number of the question to which the application says no.
    pub rejects: Option<u8>,
}

/// Bytes that were received and not committed.
struct Tail {
    of: Option<UploadId>,
    bytes: Vec<u8>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_403_708_400);
        Self { config: Arc::new(config), now, uploads: BTreeMap::new(), created: 0 }
    }

    pub fn exchange(&mut self, head: &Parts, sent: Sent) -> Response<Bytes> {
        let before = self.uploads.clone();
        let method = head.method.clone();
        let overridden = head.headers.contains_key("x-http-method-override");
        let first = server::begin(&self.config, head, MOUNT, self.now);
        let (response, touched) = self.drive(first, sent);
        for (id, (old, old_bytes)) in &before {
            match self.uploads.get(id) {
                Some((new, bytes)) if touched.contains(id) => {
                    assert!(bytes.starts_with(old_bytes), "{id}: bytes that were acknowledged are others now");
                    assert!(old.length.is_none() || new.length == old.length, "{id}: the length changed");
                }
                Some((new, bytes)) => assert!((new, bytes) == (old, old_bytes), "{id} is not what was asked for"),
                None => assert!(touched.contains(id), "{id} is gone, and nobody asked for that"),
            }
        }
        self.check(&method, overridden, head, &response);
        response
    }

    /// What a server does when it starts, for an upload that a killed one left.
    pub fn resume(&mut self, id: &UploadId, sent: Sent) {
        let Some(step) =
            self.uploads.get(id).and_then(|(upload, _)| server::resume(&self.config, upload.clone(), self.now))
        else {
            return;
        };
        self.drive_authorized(step, sent, Some(id.clone()));
    }

    fn drive(&mut self, step: Step, sent: Sent) -> (Response<Bytes>, BTreeSet<UploadId>) {
        self.drive_authorized(step, sent, None)
    }

    fn drive_authorized(
        &mut self,
        mut step: Step,
        mut sent: Sent,
        own: Option<UploadId>,
    ) -> (Response<Bytes>, BTreeSet<UploadId>) {
        let mut authorized: Vec<(Operation, Option<UploadId>)> = Vec::new();
        let mut touched: BTreeSet<UploadId> = own.clone().into_iter().collect();
        let mut tail = Tail { of: None, bytes: Vec::new() };
        let (mut steps, mut questions) = (0, 0);
        loop {
            assert!(steps < 200, "it does not end");
            let works = match sent.failure {
                Some((at, failure)) if at == steps => Err(failure),
                _ => Ok(()),
            };
            steps += 1;
            let was = |operation: Operation, id: Option<&UploadId>| {
                own.is_some() || authorized.iter().any(|(done, on)| *done == operation && on.as_ref() == id)
            };
            step = match step {
                Step::Load(load) => {
                    let found = self.found(load.id());
                    load.done(works.map(|()| found))
                }
                Step::LoadPartials(load) => {
                    let found = load.ids().iter().map(|id| self.found(id)).collect();
                    load.done(works.map(|()| found))
                }
                Step::Authorize(ask) => {
                    let no = sent.rejects == Some(questions);
                    questions += 1;
                    if no {
                        ask.done(Err(Rejection::forbidden("no")))
                    } else {
                        authorized.push((ask.operation(), ask.upload().map(|upload| upload.id.clone())));
                        ask.done(Ok(()))
                    }
                }
                Step::Hold(hold) => {
                    let id = hold.upload().id.clone();
                    let asked = [Operation::Inspect, Operation::Append, Operation::Terminate];
                    assert!(asked.into_iter().any(|operation| was(operation, Some(&id))), "held without a question");
                    let found = self.found(&id);
                    hold.done(works.map(|()| found))
                }
                Step::Create(create) => {
                    assert!(was(Operation::Create, None), "created without a question");
                    self.created += 1;
                    let id = UploadId::from_random(self.created);
                    create.done(works.map(|()| id).map_err(|_| Rejection::new(StatusCode::IM_A_TEAPOT, "no")))
                }
                Step::Store(store) => {
                    let upload = store.upload().clone();
                    if let Kind::Final(parts) = &upload.kind {
                        let asked = parts.partials.iter().all(|id| was(Operation::Concatenate, Some(id)));
                        assert!(asked, "a part was taken without a question");
                    }
                    assert_eq!(upload.offset, 0);
                    if works.is_ok() {
                        touched.insert(upload.id.clone());
                        assert!(self.uploads.insert(upload.id.clone(), (upload, Vec::new())).is_none());
                    }
                    store.done(works)
                }
                Step::Receive(receive) => {
                    let id = receive.upload().id.clone();
                    assert!(was(Operation::Append, Some(&id)) || touched.contains(&id), "received without a question");
                    touched.insert(id.clone());
                    tail.of = Some(id);
                    self.receive(receive, &mut sent, &mut tail)
                }
                Step::Commit(commit) => {
                    let stored = works.and_then(|()| self.commit(commit.upload(), &mut tail));
                    commit.done(stored)
                }
                Step::Join(join) => {
                    let upload = join.upload().clone();
                    let parts = join.partials().iter().flat_map(|part| {
                        let (stored, bytes) = &self.uploads[&part.id];
                        assert!(stored.is_complete() && stored.kind == Kind::Partial, "{stored:?} was joined");
                        bytes.clone()
                    });
                    let bytes: Vec<u8> = parts.collect();
                    assert_eq!((upload.offset, upload.length), (bytes.len() as u64, Some(bytes.len() as u64)));
                    touched.insert(upload.id.clone());
                    if works.is_ok() {
                        self.uploads.insert(upload.id.clone(), (upload, bytes));
                    }
                    join.done(works)
                }
                Step::Finish(finish) => {
                    let upload = finish.upload();
                    assert!(upload.is_complete() && upload.kind != Kind::Partial, "{upload:?} is not finished");
                    touched.insert(upload.id.clone());
                    if let (Ok(()), Some((stored, _))) = (works, self.uploads.get_mut(&upload.id)) {
                        stored.finished = true;
                    }
                    finish.done(works.map(|()| Reply::default()).map_err(|_| Rejection::forbidden("not this one")))
                }
                Step::Terminate(terminate) => {
                    let id = terminate.upload().id.clone();
                    let by_request = was(Operation::Terminate, Some(&id));
                    assert!(by_request || touched.contains(&id), "deleted without a question");
                    touched.insert(id.clone());
                    // Somebody else may have been faster.
                    if matches!(works, Ok(()) | Err(Failure::NotFound)) {
                        self.uploads.remove(&id);
                    }
                    terminate.done(works)
                }
                Step::Deliver(deliver) => {
                    let id = deliver.upload().id.clone();
                    assert!(was(Operation::Download, Some(&id)), "delivered without a question");
                    match works {
                        Err(failure) => deliver.failed(failure),
                        Ok(()) => {
                            let range = deliver.range();
                            let bytes = &self.uploads[&id].1[range.start as usize..range.end as usize];
                            let body = Bytes::copy_from_slice(bytes);
                            return (deliver.response().map(|()| body), touched);
                        }
                    }
                }
                Step::Respond(response) => return (response, touched),
            }
        }
    }

    fn receive(&mut self, mut receive: Receive, sent: &mut Sent, tail: &mut Tail) -> Step {
        let began_at = self.uploads[tail.of.as_ref().unwrap()].0.offset;
        for piece in std::mem::take(&mut sent.pieces) {
            receive = match receive.data(&piece) {
                Ok(receive) => receive,
                Err(step) => return *step,
            };
            tail.bytes.extend(piece);
            assert_eq!(
                receive.progress().offset,
                self.uploads[tail.of.as_ref().unwrap()].0.offset + tail.bytes.len() as u64
            );
            if let Some(upload) = receive.checkpoint(self.now).filter(|_| sent.checkpoints)
                && let Err(failure) = self.commit(&upload, tail)
            {
                let stored = self.uploads[&upload.id].0.offset - began_at;
                return receive.end(End::Interrupted(Interruption::Failed { failure, stored }), self.now);
            }
        }
        let mut end = sent.end.take().unwrap_or(End::Complete(None));
        if let End::Interrupted(Interruption::Failed { stored, .. }) = &mut end {
            // What was committed was stored before.
            *stored = (*stored).max(self.uploads[tail.of.as_ref().unwrap()].0.offset - began_at);
        }
        receive.end(end, self.now)
    }

    fn commit(&mut self, upload: &Upload, tail: &mut Tail) -> Result<(), Failure> {
        assert_eq!(Some(&upload.id), tail.of.as_ref(), "another upload is committed");
        let (stored, bytes) = self.uploads.get_mut(&upload.id).ok_or(Failure::NotFound)?;
        let more = upload.offset.checked_sub(stored.offset).expect("an offset never goes back");
        assert!(more <= tail.bytes.len() as u64, "more is committed than came");
        assert!(upload.length.is_none_or(|length| upload.offset <= length), "{upload:?}");
        assert!(upload.max_size.is_none_or(|most| upload.offset <= most), "{upload:?}");
        bytes.extend(tail.bytes.drain(..more as usize));
        *stored = upload.clone();
        Ok(())
    }

    fn check(&self, method: &Method, overridden: bool, head: &Parts, response: &Response<Bytes>) {
        for (id, (upload, bytes)) in &self.uploads {
            assert_eq!(upload.offset, bytes.len() as u64, "{id}");
            assert!(upload.length.is_none_or(|length| upload.offset <= length), "{upload:?}");
        }
        let status = response.status();
        if (status.is_client_error() || status.is_server_error()) && method != Method::HEAD && !overridden {
            assert!(!response.body().is_empty(), "{status} without a word");
        }
        let id = head.uri.path().rsplit('/').next().and_then(|id| id.parse::<UploadId>().ok());
        let told = response.headers().get("upload-offset").map(offset);
        let named = id.and_then(|id| self.uploads.get(&id));
        if let (Some(told), Some((upload, _)), true) = (told, named, status.is_success()) {
            assert_eq!(told, upload.offset, "{method} tells an offset that is not the one stored");
        }
        if let Some(location) = response.headers().get("location") {
            let location = location.to_str().expect("a URL is text");
            assert!(location.parse::<http::Uri>().is_ok(), "{location}");
        }
    }

    fn found(&self, id: &UploadId) -> Option<Upload> {
        self.uploads.get(id).map(|(upload, _)| upload.clone())
    }
}

fn offset(value: &HeaderValue) -> u64 {
    value.to_str().unwrap().parse().unwrap()
}
