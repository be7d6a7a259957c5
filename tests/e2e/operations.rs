//! The dashboard, the alerts and the guide: they agree with each other, and work in a real Prometheus that watches
//! tus-serve.

mod dashboard;
mod program;
mod prometheus;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tus_reqwest::{Client, Source, reqwest};

use self::{
    dashboard::{Panel, panels},
    program::TusServe,
    prometheus::Prometheus,
};
use crate::{
    buckets::Foreign,
    content::bytes,
    harness::{block_on, missing},
};

/// Grafana replaces its variable with at least this many scrapes.
const RATE_INTERVAL: &str = "1m";

/// The alerts that may have no data, even below their threshold: there is a target, and no request to the bucket has to
/// fail. The tests of `alerts_test.yml` have such data.
const EMPTY: [&str; 2] = ["TusAbsent", "TusBucketFailing"];

/// Webhooks must be signed. Nobody verifies these.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// The directory with the dashboard, the alerts and the configuration of Prometheus.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/server/operations")
}

fn file(name: &str) -> String {
    fs::read_to_string(directory().join(name)).unwrap()
}

fn guide() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/guide/src/operations.md")).unwrap()
}

/// The cells of the guide's table of metrics: name, type, unit, labels, description.
fn table(guide: &str) -> Vec<Vec<&str>> {
    let rows = guide.lines().filter(|line| line.starts_with("| `tus_"));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let words = words.filter(|word| word.starts_with("tus_") && *word != "tus_service");
    words.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[test]
fn dashboard_alerts_and_guide_name_only_existing_metrics() {
    let guide = guide();
    let known: BTreeSet<_> = table(&guide).iter().map(|row| row[0].to_owned()).collect();
    assert!(known.len() > 10, "{known:?}");
    for text in [&guide, &file("alerts.yml"), &file("alerts_test.yml")] {
        assert_eq!(metrics(text).difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    assert_eq!(metrics(&file("dashboard.json")), known, "the dashboard shows every metric");
}

/// Every alert has a severity, texts, a test, and a section of the guide that says what to do.
#[test]
fn every_alert_is_tested_and_explained() {
    let (alerts, tests, guide) = (file("alerts.yml"), file("alerts_test.yml"), guide());
    let alerts: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for key in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
        let runbook = format!("runbook: examples/guide/src/operations.md#{}\n", name.to_lowercase());
        assert!(alert.contains(&runbook), "{name} has no {runbook}");
        assert!(guide.contains(&format!("\n### {name}\n")), "the guide does not explain {name}");
        let fires = format!("alertname: {name}\n        exp_alerts:");
        let is_silent = format!("alertname: {name} }}");
        assert!(tests.contains(&fires) && tests.contains(&is_silent), "{name} is not tested");
    }
}

#[test]
fn panels_of_the_dashboard_do_not_overlap() {
    let panels = panels();
    let mut taken = BTreeMap::new();
    for Panel { title, kind, unit, place, queries, .. } in &panels {
        assert!(place.x + place.width <= 24, "{title} is too wide");
        for cell in
            (place.x..place.x + place.width).flat_map(|x| (place.y..place.y + place.height).map(move |y| (x, y)))
        {
            assert_eq!(taken.insert(cell, title), None, "{title} overlaps");
        }
        assert_eq!(unit.is_empty(), kind == "row", "{title} needs a unit");
        assert_eq!(queries.is_empty(), kind == "row", "{title} needs an expression");
    }
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let ids: BTreeSet<_> = dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64()).collect();
    assert!(ids.len() == panels.len() && !ids.contains(&None), "each panel has an id of its own: {ids:?}");
    // The reader chooses the data source: no panel names one of a certain installation.
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let sources = file("dashboard.json").matches("\"uid\": \"").count();
    assert_eq!(file("dashboard.json").matches("\"uid\": \"${datasource}\"").count(), sources - 1, "but for its own");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "prometheus is not installed")]
fn promtool_accepts_the_rules_and_their_tests() {
    for arguments in
        [["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]]
    {
        let output = Command::new("promtool").args(arguments).current_dir(directory()).output();
        let Ok(output) = output else { missing("promtool is not installed") };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
    }
}

/// Waits until an expression has this value.
async fn becomes(prometheus: &Prometheus, expression: &str, expected: f64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let values = value(prometheus, expression).await;
        if values == [expected] {
            return;
        }
        assert!(Instant::now() < deadline, "{expression} is {values:?}, not {expected}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn value(prometheus: &Prometheus, expression: &str) -> Vec<f64> {
    prometheus.query(expression).await.iter().map(|series| series.value).collect()
}

/// Two servers: one over a directory, and one over a bucket, whose webhooks fail.
struct Watched {
    directory: TempDir,
    file: TusServe,
    bucket: TusServe,
    _moto: Foreign,
}

impl Watched {
    fn start() -> Self {
        let (directory, moto) = (TempDir::new().unwrap(), Foreign::moto());
        let start = |name: &str, variables: &[(&str, &str)]| TusServe::start(&directory.path().join(name), variables);
        let file = start("file", &[("TUS_DOWNLOAD", "on")]);
        let store = moto.variables("watched");
        let store: Vec<_> = store.iter().map(|(name, value)| (*name, &**value)).collect();
        // Nobody listens at port 1.
        let webhooks = [
            ("TUS_WEBHOOKS_URL", "http://127.0.0.1:1"),
            ("TUS_WEBHOOKS_HOOKS", "finished,before_terminate"),
            ("TUS_WEBHOOKS_SECRETS", SECRET),
            ("TUS_SWEEP_INTERVAL", "1"),
        ];
        let bucket = start("bucket", &[&store[..], &webhooks].concat());
        Self { directory, file, bucket, _moto: moto }
    }

    /// Uploads files of these sizes to each, downloads and deletes the first of each.
    async fn upload(&self, sizes: &[u64]) {
        for server in [&self.file, &self.bucket] {
            let client = Client::new(&server.endpoint()).unwrap();
            let mut urls = Vec::new();
            for &size in sizes {
                urls.push(client.upload(Source::bytes(bytes(1, 0..size))).send().await.unwrap().url);
            }
            reqwest::get(urls[0].clone()).await.unwrap().bytes().await.unwrap();
            // Without its webhook, the second server does not delete.
            let delete = reqwest::Client::new().delete(urls[0].clone()).header("tus-resumable", "1.0.0");
            let expected = if server.address == self.file.address { 204 } else { 503 };
            assert_eq!(delete.send().await.unwrap().status(), expected);
        }
    }

    /// A storage that fails: where the file of an upload belongs, there is a directory.
    async fn fail(&self) {
        let create = reqwest::Client::new().post(self.file.endpoint()).header("tus-resumable", "1.0.0");
        let created = create.header("upload-length", 5).send().await.unwrap();
        let path = created.headers()["location"].to_str().unwrap().to_owned();
        let stored = self.directory.path().join("file/uploads").join(path.rsplit('/').next().unwrap());
        fs::create_dir(stored).unwrap();
        let patch = reqwest::Client::new().patch(format!("http://{}{path}", self.file.address));
        let patch = patch.header("tus-resumable", "1.0.0").header("upload-offset", 0);
        let patch = patch.header("content-type", "application/offset+octet-stream").body("hello");
        assert_eq!(patch.send().await.unwrap().status(), 500);
    }

    /// Waits until Prometheus knows exactly the uploads of so many rounds.
    async fn are_counted(&self, prometheus: &Prometheus, rounds: f64, sizes: &[u64]) {
        let (count, sum) = (rounds * sizes.len() as f64, rounds * sizes.iter().sum::<u64>() as f64);
        let of = |metric: &str, server: &TusServe| format!("sum({metric}{{instance=\"{}\"}})", server.monitor);
        for server in [&self.file, &self.bucket] {
            becomes(prometheus, &of("tus_uploads_created_total", server), count).await;
            becomes(prometheus, &of("tus_received_bytes_total", server), sum).await;
            becomes(prometheus, &of("tus_bytes_in_flight", server), 0.0).await;
        }
        becomes(prometheus, &of("tus_uploads_finished_total", &self.file), count).await;
        becomes(prometheus, &of("tus_sent_bytes_total", &self.file), rounds * sizes[0] as f64).await;
        becomes(prometheus, "sum(tus_uploads_removed_total{cause=\"client\"})", rounds).await;
        becomes(prometheus, &of("tus_uploads_finished_total", &self.bucket), 0.0).await;
        becomes(prometheus, &of("tus_uploads_due", &self.bucket), count).await;
        becomes(prometheus, &of("tus_uploads_failing", &self.bucket), count).await;
        becomes(prometheus, "sum(tus_requests_total{method=\"DELETE\", status=\"503\"})", rounds).await;
        becomes(prometheus, "sum(tus_requests_total{method=\"DELETE\", status=\"204\"})", rounds).await;
    }
}

#[test]
#[cfg_attr(
    not(all(has_prometheus, has_python)),
    ignore = "prometheus is not installed, or TUS_TEST_OTHERS names no directory with moto"
)]
fn every_expression_gives_data_in_a_real_prometheus() {
    block_on(async {
        let servers = Watched::start();
        let targets = [servers.file.monitor, servers.bucket.monitor];
        let Some(prometheus) = Prometheus::start(servers.directory.path(), &targets, "200ms") else {
            missing("prometheus is not installed");
        };
        // Counters are known before they count.
        becomes(&prometheus, "count(tus_uploads_created_total == 0)", 2.0).await;
        becomes(&prometheus, "count(tus_hooks_failed_total{hook=\"finished\"} == 0)", 2.0).await;
        // Other series begin with their first value: a rate needs a second one.
        let sizes = [5, 300_000, 3 << 20];
        for rounds in [1.0, 2.0] {
            servers.upload(&sizes).await;
            servers.are_counted(&prometheus, rounds, &sizes).await;
        }
        for failures in [1.0, 2.0] {
            servers.fail().await;
            becomes(&prometheus, "sum(tus_requests_total{status=\"500\"})", failures).await;
        }
        becomes(&prometheus, "count(increase(tus_hooks_failed_total{hook=\"finished\"}[5m]) > 0)", 1.0).await;
        becomes(&prometheus, "count(rate(tus_commit_seconds_count[1m]) > 0)", 2.0).await;

        types_are_as_documented(&prometheus).await;
        every_panel_has_data(&prometheus).await;
        every_alert_is_loaded(&prometheus).await;

        drop(servers.file);
        becomes(&prometheus, "count(up{job=\"tus\"} == 0)", 1.0).await;
        becomes(&prometheus, "count(ALERTS{alertname=\"TusDown\"})", 1.0).await;
    });
}

/// Types and descriptions, as the exporter passes them to Prometheus, are those of the guide.
async fn types_are_as_documented(prometheus: &Prometheus) {
    let metadata = prometheus.get("metadata", &[]).await;
    let guide = guide();
    for row in table(&guide) {
        let [name, kind, _, _, description] = row[..] else { panic!("five cells: {row:?}") };
        let exported = &metadata[name][0];
        assert_eq!((exported["type"].as_str(), exported["help"].as_str()), (Some(kind), Some(description)), "{name}");
    }
    let targets = prometheus.get("targets", &[]).await;
    let health: Vec<_> = targets["activeTargets"].as_array().unwrap().iter().map(|target| &target["health"]).collect();
    assert_eq!(health, ["up", "up"]);
}

async fn every_panel_has_data(prometheus: &Prometheus) {
    for panel in panels() {
        for query in panel.queries {
            let expression = query.expression(RATE_INTERVAL);
            let series = prometheus.query(&expression).await;
            // Where nothing counts as 0, the query gives data for no metric at all.
            let is_right = |value: f64| value.is_finite() && (value > 0.0 || !expression.contains("vector(0)"));
            assert!(series.iter().any(|series| is_right(series.value)), "{}: {expression}: {series:?}", panel.title);
            // The legend names labels that the series have.
            let labels = query.legend.split("{{").skip(1).map(|after| after.split("}}").next().unwrap());
            for label in labels {
                assert!(series[0].labels.contains_key(label), "{}: {expression} has no {label}", panel.title);
            }
        }
    }
}

/// Prometheus evaluates every rule, and what each compares with its threshold has data.
async fn every_alert_is_loaded(prometheus: &Prometheus) {
    let rules = prometheus.get("rules", &[]).await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    assert_eq!(rules.len(), file("alerts.yml").matches("- alert: ").count());
    for rule in rules {
        let (name, expression) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        assert_eq!((&rule["health"], &rule["lastError"]), (&Value::from("ok"), &Value::Null), "{name}");
        let compared = expression.rsplit_once(" > ").or_else(|| expression.rsplit_once(" == "));
        let series = prometheus.query(compared.map_or(expression, |(value, _)| value)).await;
        assert!(!series.is_empty() || EMPTY.contains(&name), "{name}: {expression}");
    }
}
