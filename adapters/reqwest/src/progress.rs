//! The progress of an upload, to the byte.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The progress of an upload. It never decreases.
///
/// Bytes that were sent may not have arrived: they may be in the system's buffers, or get lost on the way. Only the
/// server's responses say what it has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the complete upload; `None` while unknown.
    pub total: Option<u64>,
    /// Bytes that the server has acknowledged. Increases with each response.
    pub uploaded: u64,
    /// Bytes passed to the connection, plus those that were on the server before. Increases within a request; bytes
    /// that are sent again are not counted again.
    pub sent: u64,
    /// Bytes that were on the server before.
    pub resumed: u64,
    /// Successful requests with bytes.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were retried.
    pub retried: u64,
    /// When it began.
    pub started: Instant,
}

impl Progress {
    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes sent per second since it began.
    pub fn speed(&self) -> f64 {
        (self.sent - self.resumed) as f64 / self.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The percentage sent, from 0 to 100; `None` while the total is unknown. An empty upload is at 100 from the start.
    pub fn percent(&self) -> Option<f64> {
        self.total.map(|total| if total == 0 { 100.0 } else { self.sent as f64 * 100.0 / total as f64 })
    }

    /// The time left at this speed; `None` while unknown.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.sent) as f64;
        Duration::try_from_secs_f64(left / self.speed()).ok()
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percent(), self.total) {
            (Some(percent), Some(total)) => write!(f, "{percent:.0} % ({} of {total} bytes sent)", self.sent),
            _ => write!(f, "{} bytes sent", self.sent),
        }
    }
}

type Callback = dyn Fn(&Progress) + Send + Sync;

/// Where progress is reported.
pub(crate) struct Reporter {
    sender: watch::Sender<Progress>,
    callback: OnceLock<Box<Callback>>,
}

/// The progress of one sequence of requests.
#[derive(Debug)]
pub(crate) struct Lane {
    reporter: Arc<Reporter>,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

impl Reporter {
    pub(crate) fn new(total: Option<u64>) -> Self {
        let progress = Progress {
            total,
            uploaded: 0,
            sent: 0,
            resumed: 0,
            completed: 0,
            failed: 0,
            retried: 0,
            started: Instant::now(),
        };
        Self { sender: watch::Sender::new(progress), callback: OnceLock::new() }
    }

    /// Only the first callback is used.
    pub(crate) fn call(&self, callback: Box<Callback>) {
        let _ = self.callback.set(callback);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.sender.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.sender.send_modify(change);
        if let Some(callback) = self.callback.get() {
            let progress = self.sender.borrow().clone();
            callback(&progress);
        }
    }

    pub(crate) fn lane(self: &Arc<Self>) -> Lane {
        Lane { reporter: self.clone(), sent: AtomicU64::new(0), acknowledged: AtomicU64::new(0) }
    }
}

impl Lane {
    /// This many bytes of the lane have been sent. Bytes that are sent again were reported before.
    pub(crate) fn sent(&self, bytes: u64) {
        let before = self.sent.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| progress.sent += bytes - before);
        }
    }

    /// The server has this many bytes of the lane.
    pub(crate) fn acknowledged(&self, bytes: u64) {
        let sent = self.sent.fetch_max(bytes, Ordering::Relaxed);
        let before = self.acknowledged.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| {
                // The last of them may not have been reported when the response arrived.
                progress.sent += bytes.saturating_sub(sent);
                progress.uploaded += bytes - before;
            });
        }
    }

    /// This many bytes of the lane were on the server before.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.reporter.update(|progress| progress.resumed += bytes);
        self.acknowledged(bytes);
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.reporter.update(change);
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sender.borrow().fmt(f)
    }
}
