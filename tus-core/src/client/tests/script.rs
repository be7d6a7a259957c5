//! A server that answers as the test scripts it, and records its requests.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

use super::super::{Error, Moment, Step, Task};
use crate::Checksum;

/// The requests to a server that answers in this order.
pub(super) struct Script {
    answers: VecDeque<Result<Response<Bytes>, Error>>,
    pub(super) asked: Vec<Request<Option<std::ops::Range<u64>>>>,
    /// Whether each request went to the origin that the caller named.
    pub(super) home: Vec<bool>,
    /// The waits, in seconds.
    pub(super) waits: Vec<f64>,
    /// The length of the source in bytes.
    pub(super) source: u64,
}

/// A tus response: a status and headers.
pub(super) fn answer(status: u16, headers: &[(&str, &str)]) -> Result<Response<Bytes>, Error> {
    let mut response = Response::builder().status(status).header("tus-resumable", "1.0.0");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Bytes::new()).unwrap())
}

pub(super) fn broken() -> Result<Response<Bytes>, Error> {
    Err(Error::connection("reset"))
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Result<Response<Bytes>, Error>>) -> Self {
        let answers = answers.into_iter().collect();
        Self { answers, asked: Vec::new(), home: Vec::new(), waits: Vec::new(), source: 100 }
    }

    /// Drives a task until it is finished, or until no answers are left, which is an error, too.
    pub(super) fn run<T: Task>(&mut self, mut step: Step<T>) -> Result<T::Output, Error> {
        let mut now = Duration::from_secs(1000);
        loop {
            step = match step {
                Step::Read(read) => {
                    let range = read.range();
                    let there = range.end.min(self.source).saturating_sub(range.start);
                    let checksum = read.algorithm().map(|algorithm| Checksum::of(algorithm, b"hello world"));
                    read.done(there, checksum)
                }
                Step::Transmit(transmit) => {
                    self.asked.push(transmit.request().map(|()| transmit.body()));
                    self.home.push(transmit.is_home());
                    let Some(answer) = self.answers.pop_front() else {
                        return Err(Error::Invalid("the script is at its end".into()));
                    };
                    transmit.done(answer, Moment { now, jitter: 0.0, took: Duration::ZERO })
                }
                Step::Wait(wait) => {
                    self.waits.push(wait.duration().as_secs_f64());
                    now += wait.duration();
                    wait.done()
                }
                Step::Finished(result) => {
                    assert!(self.answers.is_empty(), "it ends before the script does: {result:?}");
                    return result;
                }
            }
        }
    }

    /// The methods and paths of the requests, and the bytes that were sent.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |request: &Request<Option<std::ops::Range<u64>>>| {
            let bytes = request.body().as_ref().map(|range| format!(" {}..{}", range.start, range.end));
            format!("{} {}{}", request.method(), request.uri().path(), bytes.unwrap_or_default())
        };
        self.asked.iter().map(line).collect()
    }

    /// A header of a request.
    pub(super) fn header(&self, at: usize, name: &str) -> Option<&str> {
        self.asked[at].headers().get(name).map(|value| value.to_str().unwrap())
    }
}
