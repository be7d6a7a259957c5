//! The dashboard for Grafana.

use serde_json::Value;

use super::file;

/// A panel of the dashboard.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// `timeseries`, `stat` or `row`.
    pub(super) kind: String,
    /// Its heading.
    pub(super) title: String,
    /// In Grafana's names; empty for a row.
    pub(super) unit: String,
    /// Where it is.
    pub(super) place: Place,
    /// What it shows.
    pub(super) queries: Vec<Query>,
}

/// A place in the grid of 24 columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// An expression of a panel.
#[derive(Debug, Clone)]
pub(super) struct Query {
    expression: String,
    /// The name of its series, with labels in braces.
    pub(super) legend: String,
}

impl Query {
    /// The expression as Grafana sends it for all jobs and instances.
    pub(super) fn expression(&self, rate_interval: &str) -> String {
        let expression = self.expression.replace("$__rate_interval", rate_interval);
        expression.replace("$job", ".+").replace("$instance", ".+")
    }
}

/// The panels of the dashboard in the repository.
pub(super) fn panels() -> Vec<Panel> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.map(|one| panel(one).unwrap_or_else(|| panic!("not a panel: {one}"))).collect()
}

fn panel(panel: &Value) -> Option<Panel> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let number = |name: &str| panel["gridPos"][name].as_u64();
    let targets = panel["targets"].as_array().into_iter().flatten();
    let query =
        |target: &Value| Some(Query { expression: text(&target["expr"])?, legend: text(&target["legendFormat"])? });
    Some(Panel {
        kind: text(&panel["type"])?,
        title: text(&panel["title"])?,
        unit: text(&panel["fieldConfig"]["defaults"]["unit"]).unwrap_or_default(),
        place: Place { x: number("x")?, y: number("y")?, width: number("w")?, height: number("h")? },
        queries: targets.map(query).collect::<Option<_>>()?,
    })
}
