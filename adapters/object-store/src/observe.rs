//! Numbers for an operator.

use crate::bucket::Refused;

/// Counts a request by its operation and its outcome.
pub(crate) fn request<T>(operation: &'static str, answer: Result<T, Refused>) -> Result<T, Refused> {
    let outcome = match &answer {
        Ok(_) => "ok",
        Err(Refused::Exists | Refused::Changed) => "refused",
        Err(Refused::Absent) => "absent",
        Err(Refused::Failed(_)) => "failed",
    };
    count(operation, outcome);
    answer
}

pub(crate) fn failed(operation: &'static str) {
    count(operation, "failed");
}

#[cfg(feature = "metrics")]
fn count(operation: &'static str, outcome: &'static str) {
    metrics::counter!("tus_store_requests_total", "operation" => operation, "outcome" => outcome).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &'static str) {}
