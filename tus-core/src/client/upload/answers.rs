//! What each response means for an upload.

use std::time::Duration;

use http::{StatusCode, header};
use url::Url;

use super::{Completion, Phase, Uploading};
use crate::{
    client::{
        Error, Info, Limits, Protocol,
        error::SourceProblem,
        response::Answer,
        step::Turn,
        uploaded::{LastResponse, Uploaded},
    },
    header::{UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET},
};

impl Uploading {
    pub(super) fn created(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let sends = self.sends();
        if sends && !self.in_one && answer.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.data_in_creation = false;
            self.next = None;
            return Ok(Turn::Go { progress: false });
        }
        // "A resource that does not support resumable uploads [...] ignores the Upload-Complete: ?1 header."
        let plain = self.in_one && answer.completeness().is_none() && answer.status().is_success();
        if plain || answer.completeness() == Some(true) {
            let url = answer.location().unwrap_or_else(|_| answer.url.clone());
            return self.ended(url, answer);
        }
        let answer = match answer.success() {
            Err(_) if answer.status().is_client_error() && self.is_too_large() => return Err(self.too_large()),
            Err(_) if answer.status().is_client_error() && !self.in_one && self.in_one_below(min_size(answer)) => {
                return Ok(Turn::Go { progress: false });
            }
            answer => answer?,
        };
        let url = answer.location()?;
        if url == *answer.url {
            return Err(answer.misbehaved(&header::LOCATION, "leads to the endpoint itself"));
        }
        if self.upload.parts().is_some() {
            self.phase = Phase::Join { url };
            return Ok(Turn::Go { progress: true });
        }
        self.deferred = self.upload.length.is_none();
        self.sent = Some(if sends { self.sent_until() } else { 0 });
        let offset = answer.headers().contains_key(&UPLOAD_OFFSET).then(|| answer.offset(0, self.sent));
        if let Some(offset) = offset.filter(|_| sends) {
            self.acknowledged = offset?;
            self.phase = Phase::Append { url };
        } else if sends {
            // The server may have stored the bytes without reporting it.
            self.phase = Phase::Inspect { url };
        } else {
            self.phase = Phase::Append { url };
        }
        self.untried = self.acknowledged == 0;
        Ok(self.turn(true, answer))
    }

    pub(super) fn inspected(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let answer = answer.success()?;
        let declared = answer.number(&UPLOAD_LENGTH)?;
        if let (Some(declared), Some(length)) = (declared, self.upload.length)
            && declared != length
        {
            return Err(Error::source_is(SourceProblem::Other { length, declared }));
        }
        let offset = answer.offset(0, declared.or(self.upload.length))?;
        // A complete upload has no bytes beyond its offset.
        if answer.completeness() == Some(true) {
            match (self.upload.length, declared) {
                (Some(length), _) if length != offset => {
                    return Err(Error::source_is(SourceProblem::Other { length, declared: offset }));
                }
                (None, Some(declared)) if declared != offset => {
                    let what = format!("{offset}, although {declared} bytes are declared as complete");
                    return Err(answer.misbehaved(&UPLOAD_OFFSET, &what));
                }
                _ => {}
            }
        }
        if let Some(sent) = self.sent.filter(|sent| offset > *sent) {
            let what = format!("{offset}, but only {sent} were sent: another client probably writes to this upload");
            return Err(answer.misbehaved(&UPLOAD_OFFSET, &what));
        }
        if let Some(bytes) = self.slow.take()
            && offset.saturating_sub(self.acknowledged) < bytes / 2
        {
            self.size.too_slow(bytes);
        }
        self.kept = false;
        self.deferred = declared.is_none();
        self.upload.length = self.upload.length.or(declared);
        if answer.completeness() == Some(true) {
            self.completion = Completion::Found;
            self.upload.length = self.upload.length.or(Some(offset));
        }
        self.acknowledged = offset;
        if let Phase::Inspect { url } = &self.phase {
            self.phase = Phase::Append { url: url.clone() };
        }
        Ok(self.turn(false, answer))
    }

    pub(super) fn appended(&mut self, url: Url, answer: Answer<'_>, took: Duration) -> Result<Turn<Uploaded>, Error> {
        let range = self.acknowledged..self.sent_until();
        if answer.completeness() == Some(true) {
            return self.ended(url, answer);
        }
        if answer.status() == StatusCode::PAYLOAD_TOO_LARGE && self.size.refused(range.end - range.start) {
            self.next = None;
            return Ok(Turn::Go { progress: false });
        }
        let answer = match answer.success() {
            // "The server can choose to replay the final response" (draft 12, "Upload Append"). This one does not.
            Err(error) if self.is_found(&error) => return Ok(Turn::Done(self.uploaded(&url, None))),
            answer => answer?,
        };
        // "If the request content was fully processed, the server acknowledges the appended data by sending a 2xx
        // (Successful) response": in the draft, without an offset.
        let said = self.protocol == Protocol::Tus || answer.number(&UPLOAD_OFFSET)?.is_some();
        let offset = if said { answer.offset(range.start, Some(range.end))? } else { range.end };
        if offset == self.acknowledged && !range.is_empty() {
            return Err(answer.misbehaved(&UPLOAD_OFFSET, &format!("{offset}, as if nothing had been sent")));
        }
        // "However, the response MUST include the Upload-Complete header field with a true value".
        if self.protocol == Protocol::Draft && self.completes() && offset == range.end {
            return Err(answer.misbehaved(&UPLOAD_COMPLETE, "other than ?1, although all bytes have been sent"));
        }
        self.size.took(took, range.end - range.start);
        self.acknowledged = offset;
        self.deferred &= self.upload.length.is_none();
        // A request without bytes declares the length.
        Ok(self.turn(range.is_empty(), answer))
    }

    /// The response is the resource's response to the complete upload (draft 12, "Completeness"): "Note that this
    /// does not necessarily indicate success." It may arrive before all bytes have been sent.
    fn ended(&mut self, url: Url, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(answer.refused());
        }
        let sent = self.sent_until();
        let said = answer.number(&UPLOAD_OFFSET)?.filter(|offset| *offset <= sent);
        self.acknowledged = said.unwrap_or(if self.completes() { sent } else { self.acknowledged });
        self.completion = Completion::Answered;
        self.phase = Phase::Append { url: url.clone() };
        match self.upload.length == Some(self.acknowledged) {
            true => Ok(self.turn(true, answer)),
            false => Ok(Turn::Done(self.uploaded(&url, Some(LastResponse::of(answer))))),
        }
    }

    /// Whether the upload is complete although the server refuses to repeat its response.
    fn is_found(&self, error: &Error) -> bool {
        let passes = error.is_passing(true) && !error.is_conflict();
        self.completion == Completion::Found && !passes && error.status() != Some(StatusCode::UNAUTHORIZED)
    }

    /// The creation of a final upload was not answered, but this part exists.
    pub(super) fn checked(&mut self, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
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
    pub(super) fn joined(&mut self, url: &Url, answer: Answer<'_>) -> Result<Turn<Uploaded>, Error> {
        let (offset, length) = match answer.success().and_then(|answer| Info::read(&answer)) {
            Ok(info) if info.offset.is_none() || info.length.is_some() && !info.complete => {
                return Ok(Turn::Later);
            }
            Ok(info) => (info.offset, info.length),
            Err(error) if error.is_passing(true) || answer.status() == StatusCode::UNAUTHORIZED => return Err(error),
            // It was created, and the server reports nothing more.
            Err(_) => (None, None),
        };
        Ok(Turn::Done(Uploaded {
            url: url.clone(),
            offset,
            length,
            complete: true,
            response: Some(LastResponse::of(answer)),
        }))
    }
}

fn min_size(answer: Answer<'_>) -> Option<u64> {
    Limits::read(answer.headers()).filter(|_| answer.protocol == Protocol::Draft)?.min_size
}
