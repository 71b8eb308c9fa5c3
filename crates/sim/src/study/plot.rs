//! Pictures of studies, as small SVG files.
//!
//! Tails: across `log10(1 / (1 − share))`, so that 90%, 99% and 99.9% stand one apart; up milliseconds,
//! logarithmic. Loads: p50, p99 and p99.9 over load.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use super::{Measured, large::LOADS};

/// Pixels.
const SIZE: (u32, u32) = (900, 540);

/// Share up to which tails are drawn, and points of a curve.
const MOST: f64 = 0.9995;

/// See [`MOST`].
const POINTS: u32 = 80;

/// Told apart by most eyes (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
];

/// A line with its name.
type Curve = (String, Vec<(f64, f64)>);

/// Latencies by share of jobs, a line a cell.
///
/// # Errors
///
/// If there is nothing to draw or the file cannot be written.
pub fn plot_tails(measured: &[Measured], path: &Path) -> Result<(), Box<dyn Error>> {
    let place = |share: f64| -(1.0 - share).log10();
    let step = place(MOST) / f64::from(POINTS);
    let curve = |cell: &Measured| {
        let points = (0..=POINTS).map(|i| f64::from(i) * step);
        (cell.name.clone(), points.map(|x| (x, cell.latencies.ms(1.0 - 10f64.powf(-x)))).collect())
    };
    let share = |x: &f64| format!("{:.4}", 1.0 - 10f64.powf(-x)).trim_end_matches('0').trim_end_matches('.').to_owned();
    lines(measured.iter().map(curve).collect(), (0.0, place(MOST)), "share of jobs", &share, path)
}

/// Quantiles over load: `measured` has each of `LOADS` for every strategy, in that order.
///
/// # Errors
///
/// As [`plot_tails`].
pub fn plot_loads(measured: &[Measured], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut curves: Vec<Curve> = Vec::new();
    for cells in measured.chunks(LOADS.len()) {
        let name = cells.first().and_then(|cell| cell.name.split_once(" at ")).map_or("", |(name, _)| name);
        for (q, word) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
            let points = LOADS.iter().zip(cells).map(|(load, cell)| (*load, cell.latencies.ms(q)));
            curves.push((format!("{name} {word}"), points.collect()));
        }
    }
    lines(curves, (LOADS[0], LOADS[LOADS.len() - 1]), "load", &|x| format!("{x:.1}"), path)
}

fn lines(
    curves: Vec<Curve>,
    across: (f64, f64),
    what: &str,
    label: &dyn Fn(&f64) -> String,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let all = || curves.iter().flat_map(|(_, points)| points).map(|(_, ms)| *ms).filter(|ms| *ms > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if most <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(across.0..across.1, (least * 0.8..most * 1.25).log_scale())?;
    chart.configure_mesh().x_desc(what).y_desc("milliseconds").x_labels(6).x_label_formatter(label).draw()?;
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
