//! Output: a bar for each file and one for the total, or plain lines without a terminal.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tus_reqwest::{Error, Progress, Waiting, reqwest::Url};

/// All files.
pub(crate) struct Display {
    bars: MultiProgress,
    total: Option<ProgressBar>,
    plain: bool,
    quiet: bool,
}

/// One file. Clones share its state.
#[derive(Clone)]
pub(crate) struct FileBar {
    name: String,
    bar: ProgressBar,
    total: Option<ProgressBar>,
    /// Whether the progress is printed in lines.
    plain: bool,
    quiet: bool,
    /// Bytes that were shown, and tenths of the file that were printed as a line.
    shown: Arc<(AtomicU64, AtomicU64)>,
}

const STYLE: &str = "{prefix:24!} {wide_bar} {percent:>3} % {bytes_per_sec} {eta}";

/// Text from a server or a file name, without characters that a terminal would interpret: control characters, and
/// those that change the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let obeyed = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().fold(String::new(), |mut clean, c| {
        match obeyed(c) {
            true => clean.extend(c.escape_default()),
            false => clean.push(c),
        }
        clean
    })
}

impl Display {
    /// `progress`: whether it is shown.
    pub(crate) fn new(bytes: u64, files: usize, progress: bool, quiet: bool) -> Self {
        let progress = progress && !quiet;
        let bars = MultiProgress::new();
        if !progress {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let total = (files > 1).then(|| bars.add(bar(bytes, "total")));
        Self { bars, total, plain: progress && !std::io::stderr().is_terminal(), quiet }
    }

    pub(crate) fn file(&self, name: &str, length: Option<u64>) -> FileBar {
        let name = clean(name);
        let bar = bar(length.unwrap_or(0), &name);
        let bar = match &self.total {
            Some(total) => self.bars.insert_before(total, bar),
            None => self.bars.add(bar),
        };
        FileBar { name, bar, total: self.total.clone(), plain: self.plain, quiet: self.quiet, shown: Arc::default() }
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

    pub(crate) fn waits(&self, wait: &Waiting<'_>) {
        if !self.quiet {
            let (seconds, reason) = (wait.duration.as_secs_f64(), clean(&brief(wait.reason)));
            self.bar.suspend(|| eprintln!("{}: waiting {seconds:.1} s because {reason}", self.name));
        }
    }

    pub(crate) fn done(&self, url: &Url) {
        self.bar.finish();
        if !self.quiet {
            self.bar.suspend(|| println!("{url}"));
        }
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.bar.abandon();
        self.bar.suspend(|| eprintln!("{}: {}", self.name, clean(&error.with_causes())));
    }
}

/// An error and what caused it first, without what is between them.
fn brief(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn bar(bytes: u64, name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style).with_prefix(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("größer.film 映画"), "größer.film 映画");
        assert_eq!(clean("a\x1b[2J\r\n\x07\u{9b}b"), "a\\u{1b}[2J\\r\\n\\u{7}\\u{9b}b");
        assert_eq!(clean("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
    }
}
