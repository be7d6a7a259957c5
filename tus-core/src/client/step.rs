//! The steps, and what all tasks have in common: requests are sent, and retried when they fail.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use url::{Origin, Url};

use super::{Error, Options, response::Answer};
use crate::{
    Algorithm, Checksum, TUS_VERSION as VERSION,
    header::{TUS_RESUMABLE, X_HTTP_METHOD_OVERRIDE},
};

/// The next step of a task.
#[must_use]
#[derive(Debug)]
pub enum Step<T: Task> {
    /// Read bytes of the source before they are sent.
    Read(Read<T>),
    /// Perform one HTTP request.
    Transmit(Transmit<T>),
    /// Wait before the next retry.
    Wait(Wait<T>),
    /// The task is done, or has failed permanently.
    Finished(Result<T::Output, Error>),
}

/// A task: [`Uploading`](super::Uploading), [`Discover`](super::Discover),
/// [`Inspect`](super::Inspect) or [`Terminate`](super::Terminate).
#[expect(private_bounds, reason = "tasks are implemented by this crate only")]
pub trait Task: Work + fmt::Debug {
    /// The task's result.
    type Output: fmt::Debug;
}

/// What distinguishes the tasks.
pub(super) trait Work: Sized {
    /// Bytes of the source that must be read before they are sent.
    fn wanted(&self) -> Option<Wanted> {
        None
    }

    /// Records what was read there. Returns the result if nothing is left to do.
    fn found(&mut self, bytes: u64, checksum: Option<Checksum>) -> Result<Option<<Self as Task>::Output>, Error>
    where
        Self: Task,
    {
        let _ = (bytes, checksum);
        Ok(None)
    }

    /// The next request.
    fn call(&self) -> Call;

    /// Records the response.
    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<<Self as Task>::Output>, Error>
    where
        Self: Task;

    /// Records that the outcome of the last request is unknown.
    fn lost(&mut self) {}
}

/// Bytes of the source, and the digest to compute.
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

/// What follows a response.
pub(super) enum Turn<O> {
    Done(O),
    /// The next request. Progress resets the count of retries.
    Go {
        progress: bool,
    },
}

/// The URL as a request target. `url` accepts some that `http` does not.
pub(super) fn uri(url: &Url) -> Option<Uri> {
    let is_http = matches!(url.scheme(), "http" | "https");
    url.as_str().split('#').next().filter(|_| is_http)?.parse().ok()
}

/// The time of a result, which the machine cannot know.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time since any fixed point, by a monotonic clock.
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
    /// Retries since the last progress.
    retries: u32,
    began: Option<Duration>,
    /// Whether new credentials were requested since the last success.
    renewed: bool,
}

/// Read bytes of the source before they are sent.
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

/// Wait before the next retry.
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

    /// The task in its current state; `None` at its end.
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
    /// The bytes, counted from the start of the source. A source of unknown length may end within them.
    pub fn range(&self) -> Range<u64> {
        self.wanted.range.clone()
    }

    /// The digest to compute.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.wanted.algorithm
    }

    /// Continues with the number of bytes that the source has there, and their digest if it was requested. Fewer than
    /// the range means that the source ends there. A source that ends before the range begins is not that of the
    /// upload; the driver must report that.
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
            None => Step::Finished(Err(Error::Invalid(format!("{} is not a valid HTTP URL", call.url)))),
        }
    }

    /// The head of the request, without the caller's own headers and without `Content-Length`. A driver that does not
    /// wait for `100 Continue` must remove the header `Expect`.
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

    /// Whether the request goes to the origin that the caller named. Headers of the caller, above all credentials, must
    /// not be sent to any other origin.
    pub fn is_home(&self) -> bool {
        self.call.url.origin() == self.run.home
    }

    /// The task in its current state.
    pub fn task(&self) -> &T {
        &self.run.task
    }

    /// Continues with the response, body included, or with the failure.
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
    /// The time to wait.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The reason.
    pub fn reason(&self) -> &Error {
        &self.reason
    }

    /// The task in its current state.
    pub fn task(&self) -> &T {
        &self.run.task
    }

    /// Continues when the time has passed.
    pub fn done(self) -> Step<T> {
        self.run.next()
    }
}
