//! The number of bytes in the next request.

use std::time::Duration;

use super::{
    Error, Verification,
    options::{DEFAULT_CHUNK, Options, VERIFIED},
};
use crate::Algorithm;

/// The size of requests. It shrinks when a request is too large for the server or the line, and grows again when
/// requests are quick.
#[derive(Debug)]
pub(super) struct Size {
    /// The maximum; `None` for everything in one request.
    most: Option<u64>,
    /// The current maximum, if smaller.
    now: Option<u64>,
    /// Whether it follows the line. A size that the caller chose changes only if it is refused, or if a request
    /// times out.
    adapts: bool,
    algorithm: Option<Algorithm>,
    /// Whether larger requests are sent without verification.
    optional: bool,
    /// The server's limits for requests that do not complete the upload.
    bounds: (u64, u64),
}

/// Requests are not made smaller than this: a server that rejects them has another reason.
const SMALLEST: u64 = 16 * 1024;

/// The size at which splitting starts: larger requests are not halved step by step.
const LARGEST_SPLIT: u64 = 64 * 1024 * 1024;

/// A request that took no longer than this is not too large for the line. The next one may be twice as large.
const QUICK: Duration = Duration::from_secs(2);

/// If a request took longer than this, the next one has half its size, because an interruption may lose a complete
/// request.
const LONG: Duration = Duration::from_secs(20);

impl Size {
    /// `verifies`: whether the server is known to verify the algorithm; `None` if unknown.
    pub(super) fn new(options: &Options, verifies: impl Fn(Algorithm) -> Option<bool>) -> Result<Self, Error> {
        let (algorithm, optional) = match options.verification {
            Verification::Off => (None, false),
            Verification::IfOffered(algorithm) => (Some(algorithm).filter(|_| verifies(algorithm) == Some(true)), true),
            Verification::Required(algorithm) if verifies(algorithm) == Some(false) => {
                return Err(Error::Unsupported(format!("checksums by {}", algorithm.name())));
            }
            Verification::Required(algorithm) => (Some(algorithm), false),
        };
        let required = algorithm.is_some() && !optional;
        let most = options.chunk_size.or(required.then_some(VERIFIED));
        let (now, adapts) = (options.first_chunk, options.first_chunk.is_some());
        Ok(Self { most, now, adapts, algorithm, optional, bounds: (0, u64::MAX) })
    }

    /// Applies the server's limits for a request (draft 12, "Limits").
    pub(super) fn bound(&mut self, fewest: Option<u64>, most: Option<u64>) {
        self.bounds = (fewest.unwrap_or(0), most.unwrap_or(u64::MAX).max(1));
    }

    /// The minimum size of a request that does not complete the upload.
    pub(super) fn fewest(&self) -> u64 {
        self.bounds.0
    }

    /// Everything goes into one request.
    pub(super) fn unbounded(&mut self) {
        (self.most, self.now) = (None, None);
    }

    /// The maximum for the next request. `streamed`: its bytes must be read first and stay in memory.
    pub(super) fn limit(&self, streamed: bool) -> u64 {
        let wanted = self.now.or(self.most).unwrap_or(if streamed { DEFAULT_CHUNK } else { u64::MAX });
        // A server's minimum must not fill the memory.
        let fewest = if streamed { self.bounds.0.min(LARGEST_SPLIT) } else { self.bounds.0 };
        wanted.max(fewest).min(self.bounds.1)
    }

    /// The algorithm that verifies a request of this many bytes.
    pub(super) fn algorithm(&self, bytes: u64) -> Option<Algorithm> {
        self.algorithm.filter(|_| !self.optional || bytes <= VERIFIED)
    }

    /// The server permanently rejects requests of this size. Returns whether smaller ones are worth a try.
    pub(super) fn refused(&mut self, bytes: u64) -> bool {
        let half = (bytes / 2).min(LARGEST_SPLIT);
        if half < SMALLEST.max(self.bounds.0) {
            return false;
        }
        (self.most, self.now) = (Some(half), None);
        true
    }

    /// Whether it follows the line, because the caller chose no size.
    pub(super) fn adapts(&self) -> bool {
        self.adapts
    }

    /// A request of this size had no effect within its time limit: it may be too large for the line.
    pub(super) fn too_slow(&mut self, bytes: u64) {
        let quarter = (bytes / 4).clamp(SMALLEST, LARGEST_SPLIT);
        if quarter < bytes {
            self.now = Some(quarter);
        }
    }

    /// A request of this many bytes has succeeded within this time.
    pub(super) fn took(&mut self, time: Duration, bytes: u64) {
        if time <= QUICK {
            let doubled = self.now.take().map(|now| now.saturating_mul(2));
            self.now = doubled.filter(|now| *now < self.most.unwrap_or(LARGEST_SPLIT));
        } else if time > LONG && self.adapts && bytes > SMALLEST {
            self.now = Some((bytes / 2).max(SMALLEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn size(options: Options) -> Size {
        Size::new(&options, |_| Some(true)).unwrap()
    }

    #[test]
    fn one_checksum_covers_a_bounded_number_of_bytes() {
        let sha1 = Algorithm::Sha1;
        let all = size(Options::default().chunk_size(None));
        assert_eq!((all.limit(false), all.algorithm(MIB), all.algorithm(17 * MIB)), (u64::MAX, Some(sha1), None));
        let required = Options::default().verification(Verification::Required(sha1));
        assert_eq!(size(required.clone().chunk_size(None)).limit(false), VERIFIED);
        let large = size(required.chunk_size(Some(100 * MIB)));
        assert_eq!((large.limit(false), large.algorithm(100 * MIB)), (100 * MIB, Some(sha1)));
    }

    #[test]
    fn requests_shrink_on_a_slow_line_and_grow_on_a_quick_one() {
        let mut size = size(Options::default().chunk_size(Some(MIB)));
        let mut seen = Vec::new();
        for _ in 0..5 {
            size.too_slow(size.limit(false));
            seen.push(size.limit(false) >> 10);
        }
        assert_eq!(seen, [256, 64, 16, 16, 16]);
        size.took(QUICK * 2, 16 << 10);
        assert_eq!(size.limit(false) >> 10, 16, "it was just quick enough");
        for _ in 0..9 {
            size.took(QUICK, size.limit(false));
            seen.push(size.limit(false) >> 10);
        }
        assert_eq!(seen[5..], [32, 64, 128, 256, 512, 1024, 1024, 1024, 1024]);
    }

    #[test]
    fn the_default_adapts_to_the_line_within_seconds() {
        let mut size = size(Options::default());
        let mut sizes = |bytes_per_second: u64| -> Vec<u64> {
            let mut next = || {
                let bytes = size.limit(false);
                size.took(Duration::from_secs(bytes / bytes_per_second), bytes);
                bytes >> 10
            };
            (0..7).map(|_| next()).collect()
        };
        assert_eq!(sizes(100 * MIB), [1024, 2048, 4096, 8192, 8192, 8192, 8192]);
        // 64 kbit/s, and 2 Mbit/s.
        assert_eq!(sizes(8 * 1024), [8192, 4096, 2048, 1024, 512, 256, 128]);
        assert_eq!(sizes(256 * 1024), [128, 256, 512, 1024, 1024, 1024, 1024]);
        // A line that can carry what the caller demands does not change it.
        for chosen in [None, Some(8 * MIB)] {
            let mut fixed = Size::new(&Options::default().chunk_size(chosen), |_| None).unwrap();
            fixed.took(LONG * 2, fixed.limit(false));
            assert_eq!(fixed.limit(false), chosen.unwrap_or(u64::MAX));
        }
    }
}
