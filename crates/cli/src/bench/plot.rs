//! Latencies by share of jobs, as an SVG: the slower part of the jobs gets as much room as the faster.
//!
//! Across: `log10(1 / (1 - share))`, so that 90%, 99% and 99.9% stand one apart. Up: milliseconds, logarithmic.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use super::report::Bench;

/// Pixels.
const SIZE: (u32, u32) = (900, 540);

/// Share up to which curves are drawn.
const MOST: f64 = 0.9999;

/// One a strategy, told apart by most eyes (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
];

/// Writes the file.
pub(crate) fn draw(path: &Path, bench: &Bench) -> Result<(), Box<dyn Error>> {
    let place = |share: f64| -(1.0 - share).log10();
    let curves: Vec<(&str, Vec<(f64, f64)>)> = bench
        .results
        .iter()
        .map(|row| {
            let points = row.curve.iter().filter(|(share, _)| *share <= MOST);
            (row.strategy.as_str(), points.map(|&(share, ms)| (place(share), ms)).collect())
        })
        .collect();
    let all = || curves.iter().flat_map(|(_, points)| points).map(|(_, ms)| *ms).filter(|ms| *ms > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if most <= 0.0 {
        return Err("no job was answered".into());
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let s = &bench.setting;
    let title = format!("{} servers, {:.1} jobs/s of {:.0} tokens", s.endpoints, s.rate, s.tokens_per_job);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..place(MOST), (least * 0.8..most * 1.25).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("share of jobs")
        .y_desc("milliseconds")
        .x_labels(5)
        .x_label_formatter(&|x| {
            format!("{:.4}", 1.0 - 10_f64.powf(-x)).trim_end_matches('0').trim_end_matches('.').to_owned()
        })
        .draw()?;
    for ((name, points), colour) in curves.into_iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
