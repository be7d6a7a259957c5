//! The chart: the server's resources and speed over time.

use std::{error::Error, ops::Range, path::Path};

use plotters::prelude::*;

use crate::report::Table;

/// A panel: its title, and its lines, each a column, its divisor, and its name.
type Panel = (&'static str, &'static [(&'static str, f64, &'static str)]);

const MIB: f64 = 1048576.0;

const PANELS: [Panel; 6] = [
    ("Resident memory, MiB", &[("memory", MIB, "memory")]),
    ("Open descriptors and threads", &[("descriptors", 1.0, "descriptors"), ("threads", 1.0, "threads")]),
    ("Files of uploads: count, and MiB", &[("files", 1.0, "files"), ("file_bytes", MIB, "MiB")]),
    ("Database and its log, MiB", &[("database", MIB, "uploads.db"), ("log", MIB, "uploads.db-wal")]),
    ("Latency of a PATCH up to 64 KiB, ms", &[("patch_p50", 1.0, "median"), ("patch_p99", 1.0, "99th percentile")]),
    ("Latency of HEAD, ms", &[("head_p50", 1.0, "median"), ("head_p99", 1.0, "99th percentile")]),
];

const COLOURS: [RGBColor; 2] = [RGBColor(31, 90, 166), RGBColor(214, 110, 20)];

pub(crate) fn draw(table: &Table, into: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(into, (1000, 1260)).into_drawing_area();
    root.fill(&WHITE)?;
    let minutes: Vec<f64> = table.column("time").into_iter().map(|seconds| seconds / 60.0).collect();
    let end = minutes.last().copied().unwrap_or(1.0);
    let kills: Vec<f64> =
        minutes.iter().zip(table.column("killed")).filter(|(_, killed)| *killed > 0.0).map(|(at, _)| *at).collect();
    for (area, (title, lines)) in root.split_evenly((PANELS.len(), 1)).iter().zip(PANELS) {
        let lines: Vec<(Vec<f64>, &str)> = lines
            .iter()
            .map(|(column, unit, name)| (table.column(column).into_iter().map(|value| value / unit).collect(), *name))
            .collect();
        let most = lines.iter().flat_map(|(values, _)| values).copied().fold(1e-9, f64::max);
        panel(area, title, 0.0..end, 0.0..most * 1.3, &minutes, &lines, &kills)?;
    }
    Ok(root.present()?)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    time: Range<f64>,
    values: Range<f64>,
    minutes: &[f64],
    lines: &[(Vec<f64>, &str)],
    kills: &[f64],
) -> Result<(), Box<dyn Error>> {
    let top = values.end;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(52)
        .build_cartesian_2d(time, values)?;
    chart.configure_mesh().disable_x_mesh().light_line_style(WHITE).x_desc("minutes").y_labels(5).draw()?;
    for at in kills {
        chart.draw_series(LineSeries::new([(*at, 0.0), (*at, top)], RGBColor(225, 160, 160)))?;
    }
    for ((values, name), colour) in lines.iter().zip(COLOURS) {
        let points = minutes.iter().copied().zip(values.iter().copied());
        let series = chart.draw_series(LineSeries::new(points, colour))?.label(*name);
        series.legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(220, 220, 220))
        .draw()?;
    Ok(())
}
