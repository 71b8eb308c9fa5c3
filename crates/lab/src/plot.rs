//! Pictures of latencies, as small SVG files: up milliseconds, logarithmic.

use std::{error::Error, path::Path};

use plotters::prelude::*;

/// Pixels.
const SIZE: (u32, u32) = (900, 540);

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
pub type Curve = (String, Vec<(f64, f64)>);

/// Where a share of jobs stands in a picture of tails: `log10(1 / (1 − share))`, so that 90%, 99% and 99.9% stand one
/// apart, and the slower part of the jobs gets as much room as the faster.
#[must_use]
pub fn place_of(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The share that stands there.
#[must_use]
pub fn share_at(place: f64) -> f64 {
    1.0 - 10f64.powf(-place)
}

/// Latencies by share of jobs up to `most`: the curves have [`place_of`] a share and milliseconds.
///
/// # Errors
///
/// As [`lines`].
pub fn tails(curves: Vec<Curve>, most: f64, title: Option<&str>, path: &Path) -> Result<(), Box<dyn Error>> {
    lines(curves, (0.0, place_of(most)), "share of jobs", &share_label, title, path)
}

/// The same as text.
///
/// # Errors
///
/// As [`lines_svg`].
pub fn tails_svg(curves: Vec<Curve>, most: f64, title: Option<&str>) -> Result<String, Box<dyn Error>> {
    lines_svg(curves, (0.0, place_of(most)), "share of jobs", &share_label, title)
}

/// `0.99`, `0.999`, …
fn share_label(place: &f64) -> String {
    format!("{:.4}", share_at(*place)).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Milliseconds over something else, a line a curve. Across: from where to where, what it is, and how it is written.
///
/// # Errors
///
/// If there is nothing to draw or the file cannot be written.
pub fn lines(
    curves: Vec<Curve>,
    across: (f64, f64),
    what: &str,
    label: &dyn Fn(&f64) -> String,
    title: Option<&str>,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let drawn = lines_svg(curves, across, what, label, title)?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(path, drawn)?;
    Ok(())
}

/// The same as text.
///
/// # Errors
///
/// If there is nothing to draw.
pub fn lines_svg(
    curves: Vec<Curve>,
    across: (f64, f64),
    what: &str,
    label: &dyn Fn(&f64) -> String,
    title: Option<&str>,
) -> Result<String, Box<dyn Error>> {
    let all = || curves.iter().flat_map(|(_, points)| points).map(|(_, ms)| *ms).filter(|ms| *ms > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if most <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let mut drawn = String::new();
    let root = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&root);
    if let Some(title) = title {
        builder.caption(title, ("sans-serif", 18));
    }
    let mut chart = builder
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
    drop((chart, root));
    Ok(drawn)
}
