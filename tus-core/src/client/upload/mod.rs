//! An upload: it is created or found, then bytes are added until it is complete.

mod answers;
mod bounds;
mod next;

use std::time::Duration;

use http::{Method, StatusCode};
use url::Url;

use self::next::Next;
use super::{
    Capabilities, Error, Limits, NewUpload, Options, Protocol, Step,
    call::Call,
    error::SourceProblem,
    response::Answer,
    size::Size,
    step::{Moment, Task, Turn, Wanted, Work},
    uploaded::{LastResponse, Uploaded},
};
use crate::{Checksum, TusExtension, header::UPLOAD_OFFSET};

/// An upload in progress.
#[derive(Debug)]
pub struct Uploading {
    protocol: Protocol,
    phase: Phase,
    upload: NewUpload,
    size: Size,
    data_in_creation: bool,
    /// It is too small to be resumable, so it is sent in the request that creates it.
    in_one: bool,
    /// The maximum that the server accepts, as far as it is known.
    max_size: Option<u64>,
    stop_at: Option<u64>,
    /// Where a new upload is created if this one is gone; `None` for nowhere.
    endpoint: Option<Url>,
    /// Whether the source can be read from the start again at any time.
    rereadable: bool,
    /// The number of restarts.
    restarts: u8,
    /// The URL comes from an earlier process and has not been verified yet.
    kept: bool,
    /// The URL comes from the response to the creation, which stored no bytes, and has not been requested yet. A proxy may
    /// have spoilt it.
    untried: bool,
    /// The server's offset, by its last response.
    acknowledged: u64,
    /// The highest offset that the server has ever reported.
    highest: u64,
    /// The end of the sent bytes, if this task sent everything that the server can have.
    sent: Option<u64>,
    /// The server does not know the length yet.
    deferred: bool,
    /// Whether the source is known to end where the upload does.
    ends_there: bool,
    /// What was read of the next bytes to send.
    next: Option<Next>,
    /// The size of the last request in bytes, if it may have been too large for the line.
    slow: Option<u64>,
    /// The last response, if only the end of the source remains to be checked.
    last: Option<LastResponse>,
    completion: Completion,
    /// When the server removes the upload unless it is complete.
    expires: Option<Duration>,
    /// Why it is deleted.
    failure: Option<Error>,
}

/// The completeness that the server reports, in a protocol that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completion {
    /// Not complete.
    Open,
    /// It was complete when the client asked: the response to the request that completed it was lost, and may be
    /// available again.
    Found,
    /// That response has arrived.
    Answered,
}

#[derive(Debug)]
enum Phase {
    Create {
        endpoint: Url,
    },
    Inspect {
        url: Url,
    },
    Append {
        url: Url,
    },
    /// The creation of a final upload was not answered: check whether its parts still exist.
    Check {
        endpoint: Url,
    },
    /// A final upload was created: wait until its parts are concatenated.
    Join {
        url: Url,
    },
    /// It cannot continue: delete it.
    Cancel {
        url: Url,
    },
}

/// How often an upload that is gone is started again.
const MOST_RESTARTS: u8 = 3;

impl Uploading {
    pub(super) fn create(
        endpoint: Url,
        upload: NewUpload,
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        let again = upload.parts().is_none().then(|| endpoint.clone());
        Self::begin(Phase::Create { endpoint }, again, upload, options, capabilities)
    }

    pub(super) fn resume(
        url: Url,
        endpoint: Option<Url>,
        upload: NewUpload,
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        Self::begin(Phase::Inspect { url }, endpoint, upload, options, capabilities)
    }

    fn begin(
        phase: Phase,
        endpoint: Option<Url>,
        upload: NewUpload,
        mut options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        let protocol = options.resolve(capabilities);
        if endpoint.is_some() || upload.parts().is_some() {
            upload.check(protocol, capabilities)?;
        }
        let known = |algorithm| capabilities.and_then(|known| known.verifies(algorithm));
        let size = Size::new(&options, |algorithm| protocol.verifies(algorithm).or_else(|| known(algorithm)))?;
        let offers = |extension| capabilities.is_some_and(|known| known.offers(extension) == Some(true));
        let offered = protocol == Protocol::Draft || offers(TusExtension::CreationWithUpload);
        let data_in_creation = options.data_in_creation && offered;
        let ends_there = upload.length.is_some() && !upload.streamed;
        let mut task = Self {
            protocol,
            size,
            data_in_creation,
            in_one: false,
            max_size: None,
            stop_at: options.stop_at,
            kept: endpoint.is_some() && matches!(phase, Phase::Inspect { .. }),
            untried: false,
            phase,
            endpoint,
            rereadable: ends_there,
            restarts: 0,
            acknowledged: 0,
            highest: 0,
            sent: None,
            deferred: upload.length.is_none(),
            ends_there,
            upload,
            next: None,
            slow: None,
            last: None,
            completion: Completion::Open,
            expires: None,
            failure: None,
        };
        if let Some(limits) = capabilities.and_then(|known| known.limits).filter(|_| protocol == Protocol::Draft) {
            task.obey(&limits);
            task.in_one_below(limits.min_size);
        }
        Ok(Step::begin(task, options))
    }

    /// Its URL, as soon as it is known. Another process can resume with it.
    pub fn url(&self) -> Option<&Url> {
        match &self.phase {
            Phase::Create { .. } | Phase::Check { .. } => None,
            Phase::Inspect { url } | Phase::Append { url } | Phase::Join { url } | Phase::Cancel { url } => Some(url),
        }
    }

    /// The protocol in use.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The number of restarts because the upload was gone. Its URL then changes, and it has no bytes.
    pub fn restarts(&self) -> u8 {
        self.restarts
    }

    /// The offset that the server has acknowledged. These bytes are not sent again unless the server loses them.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Length of the complete upload in bytes; `None` if it is not known yet.
    pub fn length(&self) -> Option<u64> {
        self.upload.length
    }

    /// The next request, or the end.
    fn turn(&mut self, progress: bool, answer: Answer<'_>) -> Turn<Uploaded> {
        self.next = None;
        // Bytes that the server lost and receives again are not progress.
        let progress = progress || self.acknowledged > self.highest;
        self.highest = self.highest.max(self.acknowledged);
        self.last = self.looks_beyond().then(|| LastResponse::of(answer));
        match &self.phase {
            Phase::Append { url } if self.stops() || self.is_complete() && self.ends_there => {
                Turn::Done(self.uploaded(url, Some(LastResponse::of(answer))))
            }
            // "if the allowed maximum size is less than the amount of representation data the client intends to upload,
            // the client SHOULD stop the current request immediately and cancel the upload".
            Phase::Append { .. } if self.is_too_large() => {
                self.cancel(self.too_large());
                Turn::Go { progress }
            }
            _ => Turn::Go { progress },
        }
    }

    /// The offset in the server's rejection of an append (draft 12, "Retry": "409 (Conflict) [...] can be resumed
    /// with the correct offset").
    fn corrected(&self, error: &Error) -> Option<u64> {
        let Error::Refused(refused) = error else { return None };
        let is_draft = self.protocol == Protocol::Draft && refused.status == StatusCode::CONFLICT;
        let offset = self.protocol.number(&refused.headers, &UPLOAD_OFFSET).ok()?.filter(|_| is_draft)?;
        // Beyond the end of the last request, another client must have added bytes. The offset is then requested.
        (offset <= self.sent_until()).then_some(offset)
    }

    /// Whether the server has all promised bytes and the source must be checked for more. In the draft, this happens
    /// before an upload that has all of its bytes is completed.
    fn looks_beyond(&self) -> bool {
        let has_all = match self.protocol {
            Protocol::Tus => self.is_complete(),
            Protocol::Draft => self.upload.length == Some(self.acknowledged),
        };
        matches!(self.phase, Phase::Append { .. }) && has_all && !self.ends_there
    }

    /// Whether the server has all expected bytes, or reports the upload as complete.
    fn is_complete(&self) -> bool {
        match self.protocol {
            Protocol::Tus => self.upload.length == Some(self.acknowledged) && !self.deferred,
            Protocol::Draft => self.completion == Completion::Answered,
        }
    }

    fn uploaded(&self, url: &Url, response: Option<LastResponse>) -> Uploaded {
        let complete = self.is_complete() || self.completion == Completion::Found;
        Uploaded { url: url.clone(), offset: Some(self.acknowledged), length: self.upload.length, complete, response }
    }
}

impl Task for Uploading {
    type Output = Uploaded;
}

impl Work for Uploading {
    fn wanted(&self) -> Option<Wanted> {
        if self.looks_beyond() {
            let beyond = self.acknowledged..self.acknowledged + 1;
            return Some(Wanted { range: self.in_source(&beyond), algorithm: None });
        }
        let range = self.ahead();
        let algorithm = self.size.algorithm(range.end - range.start);
        let look = algorithm.is_some() || !self.ends_there;
        let needed = self.sends() && self.next.is_none() && look && !range.is_empty();
        needed.then(|| Wanted { range: self.in_source(&range), algorithm })
    }

    fn found(&mut self, bytes: u64, checksum: Option<Checksum>) -> Result<Option<Uploaded>, Error> {
        if let (Phase::Append { url }, true) = (&self.phase, self.looks_beyond()) {
            return match bytes {
                0 if self.is_complete() => Ok(Some(self.uploaded(url, self.last.clone()))),
                0 => {
                    self.ends_there = true;
                    Ok(None)
                }
                _ => Err(Error::source_is(SourceProblem::Long { length: self.acknowledged })),
            };
        }
        let ahead = self.ahead();
        let range = ahead.start..ahead.start.saturating_add(bytes).min(ahead.end);
        if range.end < ahead.end {
            if let Some(length) = self.upload.length {
                return Err(Error::source_is(SourceProblem::Short { end: self.upload.start + range.end, length }));
            }
            self.upload.length = Some(range.end);
            self.ends_there = true;
        }
        self.next = Some(Next { range, checksum });
        if !self.is_too_large() {
            return Ok(None);
        }
        let error = self.too_large();
        match self.phase {
            Phase::Append { .. } => {
                self.cancel(error);
                Ok(None)
            }
            // There is nothing to delete yet.
            _ => Err(error),
        }
    }

    fn call(&self) -> Call {
        match &self.phase {
            Phase::Create { endpoint } if self.sends() => {
                self.with_body(self.protocol.creation(&self.upload, endpoint, Some(&self.content())))
            }
            Phase::Create { endpoint } => self.protocol.creation(&self.upload, endpoint, None),
            Phase::Inspect { url } | Phase::Join { url } => Call::new(Method::HEAD, url),
            Phase::Check { endpoint } => {
                let part = self.upload.parts().and_then(<[Url]>::first);
                Call::new(Method::HEAD, part.unwrap_or(endpoint))
            }
            Phase::Append { url } => {
                let length = self.upload.length.filter(|_| self.deferred);
                self.with_body(self.protocol.append(url, self.acknowledged, length, &self.content()))
            }
            Phase::Cancel { url } => Call::new(Method::DELETE, url),
        }
    }

    fn moved(&mut self, to: Url) {
        match &mut self.phase {
            Phase::Create { endpoint } => {
                self.endpoint = self.endpoint.is_some().then(|| to.clone());
                *endpoint = to;
            }
            Phase::Inspect { url } | Phase::Append { url } | Phase::Join { url } | Phase::Cancel { url } => *url = to,
            // The part itself stays where it was named.
            Phase::Check { .. } => {}
        }
    }

    fn accept(&mut self, answer: Answer<'_>, moment: Moment) -> Result<Turn<Uploaded>, Error> {
        self.note_sent();
        if !matches!(self.phase, Phase::Create { .. }) {
            self.untried = false;
        }
        if let Some(limits) = Limits::read(answer.headers()).filter(|_| self.protocol == Protocol::Draft) {
            self.obey(&limits);
            self.expires = limits.max_age.map(|age| moment.now.saturating_add(age));
        }
        match &self.phase {
            Phase::Create { .. } => self.created(answer),
            Phase::Inspect { .. } => self.inspected(answer),
            Phase::Append { url } => self.appended(url.clone(), answer, moment.took),
            Phase::Check { .. } => self.checked(answer),
            Phase::Join { url } => self.joined(&url.clone(), answer),
            Phase::Cancel { .. } => Ok(Turn::Over(self.last_words().unwrap_or(Error::Pending))),
        }
    }

    fn begin_again(&mut self, error: &Error) -> bool {
        let found = matches!(self.phase, Phase::Inspect { .. } | Phase::Append { .. });
        // The key of a stored URL may belong to another source by now. A rejection of the caller says nothing about the
        // upload: with other credentials it may continue.
        let stale = self.kept && matches!(error, Error::Source { problem: SourceProblem::Other { .. }, .. });
        // A stream can be read from its start until some of it has been acknowledged.
        let readable = self.rereadable || self.highest == 0;
        let wanted = found && readable && (stale || error.is_gone()) && self.restarts < MOST_RESTARTS;
        let Some(endpoint) = self.endpoint.clone().filter(|_| wanted) else {
            return false;
        };
        self.phase = Phase::Create { endpoint };
        self.restarts += 1;
        self.kept = false;
        (self.acknowledged, self.highest, self.sent) = (0, 0, None);
        (self.next, self.slow) = (None, None);
        (self.completion, self.expires) = (Completion::Open, None);
        true
    }

    fn lost(&mut self, error: &Error) {
        self.untried = false;
        self.note_sent();
        if self.sends() {
            let range = self.acknowledged..self.sent_until();
            let is_too_large = error.is_slow() || error.is_broken() && self.size.adapts();
            self.slow = is_too_large.then(|| range.end - range.start);
        }
        match &self.phase {
            Phase::Append { url } => match self.corrected(error) {
                Some(offset) => self.acknowledged = offset,
                None => self.phase = Phase::Inspect { url: url.clone() },
            },
            Phase::Create { endpoint } if self.upload.parts().is_some_and(|parts| !parts.is_empty()) => {
                self.phase = Phase::Check { endpoint: endpoint.clone() };
            }
            // Each try may leave an upload with bytes.
            Phase::Create { .. } => self.data_in_creation = self.in_one,
            Phase::Inspect { .. } | Phase::Check { .. } | Phase::Join { .. } | Phase::Cancel { .. } => {}
        }
        self.next = None;
    }

    fn is_gone_by(&self, then: Duration) -> bool {
        let found = matches!(self.phase, Phase::Inspect { .. } | Phase::Append { .. });
        // "After the resource's lifetime is reached [...] a client SHOULD NOT attempt to access the upload resource".
        found && self.expires.is_some_and(|expires| expires <= then)
    }

    fn believes(&self) -> bool {
        self.untried
    }

    fn last_words(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn is_last(&self) -> bool {
        // In tus, an empty upload is complete when it is created.
        let creates = matches!(self.phase, Phase::Create { .. }) && self.upload.parts().is_none();
        (self.sends() || creates && self.protocol == Protocol::Tus) && self.completes()
    }

    fn takes_long(&self) -> bool {
        matches!(self.phase, Phase::Create { .. }) && self.upload.parts().is_some()
    }
}
