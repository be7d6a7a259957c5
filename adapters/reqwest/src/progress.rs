//! The progress of an upload, to the byte.

use std::{
    fmt,
    sync::{
        Arc, Once, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// The progress of an upload. It never decreases, unless the upload is gone and starts again; then the progress
/// starts again, too.
///
/// Bytes that were sent may not have arrived: they may be in the system's buffers, or get lost on the way. Only the
/// server's responses show what it has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Progress {
    /// Length of the complete upload in bytes, or of the range of a [partial](crate::Upload::partial) one; `None` if it
    /// is not known yet.
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
    /// When the first request about the upload itself was sent: the time for its fingerprint, and for asking what the
    /// server offers, does not count. Before that, when it was prepared.
    pub started: Instant,
}

impl Progress {
    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Bytes sent per second since it began.
    pub fn speed(&self) -> f64 {
        self.sent.saturating_sub(self.resumed) as f64 / self.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The percentage sent, from 0 to 100; `None` while the total is unknown. An empty upload is at 100 from the start.
    pub fn percent(&self) -> Option<f64> {
        self.total.map(|total| if total == 0 { 100.0 } else { self.sent as f64 * 100.0 / total as f64 })
    }

    /// The time left at this speed; `None` while unknown.
    pub fn remaining(&self) -> Option<Duration> {
        match self.total?.saturating_sub(self.sent) {
            0 => Some(Duration::ZERO),
            left => Duration::try_from_secs_f64(left as f64 / self.speed()).ok(),
        }
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
    started: Once,
}

/// The progress of one sequence of requests.
#[derive(Debug)]
pub(crate) struct Lane {
    reporter: Arc<Reporter>,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    resumed: AtomicU64,
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
        Self { sender: watch::Sender::new(progress), callback: OnceLock::new(), started: Once::new() }
    }

    /// The upload has this many bytes.
    pub(crate) fn total(&self, bytes: u64) {
        self.sender.send_modify(|progress| progress.total = Some(bytes));
    }

    /// The first request is about to be sent.
    fn start(&self) {
        self.started.call_once(|| self.sender.send_modify(|progress| progress.started = Instant::now()));
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
        let none = || AtomicU64::new(0);
        Lane { reporter: self.clone(), sent: none(), acknowledged: none(), resumed: none() }
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
        self.note(bytes, 0);
    }

    /// This many bytes of the lane were on the server before.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.note(bytes, bytes);
    }

    fn note(&self, bytes: u64, resumed: u64) {
        let sent = self.sent.fetch_max(bytes, Ordering::Relaxed);
        let before = self.acknowledged.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.reporter.update(|progress| {
                // The last of them may not have been reported when the response arrived.
                progress.sent += bytes.saturating_sub(sent);
                progress.uploaded += bytes - before;
                progress.resumed += resumed;
            });
            self.resumed.fetch_add(resumed, Ordering::Relaxed);
        }
    }

    /// The server no longer has any bytes of the lane.
    pub(crate) fn restart(&self) {
        let [sent, uploaded, resumed] =
            [&self.sent, &self.acknowledged, &self.resumed].map(|count| count.swap(0, Ordering::Relaxed));
        self.reporter.update(|progress| {
            progress.sent -= sent;
            progress.uploaded -= uploaded;
            progress.resumed -= resumed;
        });
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.reporter.update(change);
    }

    /// A request is about to be sent.
    pub(crate) fn start(&self) {
        self.reporter.start();
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sender.borrow().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_report_is_consistent() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reporter = Arc::new(Reporter::new(Some(100)));
        let noted = seen.clone();
        reporter.call(Box::new(move |progress| {
            assert!(progress.speed() >= 0.0 && progress.percent().is_some_and(|percent| percent <= 100.0));
            assert!(progress.resumed <= progress.uploaded && progress.uploaded <= progress.sent, "{progress:?}");
            let _ = progress.remaining();
            noted.lock().unwrap_or_else(|broken| broken.into_inner()).push((progress.uploaded, progress.sent));
        }));
        let lane = reporter.lane();
        lane.resumed(60);
        lane.sent(80);
        lane.acknowledged(70);
        // It is gone.
        lane.restart();
        lane.sent(50);
        lane.acknowledged(100);
        let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        assert_eq!(seen, [(60, 60), (60, 80), (70, 80), (0, 0), (0, 50), (100, 100)]);
        assert_eq!(reporter.watch().borrow().remaining(), Some(Duration::ZERO));
    }
}
