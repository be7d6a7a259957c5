//! An upload: it is created or found, then bytes are added until it is complete.

use std::{ops::Range, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    Capabilities, Error, Info, NewUpload, Options, Step,
    error::SourceProblem,
    response::Answer,
    size::Size,
    step::{Call, Moment, Task, Turn, Wanted, Work},
    uploaded::{LastResponse, Uploaded},
};
use crate::{
    Checksum, TusExtension,
    header::{OFFSET_OCTET_STREAM, UPLOAD_CHECKSUM, UPLOAD_LENGTH, UPLOAD_OFFSET},
};

/// An upload in progress.
#[derive(Debug)]
pub struct Uploading {
    phase: Phase,
    upload: NewUpload,
    size: Size,
    data_in_creation: bool,
    stop_at: Option<u64>,
    /// Where a new upload is created if this one is gone; `None` if that is not wanted.
    endpoint: Option<Url>,
    /// Whether the source can be read from the start again at any time.
    rereadable: bool,
    /// How often it was begun again.
    restarts: u8,
    /// The URL comes from an earlier process, and has not been asked about yet.
    kept: bool,
    /// Bytes that the server has, by its last response.
    acknowledged: u64,
    /// The most that the server has ever had.
    highest: u64,
    /// The end of the bytes that were sent, if all that the server can have was sent by this task.
    sent: Option<u64>,
    /// The server does not know the length yet.
    deferred: bool,
    /// Whether the source is known to end where the upload does.
    ends_there: bool,
    /// What was read of the next bytes to send.
    next: Option<Next>,
    /// The size of the last request in bytes, if it had no effect in the time it was given.
    slow: Option<u64>,
    /// When the last response came.
    answered: Duration,
    /// The last response, if nothing is missing but a look at the source.
    last: Option<LastResponse>,
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
    /// The creation of a final upload has got no answer: see whether its parts are still there.
    Check {
        endpoint: Url,
    },
    /// A final upload was created: wait until its parts are concatenated.
    Join {
        url: Url,
    },
}

/// The next bytes to send, from the start of the upload.
#[derive(Debug, Clone)]
struct Next {
    range: Range<u64>,
    checksum: Option<Checksum>,
}

/// How often an upload that is gone is begun again.
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
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        if let (Some(capabilities), true) = (capabilities, endpoint.is_some() || upload.parts().is_some()) {
            upload.check(capabilities)?;
        }
        let size = Size::new(&options, |algorithm| capabilities.and_then(|known| known.verifies(algorithm)))?;
        let offers = |extension| capabilities.is_some_and(|known| known.offers(extension) == Some(true));
        let data_in_creation = options.data_in_creation && offers(TusExtension::CreationWithUpload);
        let ends_there = upload.length.is_some() && !upload.streamed;
        let task = Self {
            size,
            data_in_creation,
            stop_at: options.stop_at,
            kept: endpoint.is_some() && matches!(phase, Phase::Inspect { .. }),
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
            answered: Duration::ZERO,
            last: None,
        };
        Ok(Step::begin(task, options))
    }

    /// Its URL, as soon as it is known: another process can resume with it.
    pub fn url(&self) -> Option<&Url> {
        match &self.phase {
            Phase::Create { .. } | Phase::Check { .. } => None,
            Phase::Inspect { url } | Phase::Append { url } | Phase::Join { url } => Some(url),
        }
    }

    /// How often it was begun again, because it was gone. Its URL is another one then, and it has no bytes.
    pub fn restarts(&self) -> u8 {
        self.restarts
    }

    /// Bytes from the start of the upload that the server has acknowledged; they are not sent again, unless the server
    /// loses them.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Bytes of the complete upload; `None` while unknown.
    pub fn length(&self) -> Option<u64> {
        self.upload.length
    }

    /// The bytes of the next request, as far as they are known without reading the source.
    fn ahead(&self) -> Range<u64> {
        let (from, length) = (self.acknowledged, self.upload.length);
        let limit = self.size.limit(!self.ends_there);
        let end = [length, self.stop_at].into_iter().flatten().fold(from.saturating_add(limit), u64::min);
        from..end.max(from)
    }

    /// The same bytes as positions in the source.
    fn in_source(&self, range: &Range<u64>) -> Range<u64> {
        self.upload.start + range.start..self.upload.start + range.end
    }

    /// Whether the next request carries bytes.
    fn sends(&self) -> bool {
        match self.phase {
            Phase::Create { .. } => {
                let bytes = self.upload.parts().is_none() && !self.ahead().is_empty();
                self.data_in_creation && bytes
            }
            Phase::Inspect { .. } | Phase::Check { .. } | Phase::Join { .. } => false,
            Phase::Append { .. } => true,
        }
    }

    fn with_bytes(&self, call: Call) -> Call {
        let next = self.next.clone().unwrap_or_else(|| Next { range: self.ahead(), checksum: None });
        // "The Client MUST include the Content-Type: application/offset+octet-stream header."
        let mut call = call.header(&header::CONTENT_TYPE, HeaderValue::from_static(OFFSET_OCTET_STREAM));
        if let Some(checksum) = &next.checksum {
            call = call.header(&UPLOAD_CHECKSUM, checksum.to_header());
        }
        call.body = Some(self.in_source(&next.range));
        call
    }

    /// The largest offset that the server can have after the last request.
    fn sent_until(&self) -> u64 {
        self.next.as_ref().map_or(self.ahead().end, |next| next.range.end)
    }

    /// Records that the next bytes were sent, as far as the server can have got them.
    fn note_sent(&mut self) {
        if self.sends() {
            let end = self.sent_until();
            self.sent = self.sent.map(|sent| sent.max(end));
        }
    }

    fn created(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        if self.sends() && answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.data_in_creation = false;
            self.next = None;
            return Ok(Turn::Go { progress: false });
        }
        let url = answer.success()?.location()?;
        if url == *answer.url {
            return Err(answer.misbehaved(&header::LOCATION, "leads to the endpoint itself"));
        }
        if self.upload.parts().is_some() {
            self.phase = Phase::Join { url };
            return Ok(Turn::Go { progress: true });
        }
        self.deferred = self.upload.length.is_none();
        let sent = self.sends();
        self.sent = Some(if sent { self.sent_until() } else { 0 });
        let has_offset = answer.headers().contains_key(&UPLOAD_OFFSET);
        if sent && has_offset {
            self.acknowledged = answer.offset(0, self.sent)?;
        }
        self.phase = match sent && !has_offset {
            // It may have stored the bytes without reporting so.
            true => Phase::Inspect { url },
            false => Phase::Append { url },
        };
        Ok(self.turn(true, answer))
    }

    fn inspected(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let answer = answer.success()?;
        let declared = answer.number(&UPLOAD_LENGTH)?;
        if let (Some(declared), Some(length)) = (declared, self.upload.length)
            && declared != length
        {
            return Err(Error::source_is(SourceProblem::Other { length, declared }));
        }
        let offset = answer.offset(0, declared.or(self.upload.length))?;
        if let Some(sent) = self.sent.filter(|sent| offset > *sent) {
            return Err(answer.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, but only {sent} were sent")));
        }
        if let Some(bytes) = self.slow.take()
            && offset.saturating_sub(self.acknowledged) < bytes / 2
        {
            self.size.too_slow(bytes);
        }
        self.kept = false;
        self.deferred = declared.is_none();
        self.upload.length = self.upload.length.or(declared);
        self.acknowledged = offset;
        if let Phase::Inspect { url } = &self.phase {
            self.phase = Phase::Append { url: url.clone() };
        }
        Ok(self.turn(false, answer))
    }

    fn appended(&mut self, answer: Answer<'_>, time: Duration) -> Result<Turn<Uploaded>, Error> {
        let range = self.acknowledged..self.sent_until();
        if answer.status() == StatusCode::PAYLOAD_TOO_LARGE && self.size.refused(range.end - range.start) {
            self.next = None;
            return Ok(Turn::Go { progress: false });
        }
        let offset = answer.success()?.offset(range.start, Some(range.end))?;
        if offset == self.acknowledged && !range.is_empty() {
            return Err(answer.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, as if nothing had been sent")));
        }
        self.size.took(time, range.end - range.start);
        self.acknowledged = offset;
        self.deferred &= self.upload.length.is_none();
        // A request without bytes declares the length.
        Ok(self.turn(range.is_empty(), answer))
    }

    /// The creation of a final upload got no answer, but this part has one.
    fn checked(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        match answer.success() {
            Err(error) if error.is_gone() => Err(Error::Unlocated),
            Err(error) => Err(error),
            Ok(_) => {
                if let Phase::Check { endpoint } = &self.phase {
                    self.phase = Phase::Create { endpoint: endpoint.clone() };
                }
                Ok(Turn::Go { progress: false })
            }
        }
    }

    /// The state of a final upload (tus 1.0.0, "Concatenation": "the response for a `HEAD` request … MUST NOT contain the
    /// Upload-Offset header unless the concatenation has been successfully finished").
    fn joined(&mut self, url: &Url, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let (offset, length) = match answer.success().and_then(|answer| Info::read(&answer)) {
            Ok(info) if info.offset.is_none() || info.length.is_some() && !info.is_complete() => {
                return Ok(Turn::Later);
            }
            Ok(info) => (info.offset, info.length),
            Err(error) if error.is_passing(true) || answer.status() == StatusCode::UNAUTHORIZED => return Err(error),
            // It was created, and the server does not say more.
            Err(_) => (None, None),
        };
        Ok(Turn::Done(Uploaded { url: url.clone(), offset, length, response: Some(LastResponse::of(answer)) }))
    }

    /// The next request, or the end.
    fn turn(&mut self, progress: bool, answer: Answer<'_>) -> Turn<Uploaded> {
        self.next = None;
        // Bytes that the server has lost and gets again are no progress.
        let progress = progress || self.acknowledged > self.highest;
        self.highest = self.highest.max(self.acknowledged);
        self.last = self.looks_beyond().then(|| LastResponse::of(answer));
        let stops = self.stop_at.is_some_and(|stop| stop <= self.acknowledged);
        match &self.phase {
            Phase::Append { url } if stops || self.is_complete() && self.ends_there => {
                Turn::Done(self.uploaded(url, Some(LastResponse::of(answer))))
            }
            _ => Turn::Go { progress },
        }
    }

    /// Whether the server has all that was promised, and it must be seen that the source has no more.
    fn looks_beyond(&self) -> bool {
        matches!(self.phase, Phase::Append { .. }) && self.is_complete() && !self.ends_there
    }

    /// Whether the server has all bytes that it expects.
    fn is_complete(&self) -> bool {
        self.upload.length == Some(self.acknowledged) && !self.deferred
    }

    fn uploaded(&self, url: &Url, response: Option<LastResponse>) -> Uploaded {
        Uploaded { url: url.clone(), offset: Some(self.acknowledged), length: self.upload.length, response }
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
                0 => Ok(Some(self.uploaded(url, self.last.clone()))),
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
        Ok(None)
    }

    fn call(&self) -> Call {
        match &self.phase {
            // "the Client SHOULD include the Expect: 100-continue header in the request to receive early
            // feedback from the Server".
            Phase::Create { endpoint } if self.sends() => {
                let expects = HeaderValue::from_static("100-continue");
                self.with_bytes(self.upload.creation(endpoint).header(&header::EXPECT, expects))
            }
            Phase::Create { endpoint } => self.upload.creation(endpoint),
            Phase::Inspect { url } | Phase::Join { url } => Call::new(Method::HEAD, url),
            Phase::Check { endpoint } => {
                let part = self.upload.parts().and_then(<[Url]>::first);
                Call::new(Method::HEAD, part.unwrap_or(endpoint))
            }
            Phase::Append { url } => {
                let call = Call::new(Method::PATCH, url).header(&UPLOAD_OFFSET, self.acknowledged);
                // "the Client MUST set the Upload-Length header in the next PATCH request, once the length is known."
                let call = match self.upload.length {
                    Some(length) if self.deferred => call.header(&UPLOAD_LENGTH, length),
                    _ => call,
                };
                self.with_bytes(call)
            }
        }
    }

    fn moved(&mut self, to: Url) {
        match &mut self.phase {
            Phase::Create { endpoint } => {
                self.endpoint = self.endpoint.is_some().then(|| to.clone());
                *endpoint = to;
            }
            Phase::Inspect { url } | Phase::Append { url } | Phase::Join { url } => *url = to,
            // The part itself stays where it was named.
            Phase::Check { .. } => {}
        }
    }

    fn accept(&mut self, answer: Answer<'_>, moment: Moment) -> Result<Turn<Uploaded>, Error> {
        self.note_sent();
        let time = moment.now.saturating_sub(std::mem::replace(&mut self.answered, moment.now));
        match &self.phase {
            Phase::Create { .. } => self.created(answer),
            Phase::Inspect { .. } => self.inspected(answer),
            Phase::Append { .. } => self.appended(answer, time),
            Phase::Check { .. } => self.checked(answer),
            Phase::Join { url } => self.joined(&url.clone(), answer),
        }
    }

    fn begin_again(&mut self, error: &Error) -> bool {
        let found = matches!(self.phase, Phase::Inspect { .. } | Phase::Append { .. });
        // What an earlier process left may be anything by now.
        let stale = self.kept
            && match error {
                Error::Source { problem: SourceProblem::Other { .. }, .. } => true,
                _ => error.status().is_some_and(|status| [400, 401, 403, 404, 410].contains(&status.as_u16())),
            };
        // A stream can be read from its start as long as nothing of it was acknowledged.
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
        true
    }

    fn lost(&mut self, error: &Error) {
        self.note_sent();
        if self.sends() {
            let range = self.acknowledged..self.sent_until();
            self.slow = error.is_slow().then(|| range.end - range.start);
        }
        match &self.phase {
            Phase::Append { url } => self.phase = Phase::Inspect { url: url.clone() },
            Phase::Create { endpoint } if self.upload.parts().is_some_and(|parts| !parts.is_empty()) => {
                self.phase = Phase::Check { endpoint: endpoint.clone() };
            }
            // Each try may leave an upload with bytes.
            Phase::Create { .. } => self.data_in_creation = false,
            Phase::Inspect { .. } | Phase::Check { .. } | Phase::Join { .. } => {}
        }
        self.next = None;
    }

    fn takes_long(&self) -> bool {
        matches!(self.phase, Phase::Create { .. }) && self.upload.parts().is_some()
    }
}
