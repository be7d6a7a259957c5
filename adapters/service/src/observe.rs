//! Observability: a span around each exchange and an event for each change of an upload (`tracing`), and metrics
//! (`metrics`, by feature).

#[cfg(feature = "metrics")]
mod metric;

use std::time::Duration;

use http::{Method, StatusCode, request::Parts};
use tracing::{Span, field::Empty};
use tus_core::{Change, Failure, Phase, Rejection, Upload, UploadId};

#[cfg(feature = "metrics")]
use self::metric::METRICS;
#[cfg(feature = "metrics")]
pub use self::metric::TIME_BUCKETS;
use crate::cause::Cause;

/// Records metrics if the feature is on. If it is off, the values are still type-checked, so that neither configuration
/// rots.
macro_rules! count {
    ($name:literal, $value:expr $(, $label:literal => $text:expr)*) => {{
        let value: u64 = $value;
        #[cfg(feature = "metrics")]
        metrics::counter!($name $(, $label => $text)*).increment(value);
        #[cfg(not(feature = "metrics"))]
        let _ = (value, $($text,)*);
    }};
}

macro_rules! gauge {
    ($name:expr, $value:expr) => {{
        let (name, value): (&'static str, f64) = ($name, $value);
        #[cfg(feature = "metrics")]
        metrics::gauge!(name).increment(value);
        #[cfg(not(feature = "metrics"))]
        let _ = (name, value);
    }};
}

macro_rules! time {
    ($name:literal, $took:expr $(, $label:literal => $text:expr)*) => {{
        let seconds = Duration::as_secs_f64(&$took);
        #[cfg(feature = "metrics")]
        metrics::histogram!($name $(, $label => $text)*).record(seconds);
        #[cfg(not(feature = "metrics"))]
        let _ = (seconds, $($text,)*);
    }};
}

/// Registers the unit, the description and the zero of each metric. The exporter must be installed before.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    for metric in METRICS {
        metric.describe();
        metric.start_at_zero();
    }
}

/// One unit of a gauge, as long as it exists.
#[derive(Debug)]
pub(crate) struct InFlight(&'static str);

impl InFlight {
    fn new(gauge: &'static str) -> Self {
        gauge!(gauge, 1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(self.0, -1.0);
    }
}

/// A request that adds bytes to an upload.
pub(crate) fn upload() -> InFlight {
    InFlight::new("tus_uploads_in_flight")
}

pub(crate) fn download() -> InFlight {
    InFlight::new("tus_downloads_in_flight")
}

/// The number of uploads that the last sweep of an endpoint found due, and of those whose hook `finished` has failed.
#[derive(Debug, Default)]
pub(crate) struct Due {
    due: f64,
    failing: f64,
    /// What the last sweep found.
    last: (f64, f64),
}

impl Due {
    /// What a sweep found. If its list is not complete, it may have found too few, and what the one before found counts
    /// as well.
    pub(crate) fn found(&mut self, due: usize, failing: usize, is_complete: bool) {
        let (due, failing) = (due as f64, failing as f64);
        match is_complete {
            true => self.set(due, failing),
            false => self.set(due.max(self.last.0), failing.max(self.last.1)),
        }
        self.last = (due, failing);
    }

    /// The change is counted, because an application may have several endpoints.
    fn set(&mut self, due: f64, failing: f64) {
        gauge!("tus_uploads_due", due - self.due);
        gauge!("tus_uploads_failing", failing - self.failing);
        (self.due, self.failing) = (due, failing);
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.set(0.0, 0.0);
    }
}

/// Changes the number of bytes of bodies in memory.
pub(crate) fn bytes_in_flight(more: f64) {
    gauge!("tus_bytes_in_flight", more);
}

/// A storage failed in a way that no request caused.
pub(crate) fn storage_failed(failure: Failure) {
    let kind = match failure {
        Failure::Full => "full",
        Failure::Unavailable => "unavailable",
        _ => "internal",
    };
    count!("tus_storage_errors_total", 1, "kind" => kind);
}

/// The span of an exchange. It contains everything that the exchange logs, the application's hooks included.
pub(crate) fn exchange(head: &Parts) -> Span {
    tracing::info_span!("tus", method = %head.method, upload = Empty)
}

/// Records the upload of the current exchange.
pub(crate) fn concerns(id: &UploadId) {
    Span::current().record("upload", tracing::field::display(id));
}

pub(crate) fn responded(method: &Method, status: StatusCode, took: Duration) {
    tracing::debug!(status = status.as_u16(), ?took, "responded");
    count!("tus_requests_total", 1, "method" => label(method), "status" => status.as_str().to_owned());
    time!("tus_request_seconds", took, "method" => label(method));
}

pub(crate) fn created(upload: &Upload) {
    tracing::info!(upload = %upload.id, length = upload.length, "created");
    count!("tus_uploads_created_total", 1);
    if upload.phase == Phase::Notified {
        finished(upload, upload.offset);
    }
}

pub(crate) fn received(bytes: u64) {
    count!("tus_received_bytes_total", bytes);
}

pub(crate) fn committed(took: Duration) {
    time!("tus_commit_seconds", took);
}

/// A record was durably changed.
pub(crate) fn changed(before: &Upload, change: &Change) {
    if change.phase == Phase::Notified && before.phase != Phase::Notified {
        finished(before, change.offset);
    }
}

fn finished(upload: &Upload, length: u64) {
    tracing::info!(upload = %upload.id, length, "finished");
    count!("tus_uploads_finished_total", 1);
}

pub(crate) fn refused_by_hook(upload: &Upload, rejection: &Rejection) {
    tracing::warn!(upload = %upload.id, status = %rejection.status(), "the hook before_finish rejected the upload");
}

/// A hook without a client returned an error, or a hook panicked or timed out.
pub(crate) fn hook_failed(hook: &'static str) {
    count!("tus_hooks_failed_total", 1, "hook" => hook);
}

pub(crate) fn removed(upload: &Upload, cause: Cause) {
    let cause = match cause {
        Cause::Client => "client",
        Cause::Application => "application",
        Cause::Expired => "expired",
        Cause::Failed => "failed",
    };
    tracing::info!(upload = %upload.id, cause, "removed");
    count!("tus_uploads_removed_total", 1, "cause" => cause);
}

pub(crate) fn sent(bytes: u64) {
    count!("tus_sent_bytes_total", bytes);
}

/// Clients may invent methods, and each label is kept forever.
fn label(method: &Method) -> &'static str {
    let known = ["OPTIONS", "POST", "HEAD", "PATCH", "DELETE", "GET"];
    known.into_iter().find(|name| method == name).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
        time::Duration,
    };

    use bytes::Bytes;
    use futures_util::{StreamExt, poll, stream};
    use http::Request;
    use http_body::Frame;
    use http_body_util::{BodyExt, Full, StreamBody};
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use tus_core::{Config, Download};

    use crate::{Memory, Mount, Tus};

    /// An upload of five bytes, downloaded once and deleted.
    async fn one_upload() {
        let config = Config::default().download(Download::attachment());
        let tus = Tus::builder(Memory::new()).config(config).build();
        let request = |method: &str, path: &str| {
            let offset = ("content-type", "application/offset+octet-stream");
            Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0").header(offset.0, offset.1)
        };
        let created =
            request("POST", "/files").header("upload-length", "5").body(Full::<Bytes>::from("hello")).unwrap();
        let created = tus.handle(created, &Mount::at("/files")).await;
        let path = created.headers()["location"].to_str().unwrap().to_owned();
        let body =
            tus.handle(request("GET", &path).body(Full::<Bytes>::default()).unwrap(), &Mount::at("/files")).await;
        let body = pin!(body.into_body().map_err(|_| unreachable!() as Infallible)).collect().await.unwrap();
        assert_eq!(body.to_bytes(), "hello");
        for method in ["DELETE", "BREW"] {
            tus.handle(request(method, &path).body(Full::<Bytes>::default()).unwrap(), &Mount::at("/files")).await;
        }
    }

    /// Name, labels and value of each metric that this records, except of counters that are still 0.
    fn recorded(work: impl Future<Output = ()>) -> Vec<String> {
        let recorder = DebuggingRecorder::new();
        let snapshotter: Snapshotter = recorder.snapshotter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        metrics::with_local_recorder(&recorder, || runtime.block_on(work));
        let mut seen: Vec<String> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .filter(|(_, _, _, value)| *value != DebugValue::Counter(0))
            .map(|(key, _, _, value)| {
                let labels: Vec<_> = key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
                let value = match value {
                    DebugValue::Counter(count) => count.to_string(),
                    DebugValue::Histogram(times) => format!("{} times", times.len()),
                    DebugValue::Gauge(value) => value.to_string(),
                };
                format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
            })
            .collect();
        seen.sort();
        seen
    }

    #[test]
    fn metrics_count_every_event() {
        assert_eq!(
            recorded(one_upload()),
            [
                "tus_bytes_in_flight{} 0",
                "tus_commit_seconds{} 1 times",
                "tus_downloads_in_flight{} 0",
                "tus_received_bytes_total{} 5",
                "tus_request_seconds{method=DELETE} 1 times",
                "tus_request_seconds{method=GET} 1 times",
                "tus_request_seconds{method=POST} 1 times",
                "tus_request_seconds{method=other} 1 times",
                "tus_requests_total{method=DELETE,status=204} 1",
                "tus_requests_total{method=GET,status=200} 1",
                "tus_requests_total{method=POST,status=201} 1",
                "tus_requests_total{method=other,status=405} 1",
                "tus_sent_bytes_total{} 5",
                "tus_uploads_created_total{} 1",
                "tus_uploads_due{} 0",
                "tus_uploads_failing{} 0",
                "tus_uploads_finished_total{} 1",
                "tus_uploads_in_flight{} 0",
                "tus_uploads_removed_total{cause=client} 1",
            ]
        );
    }

    /// While a body arrives, and while a download waits to be read.
    #[test]
    fn gauges_show_what_is_in_flight() {
        let work = async {
            let config = Config::default().download(Download::attachment());
            let tus = Tus::builder(Memory::new()).config(config).build();
            let mount = Mount::at("/files");
            let finished = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 5);
            let finished = finished.header("content-type", "application/offset+octet-stream");
            let finished = tus.handle(finished.body(Full::<Bytes>::from("hello")).unwrap(), &mount).await;
            let path = finished.headers()["location"].to_str().unwrap();
            // Neither is dropped before the numbers are read.
            let body = tus.handle(Request::get(path).body(Full::<Bytes>::default()).unwrap(), &mount).await;
            std::mem::forget(body);

            let created = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 5);
            let created = tus.handle(created.body(Full::<Bytes>::default()).unwrap(), &mount).await;
            let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("hel")))]).chain(stream::pending());
            let append = Request::patch(created.headers()["location"].to_str().unwrap()).header("upload-offset", 0);
            let append = append.header("tus-resumable", "1.0.0").header("content-length", 5);
            let append = append.header("content-type", "application/offset+octet-stream");
            let mut patch = Box::pin(tus.handle(append.body(StreamBody::new(frames)).unwrap(), &mount));
            assert!(poll!(&mut patch).is_pending());
            std::mem::forget(patch);
        };
        let gauges: Vec<_> = recorded(work).into_iter().filter(|metric| metric.contains("in_flight")).collect();
        assert_eq!(gauges, ["tus_bytes_in_flight{} 0", "tus_downloads_in_flight{} 1", "tus_uploads_in_flight{} 1"]);
    }

    #[test]
    fn failures_of_the_storage_and_of_hooks_are_counted() {
        let work = async {
            let full = crate::StorageError::from(crate::Failure::Full);
            crate::engine::failure(&"a".parse().unwrap(), &full);
            let tus = Tus::builder(Memory::new()).authorize(|_| async { panic!("as the test wants it") }).build();
            let create = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 5);
            tus.handle(create.body(Full::<Bytes>::default()).unwrap(), &Mount::at("/files")).await;
        };
        let failed = |metric: &String| metric.contains("failed") || metric.contains("errors");
        let failed: Vec<_> = recorded(work).into_iter().filter(failed).collect();
        assert_eq!(failed, ["tus_hooks_failed_total{hook=authorize} 1", "tus_storage_errors_total{kind=full} 1"]);
    }

    /// An upload whose hook fails is due until the hook succeeds.
    #[test]
    fn due_uploads_are_counted_by_each_sweep() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        // A snapshot sets the gauges to 0.
        let mut gauges = [0.0; 2];
        let mut are = move |value: f64| {
            let snapshot = snapshotter.snapshot().into_vec();
            for (name, gauge) in ["tus_uploads_due", "tus_uploads_failing"].into_iter().zip(&mut gauges) {
                for (key, .., change) in &snapshot {
                    if let DebugValue::Gauge(change) = change
                        && key.key().name() == name
                    {
                        *gauge += change.0;
                    }
                }
            }
            gauges == [value; 2]
        };
        let work = async {
            let works = Arc::new(AtomicBool::new(false));
            let works_too = works.clone();
            let finished = move |_| {
                let works = works_too.load(Relaxed);
                async move { works.then_some(()).ok_or("not yet") }
            };
            let tus = Tus::builder(Memory::new()).sweep_interval(Duration::from_secs(10)).finished(finished).build();
            let create = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 0);
            tus.handle(create.body(Full::<Bytes>::default()).unwrap(), &Mount::at("/files")).await;
            for value in [1.0, 0.0] {
                while !are(value) {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                works.store(true, Relaxed);
            }
        };
        let work = async { tokio::time::timeout(Duration::from_secs(3600), work).await.unwrap() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    }

    #[test]
    fn one_incomplete_sweep_lowers_no_gauge() {
        let mut due = super::Due::default();
        for (found, is_complete, shown) in
            [(2, true, 2.0), (1, false, 2.0), (1, false, 1.0), (3, false, 3.0), (1, true, 1.0)]
        {
            due.found(found, found, is_complete);
            assert_eq!((due.due, due.failing), (shown, shown));
        }
    }

    /// Prometheus ignores the first value of a series.
    #[test]
    fn counters_start_at_zero() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async { drop(Tus::builder(Memory::new()).build()) });
        });
        let zeros = snapshotter.snapshot().into_vec();
        assert!(zeros.iter().all(|(.., value)| matches!(value, DebugValue::Counter(0) | DebugValue::Gauge(_))));
        let has = |name: &str, label: Option<(&str, &str)>| {
            let labels: Vec<_> = label.into_iter().collect();
            zeros.iter().any(|(key, ..)| {
                let its = key.key().labels().map(|label| (label.key(), label.value()));
                key.key().name() == name && its.eq(labels.iter().copied())
            })
        };
        assert!(has("tus_received_bytes_total", None));
        assert!(has("tus_storage_errors_total", Some(("kind", "full"))));
        assert!(has("tus_hooks_failed_total", Some(("hook", "finished"))));
    }
}
