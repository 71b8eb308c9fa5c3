//! The table of a sweep, and where it misses what a good server and a good client hold.

use std::collections::{BTreeMap, BTreeSet};

use super::row::OverloadRow;
use crate::{
    Strategy,
    table::{markdown, percent},
};

/// Columns of the table.
const COLUMNS: [&str; 9] = [
    "",
    "goodput ÷ capacity",
    "late of admitted",
    "refused",
    "p50 ÷ deadline",
    "p99 ÷ deadline",
    "refused after, p99 ÷ deadline",
    "calls a job",
    "calls a chunk",
];

/// The table of some rows.
#[must_use]
pub fn overload_table(rows: &[OverloadRow]) -> String {
    let line = |row: &OverloadRow| {
        let of = row.of.map_or(String::new(), |of| format!(", of which {} ({:.0}%)", of.name(), row.share * 100.0));
        vec![
            format!("{}: {}{of}, at {}", row.group, row.callers, row.load),
            format!("{:.3}", row.goodput),
            percent(row.late),
            format!("{:.1}%", row.refused * 100.0),
            format!("{:.2}", row.took[0]),
            format!("{:.2}", row.took[1]),
            format!("{:.3}", row.refused_after),
            format!("{:.2}", row.calls),
            format!("{:.2}", row.again),
        ]
    };
    markdown(&COLUMNS, rows.iter().map(line))
}

/// What a good server and a good client hold under any load.
pub mod aims {
    /// Goodput over the best of any load, or over the load where that is less.
    pub const GOODPUT: f64 = 0.95;
    /// Late over admitted.
    pub const LATE: f64 = 0.01;
    /// p50 of admitted jobs over the deadline.
    pub const P50: f64 = 0.5;
    /// Calls a chunk of our client.
    pub const CALLS: f64 = 1.2;
    /// Goodput of our client over that of any other, sampling noise allowed for.
    pub const RIVAL: f64 = 0.99;
    /// Goodput of ours over their fair part beside others, sampling noise allowed for.
    pub const FAIR: f64 = 0.95;
}

/// Where the aims are missed, a line each.
#[must_use]
pub fn overload_missed(rows: &[OverloadRow]) -> Vec<String> {
    let mut missed = Vec::new();
    let mut best: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.of.is_none()) {
        let most = best.entry((&row.group, row.callers)).or_default();
        *most = most.max(row.goodput);
    }
    for row in rows {
        let name = format!("{}: {} at {}", row.group, row.callers, row.load);
        let mut check = |holds: bool, what: String| {
            if !holds {
                missed.push(format!("{name}: {what}"));
            }
        };
        if let Some(of) = row.of {
            // Others' shares are theirs to waste.
            if of == Strategy::Sortie && row.callers == "foreign" {
                let fair = fair(row.load, row.share);
                check(row.goodput >= aims::FAIR * fair, format!("ours get {:.3} of their {fair:.3}", row.goodput));
            }
            continue;
        }
        let peak = best.get(&(row.group.as_str(), row.callers)).copied().unwrap_or_default();
        let most = peak.min(row.load);
        check(row.goodput >= aims::GOODPUT * most, format!("goodput {:.3} of {most:.3}", row.goodput));
        check(row.late <= aims::LATE, format!("{:.1}% of the admitted late", row.late * 100.0));
        check(row.took[0] <= aims::P50, format!("p50 {:.2} of the deadline", row.took[0]));
        if row.callers == Strategy::Sortie.name() {
            check(row.again <= aims::CALLS, format!("{:.2} calls a chunk", row.again));
            let same = |other: &&OverloadRow| {
                other.group == row.group && (other.load - row.load).abs() < 1e-9 && other.of.is_none()
            };
            let rivals = rows.iter().filter(same).map(|other| other.goodput).fold(0.0, f64::max);
            check(row.goodput >= aims::RIVAL * rivals, format!("goodput {:.3}, others {rivals:.3}", row.goodput));
        }
    }
    // Each once, in order.
    let mut seen = BTreeSet::new();
    missed.retain(|line| seen.insert(line.clone()));
    missed
}

/// The fair part of a tenant that asks for `share` of `load` beside one other: all it asks for, or what the other
/// leaves, or half.
#[must_use]
pub fn fair(load: f64, share: f64) -> f64 {
    let (own, other) = (load * share, load * (1.0 - share));
    own.min((1.0 - other).max(0.5)).min(1.0)
}
