//! Complete exchanges without I/O, answered as a driver with everything in memory would.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use tus_core::{
    Algorithm, Checksum, Config, Incarnation, Kind, Stored, Upload, UploadId,
    server::{self, Completion, End, Ended, FinishReply, Mount, Step},
};

/// Bytes of a body.
pub(crate) const BODY: usize = 1024;

/// An exchange: its name, the head of its request, and the status of its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    head: request::Parts,
    status: StatusCode,
    config: Arc<Config>,
    stored: Stored,
    body: Bytes,
}

/// One exchange of each kind with tus, on a server with this configuration.
pub(crate) fn all(config: Config) -> Vec<Exchange> {
    let config = Arc::new(config);
    let body = Bytes::from(vec![0x5a; BODY]);
    let sha1 = Checksum::of(Algorithm::Sha1, &body).to_header();
    let post = [
        ("upload-length", HeaderValue::from(BODY)),
        ("upload-metadata", HeaderValue::from_static("filename ZmlsbS5tcDQ=")),
    ];
    let patch = [
        ("upload-offset", HeaderValue::from(0)),
        ("content-type", HeaderValue::from_static("application/offset+octet-stream")),
        ("content-length", HeaderValue::from(BODY)),
    ];
    let verified = patch.clone().into_iter().chain([("upload-checksum", sha1)]);
    let exchange = |name, method, path, headers: Vec<(&'static str, HeaderValue)>, status| {
        let mut request = Request::builder().method(method).uri(path).header("host", "uploads.example");
        for (name, value) in headers.into_iter().chain([("tus-resumable", HeaderValue::from_static("1.0.0"))]) {
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).expect("a valid request").into_parts();
        Exchange { name, head, status, config: config.clone(), stored: stored(), body: body.clone() }
    };
    const UPLOAD: &str = "/files/00112233445566778899aabbccddeeff";
    vec![
        exchange("HEAD", Method::HEAD, UPLOAD, Vec::new(), StatusCode::OK),
        exchange("POST", Method::POST, "/files", post.into(), StatusCode::CREATED),
        exchange("PATCH of 1 KiB", Method::PATCH, UPLOAD, patch.into(), StatusCode::NO_CONTENT),
        exchange("PATCH of 1 KiB with SHA-1", Method::PATCH, UPLOAD, verified.collect(), StatusCode::NO_CONTENT),
    ]
}

impl Exchange {
    /// From the head of the request to the response.
    pub(crate) fn run(&self) -> Response<Bytes> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut step = server::begin(&self.config, &self.head, &Mount::at("/files"), now);
        loop {
            step = match step {
                Step::Load(load) => load.done(Ok(Some(self.stored.clone()))),
                Step::Authorize(authorize) => authorize.done(Ok(())),
                Step::Hold(hold) => hold.done(Ok(Some(self.stored.clone()))),
                Step::Create(create) => {
                    create.done(Ok((self.stored.upload.id.clone(), self.stored.upload.incarnation)))
                }
                Step::Store(store) => store.done(Ok(2.into())),
                Step::Receive(receive) => {
                    let received = receive.data(&self.body);
                    match received.map_or_else(Ended::Step, |receive| receive.end(End::Complete(None), now)) {
                        Ended::Commit(commit) => commit.done(Ok(2.into())),
                        Ended::Step(step) => *step,
                    }
                }
                Step::Complete(complete) => {
                    let (mut completion, completing) = complete.begin();
                    completing.done(loop {
                        completion = match completion {
                            Completion::Finish(finish) => finish.done(Ok(FinishReply::default())),
                            Completion::Record(record) => record.done(Ok(3.into())),
                            Completion::Done(done) => break done,
                            other => panic!("{} led to {other:?}", self.name),
                        }
                    })
                }
                Step::Respond(response) => {
                    assert_eq!(response.status(), self.status, "{}", self.name);
                    return response;
                }
                other => panic!("{} led to {other:?}", self.name),
            };
        }
    }
}

fn stored() -> Stored {
    let id = UploadId::from_random(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let mut upload = Upload::new(id, Incarnation::from_random(1), Kind::Single);
    upload.length = Some(BODY as u64);
    Stored::new(upload, 1.into())
}
