//! An upload: it is created or found, then bytes are added until it is complete.

use std::ops::Range;

use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    Capabilities, Error, NewUpload, Options, Step, Verification,
    options::DEFAULT_CHUNK,
    response::Answer,
    step::{Call, Task, Turn, Wanted, Work},
};
use crate::{
    Algorithm, Checksum, TusExtension,
    header::{OFFSET_OCTET_STREAM, UPLOAD_CHECKSUM, UPLOAD_LENGTH, UPLOAD_OFFSET},
};

/// An upload in progress.
#[derive(Debug)]
pub struct Uploading {
    phase: Phase,
    upload: NewUpload,
    /// The maximum size of a request in bytes.
    limit: Option<u64>,
    algorithm: Option<Algorithm>,
    data_in_creation: bool,
    stop_at: Option<u64>,
    /// Bytes that the server has acknowledged.
    acknowledged: u64,
    /// The server does not know the length yet.
    deferred: bool,
    /// Whether the source is known to end where the upload does.
    ends_there: bool,
    /// What was read of the next bytes to send.
    next: Option<Next>,
    redirects: u8,
}

#[derive(Debug)]
enum Phase {
    Create { endpoint: Url },
    Inspect { url: Url },
    Append { url: Url },
}

/// The next bytes to send, from the start of the upload.
#[derive(Debug, Clone)]
struct Next {
    range: Range<u64>,
    checksum: Option<Checksum>,
}

/// An upload all of whose requested bytes have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// Its URL.
    pub url: Url,
    /// Bytes that the server has; `None` for a concatenation of parts.
    pub offset: Option<u64>,
    /// Bytes of the complete upload; `None` if unknown here.
    pub length: Option<u64>,
}

/// Requests are not made smaller than this: a server that refuses them means something else.
const SMALLEST_SPLIT: u64 = 16 * 1024;

/// The size at which splitting starts: larger requests are not halved step by step.
const LARGEST_SPLIT: u64 = 64 * 1024 * 1024;

const MOST_REDIRECTS: u8 = 5;

impl Uploading {
    pub(super) fn create(
        endpoint: Url,
        upload: NewUpload,
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        if let Some(capabilities) = capabilities {
            upload.check(capabilities)?;
        }
        Self::begin(Phase::Create { endpoint }, upload, options, capabilities)
    }

    pub(super) fn resume(
        url: Url,
        upload: NewUpload,
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        Self::begin(Phase::Inspect { url }, upload, options, capabilities)
    }

    fn begin(
        phase: Phase,
        upload: NewUpload,
        options: Options,
        capabilities: Option<&Capabilities>,
    ) -> Result<Step<Self>, Error> {
        let knows = |algorithm| capabilities.is_some_and(|capabilities| capabilities.verifies(algorithm));
        let algorithm = match options.verification {
            Verification::Off => None,
            Verification::IfOffered(algorithm) => Some(algorithm).filter(|_| knows(algorithm)),
            Verification::Required(algorithm) if capabilities.is_some() && !knows(algorithm) => {
                return Err(Error::Unsupported(format!("checksums by {}", algorithm.name())));
            }
            Verification::Required(algorithm) => Some(algorithm),
        };
        let offers = |extension| capabilities.is_some_and(|capabilities| capabilities.offers(extension));
        let data_in_creation = options.data_in_creation && offers(TusExtension::CreationWithUpload);
        let (limit, stop_at) = (options.chunk_size, options.stop_at);
        let ends_there = upload.length.is_some();
        let task = Self {
            phase,
            upload,
            limit,
            algorithm,
            data_in_creation,
            stop_at,
            acknowledged: 0,
            deferred: !ends_there,
            ends_there,
            next: None,
            redirects: 0,
        };
        Ok(Step::begin(task, options))
    }

    /// Its URL, as soon as it is known: another process can resume with it.
    pub fn url(&self) -> Option<&Url> {
        match &self.phase {
            Phase::Create { .. } => None,
            Phase::Inspect { url } | Phase::Append { url } => Some(url),
        }
    }

    /// Bytes from the start of the upload that the server has acknowledged; they are not sent again.
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
        // Bytes that must be read first are kept in memory in the meantime.
        let limit = self.limit.or_else(|| (!self.ends_there).then_some(DEFAULT_CHUNK)).unwrap_or(u64::MAX);
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
                let bytes = !self.upload.is_final() && !self.ahead().is_empty();
                self.data_in_creation && bytes
            }
            Phase::Inspect { .. } => false,
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

    fn created(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let Phase::Create { endpoint } = &self.phase else {
            return Ok(Turn::Go { progress: false });
        };
        if let Some(elsewhere) = self.redirect(answer, endpoint)? {
            self.phase = Phase::Create { endpoint: elsewhere };
            self.redirects += 1;
            return Ok(Turn::Go { progress: false });
        }
        if self.sends() && answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.data_in_creation = false;
            self.next = None;
            return Ok(Turn::Go { progress: false });
        }
        let url = answer.success()?.location(endpoint)?;
        if self.upload.is_final() {
            return Ok(Turn::Done(Uploaded { url, offset: None, length: None }));
        }
        self.deferred = self.upload.length.is_none();
        let sent = self.sends();
        let has_offset = answer.headers().contains_key(&UPLOAD_OFFSET);
        if sent && has_offset {
            self.acknowledged = answer.offset(0, Some(self.sent_until()))?;
        }
        self.phase = match sent && !has_offset {
            // It may have stored the bytes without reporting so.
            true => Phase::Inspect { url },
            false => Phase::Append { url },
        };
        Ok(self.turn(true))
    }

    /// Where to send a creation instead: only if the redirect keeps the method, and never from https to http.
    fn redirect(&self, answer: Answer<'_>, endpoint: &Url) -> Result<Option<Url>, Error> {
        let keeps = matches!(answer.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !keeps || self.redirects == MOST_REDIRECTS {
            return Ok(None);
        }
        let elsewhere = answer.location(endpoint)?;
        let downgrade = endpoint.scheme() == "https" && elsewhere.scheme() == "http";
        if downgrade { Err(answer.redirected()) } else { Ok(Some(elsewhere)) }
    }

    fn inspected(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let answer = answer.success()?;
        let length = answer.number(&UPLOAD_LENGTH)?;
        if let (Some(declared), Some(known)) = (length, self.upload.length)
            && declared != known
        {
            return Err(Error::Source(format!("has {known} bytes, but the upload was created for {declared}")));
        }
        let offset = answer.offset(0, length.or(self.upload.length))?;
        let progress = offset > self.acknowledged;
        self.deferred = length.is_none();
        self.upload.length = self.upload.length.or(length);
        self.acknowledged = offset;
        if let Phase::Inspect { url } = &self.phase {
            self.phase = Phase::Append { url: url.clone() };
        }
        Ok(self.turn(progress))
    }

    fn appended(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let range = self.acknowledged..self.sent_until();
        if answer.status() == StatusCode::PAYLOAD_TOO_LARGE && self.split(&range) {
            return Ok(Turn::Go { progress: false });
        }
        let offset = answer.success()?.offset(range.start, Some(range.end))?;
        let progress = offset > self.acknowledged;
        if !progress && !range.is_empty() {
            return Err(answer.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, as if nothing had been sent")));
        }
        self.acknowledged = offset;
        self.deferred &= self.upload.length.is_none();
        Ok(self.turn(true))
    }

    /// Makes requests smaller. Returns whether that is worth a try.
    fn split(&mut self, refused: &Range<u64>) -> bool {
        let size = refused.end - refused.start;
        let half = (size / 2).min(LARGEST_SPLIT);
        if half < SMALLEST_SPLIT {
            return false;
        }
        self.limit = Some(half);
        self.next = None;
        true
    }

    /// The next request, or the end.
    fn turn(&mut self, progress: bool) -> Turn<Uploaded> {
        self.next = None;
        let stops = self.stop_at.is_some_and(|stop| stop <= self.acknowledged);
        match &self.phase {
            Phase::Append { url } if stops || self.is_complete() && self.ends_there => Turn::Done(self.uploaded(url)),
            _ => Turn::Go { progress },
        }
    }

    /// Whether the server has all bytes that it expects.
    fn is_complete(&self) -> bool {
        self.upload.length == Some(self.acknowledged) && !self.deferred
    }

    fn uploaded(&self, url: &Url) -> Uploaded {
        Uploaded { url: url.clone(), offset: Some(self.acknowledged), length: self.upload.length }
    }
}

impl Task for Uploading {
    type Output = Uploaded;
}

impl Work for Uploading {
    fn wanted(&self) -> Option<Wanted> {
        if let (Phase::Append { .. }, true) = (&self.phase, self.is_complete() && !self.ends_there) {
            let beyond = self.acknowledged..self.acknowledged + 1;
            return Some(Wanted { range: self.in_source(&beyond), algorithm: None });
        }
        let look = self.algorithm.is_some() || !self.ends_there;
        let range = self.ahead();
        let needed = self.sends() && self.next.is_none() && look && !range.is_empty();
        needed.then(|| Wanted { range: self.in_source(&range), algorithm: self.algorithm })
    }

    fn found(&mut self, bytes: u64, checksum: Option<Checksum>) -> Result<Option<Uploaded>, Error> {
        if let (Phase::Append { url }, true) = (&self.phase, self.is_complete() && !self.ends_there) {
            return match bytes {
                0 => Ok(Some(self.uploaded(url))),
                _ => Err(Error::Source(format!(
                    "continues after the {} bytes for which the upload was created",
                    self.acknowledged
                ))),
            };
        }
        let ahead = self.ahead();
        let range = ahead.start..ahead.start.saturating_add(bytes).min(ahead.end);
        if range.end < ahead.end {
            if let Some(length) = self.upload.length {
                let end = self.upload.start + range.end;
                return Err(Error::Source(format!(
                    "ends at byte {end}, before the {length} bytes that it should have"
                )));
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
            Phase::Inspect { url } => Call::new(Method::HEAD, url),
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

    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        match self.phase {
            Phase::Create { .. } => self.created(answer),
            Phase::Inspect { .. } => self.inspected(answer),
            Phase::Append { .. } => self.appended(answer),
        }
    }

    fn lost(&mut self) {
        self.next = None;
        if let Phase::Append { url } = &self.phase {
            self.phase = Phase::Inspect { url: url.clone() };
        }
    }
}
