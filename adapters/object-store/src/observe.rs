//! Metrics for operators.

use crate::bucket::Refused;

/// Counts a request by its operation and its outcome.
pub(crate) fn request<T>(operation: &'static str, answer: Result<T, Refused>) -> Result<T, Refused> {
    let outcome = match &answer {
        Ok(_) => "ok",
        Err(Refused::Exists | Refused::Changed) => "refused",
        Err(Refused::Absent) => "absent",
        Err(Refused::Failed(_)) => "failed",
        Err(Refused::Unanswered(_)) => "unanswered",
    };
    count(operation, outcome);
    answer
}

/// Counts the requests of a list when it ends, however it ends: one for each thousand names.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    names: u64,
    failed: bool,
}

impl Pages {
    pub(crate) fn note(&mut self, is_ok: bool) {
        self.names += u64::from(is_ok);
        self.failed |= !is_ok;
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let ended = u64::from(!self.failed);
        (0..self.names / 1000 + ended).for_each(|_| count("list", "ok"));
        if self.failed {
            count("list", "failed");
        }
    }
}

/// What it counts, for an exporter.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    metrics::describe_counter!(
        REQUESTS,
        metrics::Unit::Count,
        "Requests to the object store, by operation and outcome"
    );
}

#[cfg(feature = "metrics")]
const REQUESTS: &str = "tus_store_requests_total";

#[cfg(feature = "metrics")]
fn count(operation: &'static str, outcome: &'static str) {
    metrics::counter!(REQUESTS, "operation" => operation, "outcome" => outcome).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &'static str) {}
