//! The steps, and what is the same in all tasks: requests are sent, and sent again when they fail.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use url::{Origin, Url};

use super::{Error, Options, response::Answer};
use crate::{
    Algorithm, Checksum, TUS_VERSION as VERSION,
    header::{TUS_RESUMABLE, X_HTTP_METHOD_OVERRIDE},
};

/// What has to be done next for a task.
#[must_use]
#[derive(Debug)]
pub enum Step<T: Task> {
    /// Look at bytes of the source before they are sent.
    Read(Read<T>),
    /// Perform one HTTP request.
    Transmit(Transmit<T>),
    /// Let time pass before the next try.
    Wait(Wait<T>),
    /// It is done, or failed for good.
    Finished(Result<T::Output, Error>),
}

/// What is to be done: [`Uploading`](super::Uploading), [`Discover`](super::Discover),
/// [`Inspect`](super::Inspect) or [`Terminate`](super::Terminate).
#[expect(private_bounds, reason = "what a task does is this crate's")]
pub trait Task: Work + fmt::Debug {
    /// What comes of it.
    type Output: fmt::Debug;
}

/// What distinguishes the tasks.
pub(super) trait Work: Sized {
    /// Bytes of the source that have to be looked at before they are sent.
    fn wanted(&self) -> Option<Wanted> {
        None
    }

    /// Takes note of what was found there. Whether that was all that was left to do.
    fn found(&mut self, bytes: u64, checksum: Option<Checksum>) -> Result<Option<<Self as Task>::Output>, Error>
    where
        Self: Task,
    {
        let _ = (bytes, checksum);
        Ok(None)
    }

    /// The next request.
    fn call(&self) -> Call;

    /// Takes note of the answer.
    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<<Self as Task>::Output>, Error>
    where
        Self: Task;

    /// It is not known what became of the last request.
    fn lost(&mut self) {}
}

/// Bytes of the source, and the digest that is wanted of them.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) range: Range<u64>,
    pub(super) algorithm: Option<Algorithm>,
}

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

/// What an answer leads to.
pub(super) enum Turn<O> {
    Done(O),
    /// To the next request. Progress sets the count of retries back.
    Go {
        progress: bool,
    },
}

/// The URL as a request has it. `url` reads some that `http` does not.
pub(super) fn uri(url: &Url) -> Option<Uri> {
    let is_http = matches!(url.scheme(), "http" | "https");
    url.as_str().split('#').next().filter(|_| is_http)?.parse().ok()
}

/// When an answer came, which the machine cannot know.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time since any fixed point, by a clock that does not go back.
    pub now: Duration,
    /// A random number from 0 to 1, which spreads the retries of many clients.
    pub jitter: f64,
}

/// A task and the state of its retries.
#[derive(Debug)]
struct Run<T> {
    task: T,
    options: Options,
    /// The origin that the caller named: credentials are for it alone.
    home: Origin,
    /// Since the last progress.
    retries: u32,
    began: Option<Duration>,
    /// New credentials were asked for since the last success.
    renewed: bool,
}

/// Look at bytes of the source before they are sent.
#[must_use]
#[derive(Debug)]
pub struct Read<T: Task> {
    run: Box<Run<T>>,
    wanted: Wanted,
}

/// Perform one HTTP request.
#[must_use]
#[derive(Debug)]
pub struct Transmit<T: Task> {
    uri: Uri,
    run: Box<Run<T>>,
    call: Call,
}

/// Let time pass before the next try.
#[must_use]
#[derive(Debug)]
pub struct Wait<T: Task> {
    run: Box<Run<T>>,
    duration: Duration,
    reason: Error,
}

impl<T: Task> Step<T> {
    pub(super) fn begin(task: T, options: Options) -> Self {
        let home = task.call().url.origin();
        Run { task, options, home, retries: 0, began: None, renewed: false }.next()
    }

    /// The task, as it stands; `None` at its end.
    pub fn task(&self) -> Option<&T> {
        match self {
            Self::Read(read) => Some(&read.run.task),
            Self::Transmit(transmit) => Some(transmit.task()),
            Self::Wait(wait) => Some(wait.task()),
            Self::Finished(_) => None,
        }
    }
}

impl<T: Task> Run<T> {
    fn next(self) -> Step<T> {
        let run = Box::new(self);
        match run.task.wanted() {
            Some(wanted) => Step::Read(Read { run, wanted }),
            None => Transmit::of(run),
        }
    }

    fn failed(mut self, error: Error, asked: Option<Duration>, moment: Moment) -> Step<T> {
        let unauthorized = error.status() == Some(StatusCode::UNAUTHORIZED);
        if unauthorized && self.options.renews_credentials && !self.renewed {
            self.renewed = true;
            return self.next();
        }
        let retry = &self.options.retry;
        let judged = retry.judge.as_ref().and_then(|judge| judge(&error));
        if !judged.unwrap_or_else(|| error.is_passing()) {
            return Step::Finished(Err(error));
        }
        let duration = match error.is_conflict() && self.retries == 0 {
            true => Duration::ZERO,
            false => retry.wait(self.retries, asked, moment.jitter),
        };
        let began = self.began.unwrap_or(moment.now);
        let late = retry.deadline.is_some_and(|deadline| moment.now + duration > began.saturating_add(deadline));
        if late || self.retries >= retry.retries {
            return Step::Finished(Err(Error::GivenUp { retries: self.retries, last: Box::new(error) }));
        }
        self.retries += 1;
        self.task.lost();
        Step::Wait(Wait { run: Box::new(self), duration, reason: error })
    }
}

impl<T: Task> Read<T> {
    /// The bytes, from the start of the source. Of a source whose length is not known the last of them may not be
    /// there.
    pub fn range(&self) -> Range<u64> {
        self.wanted.range.clone()
    }

    /// The digest that is wanted of them.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.wanted.algorithm
    }

    /// Goes on with the number of the bytes that are there, and their digest, where it is wanted. Fewer than the
    /// range means that the source ends there. One that ends before the range even begins is not the source of the
    /// upload, which is for the driver to tell.
    pub fn done(self, bytes: u64, checksum: Option<Checksum>) -> Step<T> {
        let mut run = self.run;
        match run.task.found(bytes, checksum) {
            Ok(None) => Transmit::of(run),
            Ok(Some(output)) => Step::Finished(Ok(output)),
            Err(error) => Step::Finished(Err(error)),
        }
    }
}

impl<T: Task> Transmit<T> {
    fn of(run: Box<Run<T>>) -> Step<T> {
        let call = run.task.call();
        match uri(&call.url) {
            Some(uri) => Step::Transmit(Self { run, call, uri }),
            None => Step::Finished(Err(Error::Invalid(format!("{} is no URL to which HTTP could send", call.url)))),
        }
    }

    /// The head of the request, without the caller's own headers and without `Content-Length`. A driver that does not
    /// wait for `100 Continue` takes the header `Expect` out where there is one.
    pub fn request(&self) -> Request<()> {
        let Call { method, headers, .. } = &self.call;
        let mut request = Request::new(());
        *request.uri_mut() = self.uri.clone();
        *request.method_mut() = method.clone();
        let sent = request.headers_mut();
        sent.extend(headers.iter().cloned());
        if *method != Method::OPTIONS {
            sent.insert(TUS_RESUMABLE.clone(), HeaderValue::from_static(VERSION));
        }
        if self.run.options.override_method && [Method::PATCH, Method::DELETE].contains(method) {
            sent.insert(X_HTTP_METHOD_OVERRIDE.clone(), crate::header::value(method.as_str()));
            *request.method_mut() = Method::POST;
        }
        request
    }

    /// The bytes of the source that are the body; `None` for a request without one.
    pub fn body(&self) -> Option<Range<u64>> {
        self.call.body.clone()
    }

    /// Whether it goes to the origin that the caller named. Headers that the caller set, credentials above all, are
    /// for no other one.
    pub fn is_home(&self) -> bool {
        self.call.url.origin() == self.run.home
    }

    /// The task, as it stands.
    pub fn task(&self) -> &T {
        &self.run.task
    }

    /// Goes on with the response, its body included, or with how the request failed.
    pub fn done(self, result: Result<Response<Bytes>, Error>, moment: Moment) -> Step<T> {
        let Self { mut run, call, .. } = self;
        run.began.get_or_insert(moment.now);
        let response = match result {
            Ok(response) => response,
            Err(error) => return run.failed(error, None, moment),
        };
        let answer = Answer { method: &call.method, response: &response };
        match run.task.accept(answer) {
            Ok(Turn::Done(output)) => Step::Finished(Ok(output)),
            Ok(Turn::Go { progress }) => {
                run.renewed = false;
                if progress {
                    run.retries = 0;
                }
                run.next()
            }
            Err(error) => run.failed(error, answer.retry_after(), moment),
        }
    }
}

impl<T: Task> Wait<T> {
    /// How long to wait.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Why.
    pub fn reason(&self) -> &Error {
        &self.reason
    }

    /// The task, as it stands.
    pub fn task(&self) -> &T {
        &self.run.task
    }

    /// Goes on when the time has passed.
    pub fn done(self) -> Step<T> {
        self.run.next()
    }
}
