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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the whole upload; `None` while that is not known.
    pub total: Option<u64>,
    /// Bytes that are on the server, or on their way to it.
    pub uploaded: u64,
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

    /// Bytes a second since it began.
    pub fn speed(&self) -> f64 {
        (self.uploaded - self.resumed) as f64 / self.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// From 0 to 100; `None` while the total is not known. Nothing is whole from the beginning.
    pub fn percent(&self) -> Option<f64> {
        self.total.map(|total| if total == 0 { 100.0 } else { self.uploaded as f64 * 100.0 / total as f64 })
    }

    /// How long it will take at this speed; `None` while that cannot be said.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.uploaded) as f64;
        Duration::try_from_secs_f64(left / self.speed()).ok()
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.percent(), self.total) {
            (Some(percent), Some(total)) => write!(f, "{percent:.0} % ({} of {total} bytes)", self.uploaded),
            _ => write!(f, "{} bytes", self.uploaded),
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
    uploaded: AtomicU64,
}

impl Reporter {
    pub(crate) fn new(total: Option<u64>) -> Self {
        let progress =
            Progress { total, uploaded: 0, resumed: 0, completed: 0, failed: 0, retried: 0, started: Instant::now() };
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
        Lane { reporter: self.clone(), uploaded: AtomicU64::new(0) }
    }
}

impl Lane {
    /// So many bytes of this lane are on their way. What is sent once more was told before.
    pub(crate) fn reached(&self, bytes: u64) {
        let before = self.uploaded.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| progress.uploaded += bytes - before);
        }
    }

    /// So many bytes of this lane were on the server before.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.reporter.update(|progress| progress.resumed += bytes);
        self.reached(bytes);
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
