//! The bytes of the next request.

use std::ops::Range;

use super::{Completion, Phase, Uploading};
use crate::{
    Checksum,
    client::{call::Call, dialect::Content},
};

/// The next bytes to send, from the start of the upload.
#[derive(Debug, Clone)]
pub(super) struct Next {
    pub(super) range: Range<u64>,
    pub(super) checksum: Option<Checksum>,
}

impl Uploading {
    /// The bytes of the next request, as far as they are known without reading the source.
    pub(super) fn ahead(&self) -> Range<u64> {
        let (from, length) = (self.acknowledged, self.upload.length);
        if self.completion == Completion::Found {
            return from..from;
        }
        let limit = self.size.limit(!self.ends_there);
        let end = [length, self.stop_at].into_iter().flatten().fold(from.saturating_add(limit), u64::min);
        from..end.max(from)
    }

    /// The same bytes as positions in the source.
    pub(super) fn in_source(&self, range: &Range<u64>) -> Range<u64> {
        self.upload.start + range.start..self.upload.start + range.end
    }

    /// Whether the next request carries bytes.
    pub(super) fn sends(&self) -> bool {
        match self.phase {
            Phase::Create { .. } => {
                let bytes = self.upload.parts().is_none() && !self.ahead().is_empty();
                self.data_in_creation && bytes
            }
            Phase::Inspect { .. } | Phase::Check { .. } | Phase::Join { .. } | Phase::Cancel { .. } => false,
            Phase::Append { .. } => true,
        }
    }

    /// The description of the next bytes in a request.
    pub(super) fn content(&self) -> Content {
        let checksum = self.next.as_ref().and_then(|next| next.checksum.clone());
        Content { checksum, completes: self.completes() }
    }

    /// Whether the next bytes are the last ones.
    pub(super) fn completes(&self) -> bool {
        self.completion == Completion::Found || self.upload.length == Some(self.sent_until())
    }

    pub(super) fn with_body(&self, mut call: Call) -> Call {
        // Nothing is read to fetch a response again.
        if self.completion == Completion::Found {
            return call;
        }
        call.body = Some(self.in_source(&(self.next.as_ref().map_or_else(|| self.ahead(), |next| next.range.clone()))));
        call
    }

    /// The largest offset that the server can have after the last request.
    pub(super) fn sent_until(&self) -> u64 {
        if !self.sends() {
            return self.acknowledged;
        }
        self.next.as_ref().map_or(self.ahead().end, |next| next.range.end)
    }

    /// Records that the next bytes were sent, as far as the server can have received them.
    pub(super) fn note_sent(&mut self) {
        if self.sends() {
            // The response may change the number of bytes in further requests.
            let range = self.ahead();
            self.next.get_or_insert(Next { range, checksum: None });
            let end = self.sent_until();
            self.sent = self.sent.map(|sent| sent.max(end));
        }
    }
}
