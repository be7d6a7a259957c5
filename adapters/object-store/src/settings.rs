//! Settings.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tus_service::Upload;

/// The most parts of an upload of known length; the stores allow 10,000.
const MOST_PARTS: u64 = 9000;

/// The number of parts that may be assembled from pieces at once, if memory is not short.
const GATHERED: usize = 2;

/// What time it is.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub(crate) type KeyOf = Arc<dyn Fn(&Upload) -> String + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub part_size: u64,
    pub window: usize,
    /// The memory of all writers of this process together, in bytes.
    pub memory: usize,
    pub equal_parts: bool,
    /// The interval between two writes of one object that the store allows.
    pub write_interval: Option<Duration>,
    /// The smallest part that the store accepts, except the last one, and the largest that is copied if possible, in
    /// bytes.
    pub smallest_part: u64,
    pub largest_copy: u64,
    pub key: KeyOf,
    pub clock: Clock,
    /// How often an owner checks whether it is asked to leave.
    pub owner_looks: Duration,
    /// How often a waiting request checks whether the owner has left.
    pub waiter_looks: Duration,
    /// How long slowly arriving bytes may be in no document.
    pub linger: Duration,
    /// A rule that is disabled, to show that the simulation detects it.
    #[cfg(test)]
    pub without: Option<Rule>,
}

/// Rules without which bytes would be lost or mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Rule {
    /// Part numbers are reserved in the document before they are used.
    Window,
    /// The bytes of contested parts are also kept as pieces.
    Contested,
    /// Each version of the document has a nonce.
    Nonce,
    /// What is deleted was removed from the document before.
    DeleteAfterCommit,
    /// The document states that an upload is being sealed before its object is replaced.
    Sealing,
    /// A marker for work exists before the work is due.
    Marker,
    /// The document of a removed upload stays for a day.
    Fence,
    /// An owner that does not answer that it is alive loses an expired upload.
    Question,
}

impl Settings {
    pub(crate) fn part_size_of(&self, length: Option<u64>) -> u64 {
        self.part_size.max(length.map_or(0, |length| length.div_ceil(MOST_PARTS)))
    }

    /// What writers may hold, in bytes. The rest of the budget is for pieces that are read back.
    pub(crate) fn memory_of_writers(&self) -> usize {
        let parts = usize::try_from(self.part_size).unwrap_or(usize::MAX).saturating_mul(GATHERED);
        self.memory.saturating_sub(parts).max(self.memory / 2)
    }

    /// What pieces may take that are read back, in bytes.
    pub(crate) fn memory_of_pieces(&self) -> usize {
        self.memory.saturating_sub(self.memory_of_writers()).max(1)
    }

    /// How many part numbers are reserved at once. If the document can be written only at intervals, parts continue
    /// in between.
    pub(crate) fn ahead(&self) -> usize {
        self.window * if self.write_interval.is_some() { 8 } else { 1 }
    }

    /// Whether a rule is kept: always, except in a simulation that disables it.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.without != Some(rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            true
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("part_size", &self.part_size)
            .field("window", &self.window)
            .field("memory", &self.memory)
            .field("equal_parts", &self.equal_parts)
            .field("write_interval", &self.write_interval)
            .finish_non_exhaustive()
    }
}
