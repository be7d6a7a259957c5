//! The chart: a bar for each server and workload.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use crate::{servers::Kind, table::Results};

const ROW: u32 = 22;

pub(crate) fn draw(results: &Results, into: &Path) -> Result<(), Box<dyn Error>> {
    let tables = results.rows();
    let heights: Vec<u32> = tables.iter().map(|(_, rows)| 70 + ROW * rows.len() as u32).collect();
    let root = SVGBackend::new(into, (900, heights.iter().sum::<u32>().max(1))).into_drawing_area();
    root.fill(&WHITE)?;
    let mut rest = root.clone();
    for ((workload, rows), height) in tables.iter().zip(heights) {
        let (area, below) = rest.split_vertically(height);
        rest = below;
        let unit = if workload.counts_requests() { "requests/s" } else { "MiB/s" };
        let most = rows.iter().map(|row| row.rate).fold(1e-9, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{workload}, {unit}"), ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(150)
            .build_cartesian_2d(0.0..most, (0..rows.len()).into_segmented())?;
        let name = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => {
                rows.iter().rev().nth(*at).map_or(String::new(), |row| row.server.to_string())
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(WHITE)
            .y_labels(rows.len())
            .y_label_formatter(&name)
            .draw()?;
        chart.draw_series(rows.iter().rev().enumerate().map(|(at, row)| {
            let colour = match row.server {
                Kind::Bare(_) => RGBColor(190, 190, 190),
                Kind::Ours(..) => RGBColor(31, 90, 166),
                Kind::Peer(_) => RGBColor(217, 130, 43),
            };
            let corners = [(0.0, SegmentValue::Exact(at)), (row.rate, SegmentValue::Exact(at + 1))];
            let mut bar = Rectangle::new(corners, colour.filled());
            bar.set_margin(3, 3, 0, 0);
            bar
        }))?;
    }
    Ok(root.present()?)
}
