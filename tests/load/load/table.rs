//! Medians, spreads and ratios.

use std::{collections::BTreeMap, time::Duration};

use tests::Framework;

use crate::{
    servers::Kind,
    workloads::{Done, Workload},
};

/// One run of a workload on a server.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) done: Done,
    /// Processor time of the server's process.
    pub(crate) processor: Duration,
    /// Resident memory before the work and at its peak, in KiB.
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

/// All runs, in order.
#[derive(Debug, Default)]
pub(crate) struct Results {
    runs: Vec<(Workload, Kind, Vec<Measured>)>,
    failed: Vec<(Workload, Kind)>,
}

/// The summary of the runs of a workload on a server.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) server: Kind,
    /// MiB/s, or requests per second: the median, the minimum and the maximum.
    pub(crate) rate: f64,
    least: f64,
    most: f64,
    /// Of all requests of all runs.
    p50: Duration,
    p99: Duration,
    /// Seconds per GiB, or microseconds per request.
    processor: f64,
    resident: f64,
    peak: f64,
    /// Relative to the bare server of the same framework, or to axum's if there is none.
    ratio: Option<f64>,
}

/// Runs that differ by more than this are marked as noisy.
const NOISE: f64 = 1.3;

impl Results {
    pub(crate) fn add(&mut self, workload: Workload, kind: Kind, measured: Measured) {
        match self.runs.iter_mut().find(|(of, on, _)| (*of, *on) == (workload, kind)) {
            Some((_, _, runs)) => runs.push(measured),
            None => self.runs.push((workload, kind, vec![measured])),
        }
    }

    /// Servers that failed a workload.
    pub(crate) fn failed(&mut self, workload: Workload, kind: Kind) {
        if !self.failed.contains(&(workload, kind)) {
            self.failed.push((workload, kind));
        }
    }

    /// The rows by workload.
    pub(crate) fn rows(&self) -> Vec<(Workload, Vec<Row>)> {
        let mut bare: BTreeMap<String, f64> = BTreeMap::new();
        let mut tables: Vec<(Workload, Vec<Row>)> = Vec::new();
        for (workload, kind, runs) in &self.runs {
            let mut row = row(*workload, *kind, runs);
            let limit = |framework| format!("{workload} {framework}");
            match kind {
                Kind::Bare(framework) => drop(bare.insert(limit(framework), row.rate)),
                Kind::Ours(framework, _) => row.ratio = bare.get(&limit(framework)).map(|limit| row.rate / limit),
                Kind::Peer(_) => row.ratio = bare.get(&limit(&Framework::Axum)).map(|limit| row.rate / limit),
            }
            match tables.iter_mut().find(|(of, _)| of == workload) {
                Some((_, rows)) => rows.push(row),
                None => tables.push((*workload, vec![row])),
            }
        }
        tables
    }

    /// The tables, in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(
            "# Load\n\nMedians; in brackets the least and the most. The ratio is to the bare server of the same framework, \
             that of a peer to axum's.\n",
        );
        for (workload, rows) in self.rows() {
            let (rate, processor) = match workload.counts_requests() {
                true => ("requests/s", "processor, µs a request"),
                false => ("MiB/s", "processor, s/GiB"),
            };
            text += &format!(
                "\n## {workload}\n\n| server | {rate} | ratio | latency p50, p99, ms | {processor} | memory before, at its peak, MiB |\n\
                 |---|---|---|---|---|---|\n"
            );
            for Row { server, rate, least, most, p50, p99, processor, resident, peak, ratio } in rows {
                let ratio = ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
                let noisy = if most / least > NOISE { " noisy" } else { "" };
                let [p50, p99] = [p50, p99].map(|latency| latency.as_secs_f64() * 1000.0);
                text += &format!(
                    "| {server} | {rate:.0} ({least:.0}–{most:.0}){noisy} | {ratio} | {p50:.2}, {p99:.2} | {processor:.2} | {resident:.1}, {peak:.1} |\n"
                );
            }
            for (_, server) in self.failed.iter().filter(|(of, _)| *of == workload) {
                text += &format!("\n{server} failed.\n");
            }
        }
        text
    }
}

fn row(workload: Workload, kind: Kind, runs: &[Measured]) -> Row {
    let units = |done: &Done| match workload.counts_requests() {
        true => done.latencies.len() as f64,
        false => done.bytes as f64 / f64::from(1 << 20),
    };
    let rates = sorted(runs.iter().map(|run| units(&run.done) / run.done.elapsed.as_secs_f64()));
    let scale = if workload.counts_requests() { 1e6 } else { 1024.0 };
    let processor = sorted(runs.iter().map(|run| run.processor.as_secs_f64() * scale / units(&run.done)));
    let mut latencies: Vec<_> = runs.iter().flat_map(|run| run.done.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).or(latencies.last()).copied();
    Row {
        server: kind,
        rate: middle(&rates),
        least: rates.first().copied().unwrap_or_default(),
        most: rates.last().copied().unwrap_or_default(),
        p50: at(0.5).unwrap_or_default(),
        p99: at(0.99).unwrap_or_default(),
        processor: middle(&processor),
        resident: middle(&sorted(runs.iter().map(|run| run.resident as f64 / 1024.0))),
        peak: middle(&sorted(runs.iter().map(|run| run.peak as f64 / 1024.0))),
        ratio: None,
    }
}

pub(crate) fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
