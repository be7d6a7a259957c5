//! The page and the chart, from `soak.csv`.

use std::{error::Error, fs, path::Path};

use crate::{ledger::COLUMNS, plot};

/// The content of `soak.csv`.
pub(crate) struct Table {
    /// The settings, and then the totals.
    notes: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Table {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let (mut notes, mut rows) = (Vec::new(), Vec::new());
        for line in fs::read_to_string(path)?.lines() {
            if let Some(note) = line.strip_prefix("# ") {
                notes.push(note.to_owned());
            } else if !line.starts_with(COLUMNS[0]) {
                rows.push(line.split(',').map(str::parse).collect::<Result<_, _>>()?);
            }
        }
        Ok(Self { notes, rows })
    }

    pub(crate) fn column(&self, name: &str) -> Vec<f64> {
        let at = COLUMNS.iter().position(|column| *column == name).unwrap_or(0);
        self.rows.iter().map(|row| row[at]).collect()
    }

    /// The medians of a column over the first and the last sixth.
    fn ends(&self, name: &str) -> [f64; 2] {
        let values = self.column(name);
        let part = (values.len() / 6).max(1).min(values.len());
        [median(&values[..part]), median(&values[values.len() - part..])]
    }
}

pub(crate) fn write(directory: &Path) -> Result<(), Box<dyn Error>> {
    let table = Table::read(&directory.join("soak.csv"))?;
    plot::draw(&table, &directory.join("soak.svg"))?;
    let (settings, totals) = table.notes.split_first().ok_or("soak.csv is empty")?;
    let mut text = format!(
        "# Soak\n\nMixed load with faults at a fixed rate, on one machine with the client:\n\n```sh\n\
         cargo run --release -p load --bin soak -- {settings}\n```\n\n![over time](soak.svg)\n\n\
         Red lines are kills (SIGKILL), after which the server starts again.\n\n"
    );
    text += "| median of a sample of 5 s | first sixth | last sixth |\n|---|---|---|\n";
    for column in &COLUMNS[2..16] {
        let [first, last] = table.ends(column);
        text += &format!("| {} | {first} | {last} |\n", column.replace('_', " "));
    }
    text += "\nSizes are bytes, latencies milliseconds (PATCH: of those up to 64 KiB), `late` is the largest delay \
             of an operation's start, in seconds.\n\n| total | |\n|---|---|\n";
    for total in totals {
        text += &format!("| {} |\n", total.replace(": ", " | "));
    }
    fs::write(directory.join("soak.md"), text)?;
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
