//! What can be chosen.

use std::{fmt, sync::Arc, time::Duration};

use tus_service::Upload;

/// The most parts that an upload of known length has; the stores allow 10,000.
const MOST_PARTS: u64 = 9000;

pub(crate) type KeyOf = Arc<dyn Fn(&Upload) -> String + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub part_size: u64,
    pub window: usize,
    /// Bytes that all writers of this process hold together.
    pub memory: usize,
    pub equal_parts: bool,
    /// The time between two writes of one object that the store allows.
    pub write_interval: Option<Duration>,
    /// The smallest part but the last that the store takes, and the largest that is copied, if possible, in bytes.
    pub smallest_part: u64,
    pub largest_copy: u64,
    pub key: KeyOf,
    /// How often an owner looks whether it is asked to leave.
    pub owner_looks: Duration,
    /// How often a waiting request looks whether the owner has left.
    pub waiter_looks: Duration,
    /// For how long bytes that come slowly may be in no document.
    pub linger: Duration,
    /// A rule that is taken out, to see that a simulation finds it.
    #[cfg(test)]
    pub without: Option<Rule>,
}

/// Rules without which bytes are lost or mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Rule {
    /// Part numbers are reserved in the document before they are used.
    Window,
    /// The bytes of contested parts are kept as pieces, too.
    Contested,
    /// Each version of the document has a nonce.
    Nonce,
    /// What is deleted was dropped from the document before.
    DeleteAfterCommit,
    /// The document says that an upload is sealed before its object is replaced.
    Sealing,
    /// A marker stands for what is due before it is.
    Marker,
    /// The document of a removed upload stays for a day.
    Fence,
    /// An owner that does not say that it lives loses what has expired.
    Question,
}

impl Settings {
    pub(crate) fn part_size_of(&self, length: Option<u64>) -> u64 {
        self.part_size.max(length.map_or(0, |length| length.div_ceil(MOST_PARTS)))
    }

    /// How many part numbers are reserved at once. Where the document can be written only once in a while, parts go on
    /// meanwhile.
    pub(crate) fn ahead(&self) -> usize {
        self.window * if self.write_interval.is_some() { 8 } else { 1 }
    }

    /// Whether a rule is kept: always, but where a simulation takes it out.
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
            .finish_non_exhaustive()
    }
}
