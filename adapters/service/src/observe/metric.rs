//! All metrics, as the guide lists them.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// A metric.
pub(super) struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// Each with its values, if they are known beforehand.
    labels: &'static [(&'static str, &'static [&'static str])],
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

    /// Exports 0 where the labels are known beforehand. Prometheus ignores the first value of a series: without the 0,
    /// the first error would raise no alert.
    pub(super) fn start_at_zero(&self) {
        let name = self.name;
        match (self.kind, self.labels) {
            (Kind::Counter, []) => counter!(name).increment(0),
            (Kind::Counter, [(label, values)]) => {
                values.iter().for_each(|value| counter!(name, *label => *value).increment(0));
            }
            (Kind::Gauge, _) => gauge!(name).increment(0.0),
            (Kind::Counter | Kind::Histogram, _) => {}
        }
    }
}

/// Upper bounds of buckets for the histograms of the feature `metrics`, in seconds: from half a millisecond, in which a
/// fast disk commits, to the five minutes that a large request may take. Pass them to the exporter for the suffix
/// `_seconds`; without buckets, most exporters offer quantiles that cannot be combined.
pub const TIME_BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

macro_rules! metrics {
    ($($name:literal $kind:ident $unit:ident [$($label:literal $(($($value:literal)*))?)*] $description:literal;)*) => {
        pub(super) const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$(($label, &[$($($value),*)?])),*],
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
    "tus_uploads_removed_total" Counter Count ["cause" ("client" "application" "expired" "failed")] "Removed uploads: client, application, expired, failed";
    "tus_uploads_due" Gauge Count [] "Uploads that wait for their parts, their concatenation or the hook finished, as the last sweep found";
    "tus_uploads_failing" Gauge Count [] "Uploads whose hook finished has failed and is called again, as the last sweep found";
    "tus_uploads_in_flight" Gauge Count [] "Requests that are adding bytes to an upload";
    "tus_downloads_in_flight" Gauge Count [] "Downloads that hold memory or a file";
    "tus_bytes_in_flight" Gauge Bytes [] "Memory of bodies that the storage has not released, as counted by the budget";
    "tus_hooks_failed_total" Counter Count ["hook" ("authorize" "before_create" "creation_failed" "created" "progress" "before_finish" "finished" "before_terminate" "terminated")] "Calls of hooks that failed, panicked or timed out";
    "tus_storage_errors_total" Counter Count ["kind" ("full" "unavailable" "internal")] "Failures of the storage: full, unavailable, internal";
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
        // The bucket and the webhooks of tus-serve have tables of their own.
        let others = ["| `tus_store_", "| `tus_webhooks_"];
        let is_ours = |line: &&str| line.starts_with("| `tus_") && !others.iter().any(|other| line.starts_with(other));
        let listed: Vec<_> = guide.lines().filter(is_ours).collect();
        let known: Vec<_> = METRICS.iter().map(row).collect();
        assert_eq!(listed, known);
    }

    fn row(metric: &Metric) -> String {
        let Metric { name, kind, unit, labels, description } = metric;
        let labels: Vec<_> = labels.iter().map(|(label, _)| format!("`{label}`")).collect();
        let (kind, unit) = (format!("{kind:?}").to_lowercase(), unit.as_str());
        format!("| `{name}` | {kind} | {unit} | {} | {description} |", labels.join(", "))
    }

    /// Every value of a label that the code knows starts at zero.
    #[test]
    fn the_code_records_only_known_labels() {
        let sources = [include_str!("../observe.rs"), include_str!("../hooks/runner.rs")];
        let sources = sources.map(|source| source.split("#[cfg(test)]\nmod tests").next().unwrap());
        let quoted = |before: &str| -> BTreeSet<_> {
            let after = sources.iter().flat_map(|source| source.split(before).skip(1));
            after.filter_map(|after| after.split('"').next()).collect()
        };
        let known = |name| -> BTreeSet<_> {
            let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
            metric.labels.iter().flat_map(|(_, values)| values.iter().copied()).collect()
        };
        assert_eq!(&quoted("self.guarded(\"") | &quoted("hook_failed(\""), known("tus_hooks_failed_total"));
        let arms = &known("tus_storage_errors_total") | &known("tus_uploads_removed_total");
        assert_eq!(quoted("=> \""), arms);
    }

    /// The alert knows the budget of bodies.
    #[test]
    fn an_alert_knows_the_budget() {
        let alerts = include_str!("../../../../examples/server/operations/alerts.yml");
        assert!(alerts.contains(&format!("tus_bytes_in_flight > 0.9 * {}\n", crate::request::ALL_IN_FLIGHT)));
        let dashboard = include_str!("../../../../examples/server/operations/dashboard.json");
        assert!(dashboard.contains(&format!("\"value\": {}\n", crate::request::ALL_IN_FLIGHT)));
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
