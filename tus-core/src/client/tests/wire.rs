//! Both machines in memory, connected by a wire that loses, cuts, repeats and delays requests.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use url::Url;

use super::super::{Capabilities, Error, Moment, Options, Retry, Step, Task, Uploaded, Uploading, discover};
use crate::{
    Checksum, Config, Upload, UploadId,
    server::{End, Interruption},
    testing::{Body, Model},
};

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Nothing.
    Passes,
    /// It does not arrive.
    Lost,
    /// It arrives, but the response doesn't.
    Unanswered,
    /// Its body is cut after this many bytes, and there is no response.
    Cut(u64),
    /// An intermediary answers with this status.
    Answered(u16),
    /// It arrives late, just before the next one, and there is no response.
    Late,
    /// It arrives now, and again before the next one.
    Twice,
}

/// A request as it was sent, so that it can reach the server twice.
#[derive(Clone)]
struct Letter {
    head: Parts,
    body: Vec<u8>,
}

pub(super) struct Wire {
    pub(super) server: Model,
    pub(super) source: Vec<u8>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) interruptions: u64,
    /// Requests that reached the client's end of the wire, in words.
    pub(super) log: Vec<String>,
    late: Option<Letter>,
    now: Duration,
    /// The largest offset that the client has received.
    acknowledged: u64,
}

pub(super) const ENDPOINT: &str = "http://tus.example.org/files";

pub(super) fn endpoint() -> Url {
    ENDPOINT.parse().unwrap()
}

/// Options for a wire that fails all the time.
pub(super) fn stubborn() -> Options {
    Options::default().retry(Retry::default().retries(u32::MAX))
}

impl Wire {
    pub(super) fn new(source: impl Into<Vec<u8>>) -> Self {
        Self {
            server: Model::new(Config::default()),
            source: source.into(),
            faults: VecDeque::new(),
            interruptions: 0,
            log: Vec::new(),
            late: None,
            now: Duration::ZERO,
            acknowledged: 0,
        }
    }

    pub(super) fn with(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    pub(super) fn capabilities(&mut self) -> Capabilities {
        self.run(discover(endpoint(), Options::default())).unwrap()
    }

    /// The bytes that the server has of an upload.
    pub(super) fn stored(&self, uploaded: &Uploaded) -> &[u8] {
        let upload = self.upload_of(uploaded);
        assert!(upload.is_complete(), "the server considers it complete");
        self.server.uploads.bytes(&upload.id).unwrap()
    }

    /// The record of an upload.
    pub(super) fn upload_of(&self, uploaded: &Uploaded) -> &Upload {
        let id: UploadId = uploaded.url.path().rsplit('/').next().unwrap().parse().unwrap();
        &self.server.uploads.get(&id).unwrap().upload
    }

    /// Creates an upload of the source and sends it.
    pub(super) fn upload(&mut self, step: Result<Step<Uploading>, Error>) -> Result<Uploaded, Error> {
        self.run(step?)
    }

    /// Drives a task to its end.
    pub(super) fn run<T: Task>(&mut self, mut step: Step<T>) -> Result<T::Output, Error> {
        loop {
            step = match step {
                Step::Read(read) => {
                    let range = self.within(read.range());
                    let checksum =
                        read.algorithm().map(|algorithm| Checksum::of(algorithm, &self.source[range.clone()]));
                    read.done(range.len() as u64, checksum)
                }
                Step::Transmit(transmit) => {
                    let range = transmit.body();
                    let body = range.clone().map_or(Vec::new(), |range| self.source[self.within(range)].to_vec());
                    let mut request = transmit.request();
                    self.log.push(match &range {
                        Some(range) => format!("{} {}..{}", request.method(), range.start, range.end),
                        None => request.method().to_string(),
                    });
                    if let Some(range) = range.filter(|_| request.method() == "PATCH") {
                        assert!(
                            range.start >= self.acknowledged,
                            "{range:?} is sent, and {} were acknowledged",
                            self.acknowledged
                        );
                    }
                    request.headers_mut().insert("content-length", body.len().into());
                    let result = self.exchange(request, body);
                    if let Ok(response) = &result
                        && let Some(offset) = response.headers().get("upload-offset")
                        && response.status().is_success()
                    {
                        self.acknowledged = self.acknowledged.max(offset.to_str().unwrap().parse().unwrap());
                    }
                    self.now += Duration::from_millis(10);
                    transmit.done(result, self.moment())
                }
                Step::Wait(wait) => {
                    self.now += wait.duration();
                    wait.done()
                }
                Step::Finished(result) => return result,
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, jitter: 0.0, took: Duration::from_millis(10) }
    }

    fn within(&self, range: std::ops::Range<u64>) -> std::ops::Range<usize> {
        let length = self.source.len();
        usize::try_from(range.start).unwrap().min(length)..usize::try_from(range.end).unwrap_or(length).min(length)
    }

    fn exchange(&mut self, request: Request<()>, body: Vec<u8>) -> Result<Response<Bytes>, Error> {
        let mut head = request.into_parts().0;
        // What a client sends over HTTP/1.1.
        let path = head.uri.path().parse().unwrap();
        head.headers.insert("host", head.uri.authority().unwrap().as_str().parse().unwrap());
        head.uri = path;
        let letter = Letter { head, body };
        if let Some(late) = self.late.take() {
            self.deliver(late, None);
        }
        let fault = self.faults.pop_front().unwrap_or(Fault::Passes);
        self.interruptions += u64::from(!matches!(fault, Fault::Passes));
        match fault {
            Fault::Passes => return Ok(self.deliver(letter, None)),
            Fault::Twice => {
                self.late = Some(letter.clone());
                return Ok(self.deliver(letter, None));
            }
            Fault::Answered(status) => {
                return Ok(Response::builder().status(status).body(Bytes::from("not tus")).unwrap());
            }
            Fault::Lost => {}
            Fault::Unanswered => drop(self.deliver(letter, None)),
            Fault::Cut(after) => drop(self.deliver(letter, Some(after))),
            Fault::Late => self.late = Some(letter),
        }
        Err(Error::connection("the wire broke"))
    }

    /// The server handles a request.
    fn deliver(&mut self, letter: Letter, cut: Option<u64>) -> Response<Bytes> {
        let Letter { head, mut body } = letter;
        let mut end = End::Complete(None);
        if let Some(cut) = cut.and_then(|cut| usize::try_from(cut).ok()).filter(|cut| *cut < body.len()) {
            body.truncate(cut);
            end = End::Interrupted(Interruption::Disconnected);
        }
        self.server.exchange(&head, Body::in_pieces(&body, 3).ending(end))
    }
}
