//! What happened: counts, latencies, violations, and a line of the table every few seconds.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::server::Usage;

/// The columns of `soak.csv`. Times are in seconds, latencies in milliseconds, sizes in bytes.
pub(crate) const COLUMNS: [&str; 17] = [
    "time",
    "killed",
    "memory",
    "descriptors",
    "threads",
    "files",
    "file_bytes",
    "database",
    "log",
    "operations",
    "bytes",
    "patch_p50",
    "patch_p99",
    "head_p50",
    "head_p99",
    "late",
    "violations",
];

pub(crate) struct Ledger(Mutex<Page>);

struct Page {
    table: File,
    /// Of this interval.
    operations: u64,
    bytes: u64,
    patches: Vec<Duration>,
    heads: Vec<Duration>,
    /// The maximum delay of an operation's start.
    late: Duration,
    /// Of the entire run.
    violations: u64,
    counts: BTreeMap<&'static str, u64>,
    kills: u64,
    total_bytes: u64,
}

/// The measured latencies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timed {
    /// A PATCH of at most 64 KiB.
    SmallPatch,
    Head,
}

impl Ledger {
    pub(crate) fn create(table: &Path, settings: &str) -> io::Result<Self> {
        let mut table = File::create(table)?;
        writeln!(table, "# {settings}\n{}", COLUMNS.join(","))?;
        Ok(Self(Mutex::new(Page {
            table,
            operations: 0,
            bytes: 0,
            patches: Vec::new(),
            heads: Vec::new(),
            late: Duration::ZERO,
            violations: 0,
            counts: BTreeMap::new(),
            kills: 0,
            total_bytes: 0,
        })))
    }

    /// Counts an operation, and how late it was started.
    pub(crate) fn operation(&self, kind: &'static str, late: Duration) {
        let mut page = self.page();
        page.operations += 1;
        page.late = page.late.max(late);
        *page.counts.entry(kind).or_default() += 1;
    }

    /// Counts something else.
    pub(crate) fn count(&self, what: &'static str) {
        *self.page().counts.entry(what).or_default() += 1;
    }

    /// Counts bytes that were acknowledged.
    pub(crate) fn bytes(&self, bytes: u64) {
        let mut page = self.page();
        page.bytes += bytes;
        page.total_bytes += bytes;
    }

    pub(crate) fn timed(&self, what: Timed, since: Instant) {
        let mut page = self.page();
        match what {
            Timed::SmallPatch => page.patches.push(since.elapsed()),
            Timed::Head => page.heads.push(since.elapsed()),
        }
    }

    pub(crate) fn violation(&self, what: &str) {
        eprintln!("VIOLATION: {what}");
        self.page().violations += 1;
    }

    pub(crate) fn sample(&self, time: Duration, killed: bool, usage: &Usage) -> io::Result<()> {
        let mut page = self.page();
        page.kills += u64::from(killed);
        let patches = std::mem::take(&mut page.patches);
        let heads = std::mem::take(&mut page.heads);
        let [patch_p50, patch_p99] = percentiles(patches);
        let [head_p50, head_p99] = percentiles(heads);
        let Usage { memory, descriptors, threads, files, file_bytes, database, log } = usage;
        let (operations, bytes) = (std::mem::take(&mut page.operations), std::mem::take(&mut page.bytes));
        let late = std::mem::take(&mut page.late).as_secs_f64();
        let (time, killed, violations) = (time.as_secs_f64(), u8::from(killed), page.violations);
        writeln!(
            page.table,
            "{time:.1},{killed},{memory},{descriptors},{threads},{files},{file_bytes},{database},{log},{operations},\
             {bytes},{patch_p50:.3},{patch_p99:.3},{head_p50:.3},{head_p99:.3},{late:.3},{violations}"
        )
    }

    /// Writes the totals. Returns the number of violations.
    pub(crate) fn end(&self) -> Result<u64, Box<dyn Error>> {
        let mut page = self.page();
        let mut totals = format!("# bytes acknowledged: {}\n# kills: {}\n", page.total_bytes, page.kills);
        for (what, count) in &page.counts {
            totals += &format!("# {what}: {count}\n");
        }
        totals += &format!("# violations: {}\n", page.violations);
        page.table.write_all(totals.as_bytes())?;
        Ok(page.violations)
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The median and the 99th percentile in milliseconds; 0 if there are none.
fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    [0.5, 0.99].map(|part| {
        let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    })
}
