//! Metrics for operators.

use crate::refused::Refused;

/// Counts a request by its operation and its outcome.
pub(crate) fn request<T>(operation: &'static str, answer: Result<T, Refused>) -> Result<T, Refused> {
    count(operation, outcome(answer.as_ref().err()));
    answer
}

fn outcome(refused: Option<&Refused>) -> &'static str {
    match refused {
        None => "ok",
        Some(Refused::Exists | Refused::Changed) => "refused",
        Some(Refused::Absent) => "absent",
        Some(Refused::Failed(_) | Refused::Unsettled) => "failed",
        Some(Refused::Unanswered(_)) => "unanswered",
    }
}

/// Counts the requests of a list when it ends, however it ends: one for each thousand names.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    names: u64,
    /// How the last page ended if it did not come.
    refused: Option<&'static str>,
}

impl Pages {
    pub(crate) fn note<T>(&mut self, named: &Result<T, Refused>) {
        self.names += u64::from(named.is_ok());
        self.refused = self.refused.or(named.as_ref().err().map(|refused| outcome(Some(refused))));
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        (0..self.names / 1000).for_each(|_| count("list", "ok"));
        count("list", self.refused.unwrap_or("ok"));
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
