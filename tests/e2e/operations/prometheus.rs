//! A real Prometheus.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command};

use serde_json::Value;
use tus_reqwest::reqwest::{self, Url};

use super::{directory, program::Program};

/// A running Prometheus. It is killed when this is dropped.
pub(super) struct Prometheus {
    _program: Program,
    address: SocketAddr,
}

/// A series in the answer to a query.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Its labels and its name.
    pub(super) labels: BTreeMap<String, String>,
    /// The current value.
    pub(super) value: f64,
}

impl Prometheus {
    /// Starts it in a directory with the configuration of the repository, except for the targets and the interval of
    /// scrapes and evaluations, for example `200ms`. `None` if it is not installed.
    pub(super) fn start(data: &Path, targets: &[SocketAddr], interval: &str) -> Option<Self> {
        let files = directory().canonicalize().unwrap();
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let changes: [(&str, &str); 3] = [
            ("15s", interval),
            ("\"127.0.0.1:8081\"", &targets.join(", ")),
            ("- alerts.yml", &format!("- {:?}", files.join("alerts.yml"))),
        ];
        let mut configuration = fs::read_to_string(files.join("prometheus.yml")).unwrap();
        for (documented, here) in changes {
            assert!(configuration.contains(documented), "prometheus.yml does not contain {documented}");
            configuration = configuration.replace(documented, here);
        }
        fs::write(data.join("prometheus.yml"), configuration).unwrap();
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.format=json"]);
        let program = Program::start(command.arg("--web.listen-address=127.0.0.1:0").current_dir(data))?;
        let address = program.address(|line| (line["msg"] == "Listening on").then_some(()).and(line.get("address")));
        Some(Self { _program: program, address })
    }

    /// The data in the answer of its API, for example to `rules`. It may still be starting.
    pub(super) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut url = Url::parse(&format!("http://{}/api/v1/{path}", self.address)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let mut response = reqwest::get(url.clone()).await.unwrap();
        while response.status() == 503 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            response = reqwest::get(url.clone()).await.unwrap();
        }
        let mut answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }

    /// The current values of an expression.
    pub(super) async fn query(&self, expression: &str) -> Vec<Series> {
        let data = self.get("query", &[("query", expression)]).await;
        let result = data["result"].as_array().unwrap_or_else(|| panic!("no vector: {data}"));
        result.iter().map(|series| one(series).unwrap_or_else(|| panic!("no vector: {data}"))).collect()
    }
}

fn one(series: &Value) -> Option<Series> {
    let labels = series["metric"].as_object()?.iter();
    let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect::<Option<_>>()?;
    Some(Series { labels, value: series["value"][1].as_str()?.parse().ok()? })
}
