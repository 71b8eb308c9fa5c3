//! The page and its pictures, from the data alone.

use std::path::Path;

use anyhow::anyhow;
use sortie_lab::plot;
use xtask::report::{self, data::ReportData};

use crate::fleet::write;

/// Share of jobs up to which curves are drawn.
const MOST: f64 = 0.999;

/// Writes all of it into a folder.
pub(crate) fn draw(data: &ReportData, folder: &Path) -> anyhow::Result<()> {
    let mark = report::mark(&data.digest());
    for picture in report::pictures(data) {
        let place = |points: Vec<(f64, f64)>| {
            points
                .into_iter()
                .filter(|(share, _)| *share <= MOST)
                .map(|(share, ms)| (plot::place_of(share), ms))
                .collect()
        };
        let curves = picture.curves.into_iter().map(|(name, points)| (name, place(points))).collect();
        let drawn = plot::tails_svg(curves, MOST, Some(&picture.title));
        let drawn = drawn.map_err(|error| anyhow!("{} cannot be drawn: {error}", picture.file))?;
        write(&folder.join(&picture.file), &format!("{drawn}\n{mark}\n"))?;
    }
    write(&folder.join(report::PAGE), &report::page(data))
}
