//! The steps, and the common part of all tasks: requests are sent, and retried if they fail.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use url::{Origin, Url};

use super::{Error, Options, call::Call, dialect::identify, response::Answer, target::uri};
use crate::{Algorithm, Checksum, header::X_HTTP_METHOD_OVERRIDE};

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
#[expect(private_bounds, reason = "only this crate implements tasks")]
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

    /// Records what was read there. Returns the result if nothing remains to be done.
    fn found(&mut self, bytes: u64, checksum: Option<Checksum>) -> Result<Option<<Self as Task>::Output>, Error>
    where
        Self: Task,
    {
        let _ = (bytes, checksum);
        Ok(None)
    }

    /// The next request.
    fn call(&self) -> Call;

    /// The server has moved the resource for good.
    fn moved(&mut self, url: Url);

    /// Records the response.
    fn accept(&mut self, answer: Answer<'_>, moment: Moment) -> Result<Turn<<Self as Task>::Output>, Error>
    where
        Self: Task;

    /// Starts again after a permanent failure, if possible.
    fn begin_again(&mut self, error: &Error) -> bool {
        let _ = error;
        false
    }

    /// Records that the last request failed, and may have had an effect.
    fn lost(&mut self, error: &Error) {
        let _ = error;
    }

    /// Whether the resource will have expired by then.
    fn is_gone_by(&self, then: Duration) -> bool {
        let _ = then;
        false
    }

    /// The error with which the task ends, if it is only cleaning up.
    fn last_words(&mut self) -> Option<Error> {
        None
    }

    /// Whether the server may need minutes for the next request.
    fn takes_long(&self) -> bool {
        false
    }

    /// Whether a response that says that the upload is missing counts, whoever it comes from.
    fn believes(&self) -> bool {
        false
    }

    /// Whether the next request carries the last bytes of an upload.
    fn is_last(&self) -> bool {
        false
    }
}

/// Bytes of the source, and the digest to compute.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) range: Range<u64>,
    pub(super) algorithm: Option<Algorithm>,
}

/// What follows a response.
pub(super) enum Turn<O> {
    Done(O),
    /// The next request. Progress resets the count of retries.
    Go {
        progress: bool,
    },
    /// The same request again, since the server is not done yet.
    Later,
    /// The task has failed before, and its remains have been cleaned up.
    Over(Error),
}

/// Times and randomness for the machine.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time since any fixed point, from a monotonic clock.
    pub now: Duration,
    /// A random number from 0 to 1, which spreads the retries of many clients.
    pub jitter: f64,
    /// How long the request took until its response. Pauses of the caller between requests are not part of it.
    pub took: Duration,
}

/// A task and the state of its retries.
#[derive(Debug)]
struct Run<T> {
    task: T,
    options: Options,
    /// The origin of the first URL.
    first: Origin,
    /// Retries since the last progress.
    retries: u32,
    /// Repeated requests since the last progress, because the server was not done.
    repeats: u32,
    /// Responses in a row that say that the upload is missing, but may not come from its server.
    doubts: u32,
    began: Option<Duration>,
    /// Whether new credentials were requested since the last success.
    renewed: bool,
    /// Whether any request was answered.
    answered: bool,
    /// Where the next request goes once.
    detour: Option<Url>,
    /// Redirects since the last response that was not a redirect.
    redirects: u8,
}

const MOST_REDIRECTS: u8 = 5;

/// How often a request is repeated while the server is not done: about a quarter of an hour, with delays of up to one
/// minute.
const MOST_REPEATS: u32 = 20;

/// After this many responses in a row that say so, an upload is missing, whoever they come from: a server may omit the
/// sign of the protocol in its errors. After this many failures, a hint is not asked for any longer.
const MOST_DOUBTS: u32 = 8;

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
        if let Err(error) = options.validate() {
            return Self::Finished(Err(error));
        }
        let first = task.call().url.origin();
        let (began, detour) = (None, None);
        let run = Run {
            task,
            options,
            first,
            retries: 0,
            repeats: 0,
            doubts: 0,
            began,
            renewed: false,
            answered: false,
            detour,
            redirects: 0,
        };
        run.next()
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

    /// The error, if the time limit has passed.
    fn is_late(&self, now: Duration) -> Option<Duration> {
        self.options.retry.is_late(now.saturating_sub(self.began.unwrap_or(now)))
    }

    fn failed(mut self, error: Error, asked: Option<Duration>, moment: Moment) -> Step<T> {
        self.detour = None;
        self.redirects = 0;
        if let Some(why) = self.task.last_words() {
            return Step::Finished(Err(why));
        }
        self.doubts = if error.is_doubtful() { self.doubts + 1 } else { 0 };
        let unauthorized = error.status() == Some(StatusCode::UNAUTHORIZED) && !error.is_final();
        if unauthorized && self.options.renews_credentials && !self.renewed {
            self.renewed = true;
            return self.next();
        }
        let retry = &self.options.retry;
        let judged = retry.judged(&error, self.retries);
        if judged.is_none() && self.task.begin_again(&error) {
            self.retries = 0;
            return self.next();
        }
        // The caller's judgement cannot change this.
        let judged = judged.filter(|_| !error.is_final());
        if !judged.unwrap_or_else(|| error.is_passing(self.answered)) {
            return Step::Finished(Err(error));
        }
        if self.retries >= retry.most() {
            return Step::Finished(Err(Error::GivenUp { retries: self.retries, last: Box::new(error) }));
        }
        let duration = match error.is_conflict() && self.retries == 0 {
            true => Ok(Duration::ZERO),
            false => retry.wait(self.retries, asked, moment.jitter),
        };
        self.retries += 1;
        self.task.lost(&error);
        let then = moment.now.saturating_add(*duration.as_ref().unwrap_or(&Duration::ZERO));
        if self.task.is_gone_by(then) {
            let expired = Error::Expired(Box::new(error));
            return match self.task.begin_again(&expired) {
                true => {
                    self.retries = 0;
                    self.next()
                }
                false => Step::Finished(Err(expired)),
            };
        }
        self.wait(duration, asked, error, moment)
    }

    fn repeat(mut self, asked: Option<Duration>, moment: Moment) -> Step<T> {
        if self.repeats >= MOST_REPEATS {
            return Step::Finished(Err(Error::Pending));
        }
        let duration = self.options.retry.wait(self.repeats, asked, moment.jitter);
        self.repeats += 1;
        self.wait(duration, asked, Error::Pending, moment)
    }

    fn wait(
        self,
        duration: Result<Duration, Duration>,
        asked: Option<Duration>,
        reason: Error,
        moment: Moment,
    ) -> Step<T> {
        let duration = match duration {
            Ok(duration) => duration,
            Err(limit) => {
                let asked = asked.unwrap_or_default();
                return Step::Finished(Err(Error::LongWait { asked, limit, last: Box::new(reason) }));
            }
        };
        match self.is_late(moment.now.saturating_add(duration)) {
            Some(limit) => Step::Finished(Err(Error::Late { limit, last: Some(Box::new(reason)) })),
            None => Step::Wait(Wait { run: Box::new(self), duration, reason }),
        }
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

    /// Continues with the number of bytes that the source has there, and their digest if it was requested. Fewer
    /// bytes than the range mean that the source ends there. A source that ends before the range begins is not that
    /// of the upload; the driver must report that.
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
        let mut call = run.task.call();
        if let Some(detour) = &run.detour {
            call.url = detour.clone();
        }
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
        identify(self.run.options.protocol, method, sent);
        if let Some(credentials) = self.run.options.trusted.authorization(&self.call.url) {
            sent.insert(header::AUTHORIZATION, credentials.clone());
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

    /// Whether the request goes to an origin that the caller named ([`Options::trust`]). Headers of the caller, above
    /// all credentials, must not be sent to any other origin.
    pub fn is_home(&self) -> bool {
        let trusted = &self.run.options.trusted;
        match trusted.is_empty() {
            true => self.call.url.origin() == self.run.first,
            false => trusted.contains(&self.call.url),
        }
    }

    /// Whether the server may need minutes for its response and repeating the request would do harm: it has to
    /// concatenate the parts of an upload.
    pub fn takes_long(&self) -> bool {
        self.run.task.takes_long()
    }

    /// Whether the body of a response with these headers may be what the application has to say about the upload
    /// ([`Uploaded::response`](super::Uploaded::response)): the request completes the upload, or the server declares it
    /// complete. The body of any other response matters little.
    pub fn is_result(&self, headers: &HeaderMap) -> bool {
        let protocol = self.run.options.protocol.unwrap_or_default();
        self.run.task.is_last() || protocol.completeness(headers) == Some(true)
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
        run.answered = true;
        let protocol = run.options.protocol.unwrap_or_default();
        let most = run.options.retry.most();
        let answer = Answer {
            method: &call.method,
            url: &call.url,
            response: &response,
            protocol,
            believes: run.task.believes()
                || run.doubts >= most.min(MOST_DOUBTS)
                || run.doubts > 0 && run.retries >= most,
            is_last_try: run.retries >= most.min(MOST_DOUBTS),
        };
        match answer.redirect() {
            Ok(Some((url, permanent))) if run.redirects < MOST_REDIRECTS => {
                run.redirects += 1;
                run.detour = if permanent {
                    run.task.moved(url);
                    None
                } else {
                    Some(url)
                };
                return run.next();
            }
            Ok(_) => {}
            Err(error) => return run.failed(error, None, moment),
        }
        match run.task.accept(answer, moment) {
            Ok(Turn::Done(output)) => Step::Finished(Ok(output)),
            Ok(Turn::Go { progress }) => {
                (run.renewed, run.detour, run.redirects, run.doubts) = (false, None, 0, 0);
                if progress {
                    (run.retries, run.repeats) = (0, 0);
                }
                match run.is_late(moment.now) {
                    Some(limit) => Step::Finished(Err(Error::Late { limit, last: None })),
                    None => run.next(),
                }
            }
            Ok(Turn::Over(error)) => Step::Finished(Err(error)),
            Ok(Turn::Later) => run.repeat(answer.retry_after(), moment),
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

    /// The number of retries since the last progress, including this one. 0 if nothing has failed but the server is
    /// not done.
    pub fn retries(&self) -> u32 {
        self.run.retries
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
