//! Pictures of studies: tails of a few cells, quantiles over load.

use std::{error::Error, path::Path};

use super::{Measured, large::LOADS};
use crate::plot::{Curve, lines, place_of, share_at, tails};

/// Share up to which tails are drawn, and points of a curve.
const MOST: f64 = 0.9995;

/// See [`MOST`].
const POINTS: u32 = 80;

/// Latencies by share of jobs, a line a cell.
///
/// # Errors
///
/// If there is nothing to draw or the file cannot be written.
pub fn plot_tails(measured: &[Measured], path: &Path) -> Result<(), Box<dyn Error>> {
    let step = place_of(MOST) / f64::from(POINTS);
    let curve = |cell: &Measured| {
        let points = (0..=POINTS).map(|i| f64::from(i) * step);
        (cell.name.clone(), points.map(|x| (x, cell.latencies.ms(share_at(x)))).collect())
    };
    tails(measured.iter().map(curve).collect(), MOST, None, path)
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
    lines(curves, (LOADS[0], LOADS[LOADS.len() - 1]), "load", &|x| format!("{x:.1}"), None, path)
}
