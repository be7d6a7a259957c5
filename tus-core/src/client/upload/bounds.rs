//! Where an upload stops, and the limits of the server for it (draft 12, "Limits").

use super::{Completion, Phase, Uploading};
use crate::client::{Error, Limits, Protocol};

impl Uploading {
    /// Whether it stops here although bytes are missing. No request is made that is too small for the server.
    pub(super) fn stops(&self) -> bool {
        let fewest = self.size.fewest().max(1);
        let reached = self.stop_at.is_some_and(|stop| stop.saturating_sub(self.acknowledged) < fewest);
        let ends = self.upload.length.is_some() && self.upload.length <= self.stop_at;
        let is_last = self.completion == Completion::Found || ends && self.protocol == Protocol::Draft;
        reached && !is_last
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.protocol == Protocol::Draft && self.max_size.is_some_and(|limit| self.least_length() > limit)
    }

    pub(super) fn too_large(&self) -> Error {
        let length = self.least_length();
        Error::TooLarge { length, limit: self.max_size.unwrap_or(length) }
    }

    /// The length, as far as it is known.
    fn least_length(&self) -> u64 {
        let read = || self.next.as_ref().map_or(self.acknowledged, |next| next.range.end);
        self.upload.length.unwrap_or_else(read)
    }

    /// Applies these limits (draft 12, "Limits").
    pub(super) fn obey(&mut self, limits: &Limits) {
        self.size.bound(limits.min_append_size, limits.max_append_size);
        self.max_size = limits.max_size;
    }

    /// "If the client knows that the representation data is smaller than min-size, it cannot expect resumability to be
    /// offered. The client might still attempt to transfer the representation in a single request".
    pub(super) fn in_one_below(&mut self, min_size: Option<u64>) -> bool {
        let is_below = self.upload.length.is_some_and(|length| min_size.is_some_and(|min_size| length < min_size));
        if is_below && matches!(self.phase, Phase::Create { .. }) {
            (self.in_one, self.data_in_creation) = (true, true);
            self.size.unbounded();
        }
        is_below
    }

    /// It cannot continue: it is deleted.
    pub(super) fn cancel(&mut self, why: Error) {
        if let Phase::Append { url } = &self.phase {
            self.phase = Phase::Cancel { url: url.clone() };
            self.failure = Some(why);
        }
    }
}
