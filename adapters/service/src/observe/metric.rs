//! All metrics, as the guide lists them.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric.
pub(super) struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// For readers of the list only: the exporter learns labels with the first value.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares them with the guide"))]
    labels: &'static [&'static str],
    description: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    pub(super) fn describe(&self) {
        let Self { name, kind, unit, description, .. } = *self;
        match kind {
            Kind::Counter => describe_counter!(name, unit, description),
            Kind::Gauge => describe_gauge!(name, unit, description),
            Kind::Histogram => describe_histogram!(name, unit, description),
        }
    }
}

macro_rules! metrics {
    ($($name:literal $kind:ident $unit:ident [$($label:literal)*] $description:literal;)*) => {
        pub(super) const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            description: $description,
        }),*];
    };
}

metrics! {
    "tus_requests_total" Counter Count ["method" "status"] "Answered requests";
    "tus_request_seconds" Histogram Seconds ["method"] "Time from the head of a request to the head of its response";
    "tus_commit_seconds" Histogram Seconds [] "Duration of the last commit of a request";
    "tus_received_bytes_total" Counter Bytes [] "Bytes of uploads passed to the storage";
    "tus_sent_bytes_total" Counter Bytes [] "Bytes of downloads passed to the framework";
    "tus_uploads_created_total" Counter Count [] "Created uploads";
    "tus_uploads_finished_total" Counter Count [] "Uploads that are complete and whose hooks have succeeded";
    "tus_uploads_removed_total" Counter Count ["cause"] "Removed uploads: client, application, expired, failed";
    "tus_uploads_in_flight" Gauge Count [] "Requests that are adding bytes to an upload";
    "tus_downloads_in_flight" Gauge Count [] "Downloads that hold memory or a file";
    "tus_bytes_in_flight" Gauge Bytes [] "Memory of bodies that the storage has not released, as counted by the budget";
    "tus_hooks_failed_total" Counter Count ["hook"] "Calls of hooks that failed, panicked or timed out";
    "tus_storage_errors_total" Counter Count ["kind"] "Failures of the storage: full, unavailable, internal";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use metrics_util::debugging::DebuggingRecorder;

    use super::*;

    /// The guide lists each metric as it is defined.
    #[test]
    fn the_guide_lists_every_metric() {
        let guide = include_str!("../../../../examples/guide/src/operations.md");
        let listed: Vec<_> = guide.lines().filter(|line| line.starts_with("| `tus_")).collect();
        let known: Vec<_> = METRICS.iter().map(row).collect();
        assert_eq!(listed, known);
    }

    fn row(metric: &Metric) -> String {
        let Metric { name, kind, unit, labels, description } = metric;
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, unit) = (format!("{kind:?}").to_lowercase(), unit.as_str());
        format!("| `{name}` | {kind} | {unit} | {} | {description} |", labels.join(", "))
    }

    /// Exactly the recorded metrics are described.
    #[test]
    fn the_code_records_every_metric() {
        let sources = [include_str!("../observe.rs")];
        let sources = sources.map(|source| source.split("#[cfg(test)]\nmod tests").next().unwrap());
        let named = sources.iter().flat_map(|source| source.split('"').filter(|text| text.starts_with("tus_")));
        let known: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(named.collect::<BTreeSet<_>>(), known);
    }

    #[test]
    fn every_metric_is_described() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            crate::observe::describe();
            // A snapshot contains the descriptions of recorded metrics only.
            for metric in METRICS {
                match metric.kind {
                    Kind::Counter => metrics::counter!(metric.name).increment(1),
                    Kind::Gauge => metrics::gauge!(metric.name).increment(1),
                    Kind::Histogram => metrics::histogram!(metric.name).record(1),
                }
            }
        });
        for (key, unit, description, _) in snapshotter.snapshot().into_vec() {
            let metric = METRICS.iter().find(|metric| metric.name == key.key().name()).unwrap();
            assert_eq!((unit, description.as_deref()), (Some(metric.unit), Some(metric.description)));
        }
    }
}
