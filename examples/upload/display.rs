//! Progress output: a bar for each file and one for the total, or plain lines without a terminal.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tus_reqwest::{Error, Progress, reqwest::Url};

/// All files.
pub(crate) struct Display {
    bars: MultiProgress,
    total: Option<ProgressBar>,
    plain: bool,
}

/// One file. Clones share its state.
#[derive(Clone)]
pub(crate) struct FileBar {
    name: String,
    bar: ProgressBar,
    total: Option<ProgressBar>,
    plain: bool,
    /// Bytes that were shown, and tenths of the file that were printed as a line.
    shown: Arc<(AtomicU64, AtomicU64)>,
}

const STYLE: &str = "{prefix:24!} {wide_bar} {percent:>3} % {bytes_per_sec} {eta}";

impl Display {
    pub(crate) fn new(bytes: u64, files: usize) -> Self {
        let bars = MultiProgress::new();
        let total = (files > 1).then(|| bars.add(bar(bytes, "total")));
        Self { bars, total, plain: !std::io::stderr().is_terminal() }
    }

    pub(crate) fn file(&self, name: &str, length: Option<u64>) -> FileBar {
        let bar = bar(length.unwrap_or(0), name);
        let bar = match &self.total {
            Some(total) => self.bars.insert_before(total, bar),
            None => self.bars.add(bar),
        };
        let shown = Arc::default();
        FileBar { name: name.to_owned(), bar, total: self.total.clone(), plain: self.plain, shown }
    }
}

impl FileBar {
    pub(crate) fn show(&self, progress: &Progress) {
        self.bar.set_position(progress.sent);
        let before = self.shown.0.fetch_max(progress.sent, Ordering::Relaxed);
        self.total.iter().for_each(|total| total.inc(progress.sent.saturating_sub(before)));
        let tenths = progress.percent().unwrap_or(0.0) as u64 / 10;
        if self.plain && self.shown.1.fetch_max(tenths, Ordering::Relaxed) < tenths {
            eprintln!("{}: {progress}", self.name);
        }
    }

    pub(crate) fn done(&self, url: &Url) {
        self.bar.finish();
        self.bar.suspend(|| println!("{url}"));
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.bar.abandon();
        self.bar.suspend(|| eprintln!("{}: {error}", self.name));
    }
}

fn bar(bytes: u64, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_prefix(name.to_owned())
}
