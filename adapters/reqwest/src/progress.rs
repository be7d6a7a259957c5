//! How far an upload is, to the byte.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// How far an upload is. It never goes back.
///
/// What was sent is not there yet: it may lie in the system's buffers, or be lost on the way. Only the server's answers
/// say what it has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the whole upload; `None` while that is not known.
    pub total: Option<u64>,
    /// Bytes that the server has acknowledged. They grow with each request that is answered.
    pub uploaded: u64,
    /// Bytes that were given to the connection, beside those that were on the server before. They grow within a
    /// request; what is sent once more is not counted again.
    pub sent: u64,
    /// Bytes that were on the server before.
    pub resumed: u64,
    /// Requests with bytes that were answered well.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were tried again.
    pub retried: u64,
    /// When it began.
    pub started: Instant,
}

impl Progress {
    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes a second that were sent since it began.
    pub fn speed(&self) -> f64 {
        (self.sent - self.resumed) as f64 / self.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// How much was sent, from 0 to 100; `None` while the total is not known. Nothing is whole from the beginning.
    pub fn percent(&self) -> Option<f64> {
        self.total.map(|total| if total == 0 { 100.0 } else { self.sent as f64 * 100.0 / total as f64 })
    }

    /// How long it will take to send the rest at this speed; `None` while that cannot be said.
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

/// Where progress is told.
pub(crate) struct Reporter {
    sender: watch::Sender<Progress>,
    callback: OnceLock<Box<Callback>>,
}

/// The part of the progress that one request after another makes.
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

    /// The first one that is set is called.
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
    /// So many bytes of this lane are on their way. What is sent once more was told before.
    pub(crate) fn sent(&self, bytes: u64) {
        let before = self.sent.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| progress.sent += bytes - before);
        }
    }

    /// The server has so many bytes of this lane.
    pub(crate) fn acknowledged(&self, bytes: u64) {
        let sent = self.sent.fetch_max(bytes, Ordering::Relaxed);
        let before = self.acknowledged.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| {
                // The last of them may not have been told of when the answer came.
                progress.sent += bytes.saturating_sub(sent);
                progress.uploaded += bytes - before;
            });
        }
    }

    /// So many bytes of this lane were on the server before.
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
