//! What each part of the report shows: a table a scenario and fault, and a picture where there are tails.

use std::fmt::Write as _;

use super::data::{ReportCell, ReportData, ReportPart};

/// Jobs below which a p99 is one of the slowest few.
pub(super) const ENOUGH_FOR_P99: u64 = 500;

/// Jobs below which a p99.9 is.
const ENOUGH_FOR_P999: u64 = 5_000;

/// A picture of tails: one scenario under one fault, a line a system.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its file in the folder of the report.
    pub file: String,
    /// What is above it.
    pub title: String,
    /// Name and (share of jobs, milliseconds) of each system.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// The pictures of the data: of every group of [`ReportPart::Tails`].
#[must_use]
pub fn pictures(data: &ReportData) -> Vec<Picture> {
    let drawn = |group: &Vec<&ReportCell>| {
        let first = group.first()?;
        let curve = |cell: &&ReportCell| (cell.system.clone(), cell.curve.clone());
        let curves: Vec<_> = group.iter().filter(|cell| !cell.curve.is_empty()).map(curve).collect();
        let file = format!("{}.svg", name_of(first));
        let title = format!("{}, load {}, fault: {}", first.scenario, first.load, first.fault);
        (!curves.is_empty()).then_some(Picture { file, title, curves })
    };
    groups(data, ReportPart::Tails).iter().filter_map(drawn).collect()
}

/// A group's name in files.
fn name_of(cell: &ReportCell) -> String {
    let key = cell.key();
    key.rsplit_once('_').map_or(key.clone(), |(group, _)| group.to_owned())
}

/// Rows of a part that stand in one table: one scenario, fault and load.
pub(super) fn groups(data: &ReportData, part: ReportPart) -> Vec<Vec<&ReportCell>> {
    let mut all: Vec<Vec<&ReportCell>> = Vec::new();
    for cell in data.cells.iter().filter(|cell| cell.part == part) {
        match all.iter_mut().find(|group| group.first().is_some_and(|first| name_of(first) == name_of(cell))) {
            Some(group) => group.push(cell),
            None => all.push(vec![cell]),
        }
    }
    all
}

/// The tables of a part, with its pictures.
pub(super) fn of(data: &ReportData, part: ReportPart) -> String {
    let mut text = String::new();
    for group in groups(data, part) {
        let Some(first) = group.first() else { continue };
        let fault = if first.fault == "none" { String::new() } else { format!(", {}", first.fault) };
        // A String takes all that is written to it.
        let _ = write!(text, "### {}, load {}{fault}\n\n", first.scenario, first.load);
        text += &table(&group, part);
        let picture = pictures(data).into_iter().find(|picture| picture.file == format!("{}.svg", name_of(first)));
        if let Some(picture) = picture {
            let _ = write!(text, "\n![Latency by share of jobs: {}]({})\n", picture.title, picture.file);
        }
        text.push('\n');
    }
    text
}

fn table(group: &[&ReportCell], part: ReportPart) -> String {
    let checked = part == ReportPart::Models;
    let mut header = vec!["system", "jobs", "failed", "mean ms", "p50", "p99", "p99.9", "all p99", "jobs/s"];
    header.push(if checked { "scores apart, most" } else { "extra tokens %" });
    header.extend(["wrong documents", "notes"]);
    let mut text = format!("| {} |\n| --- |{} --- |\n", header.join(" | "), " ---: |".repeat(header.len() - 2));
    for cell in group {
        let share = if checked { scientific(cell.worst_error) } else { percent(cell.extra_percent) };
        let row = [
            format!("<a id=\"{}\"></a>{}", cell.key(), cell.system),
            cell.jobs.to_string(),
            failures(cell),
            ms(cell.ms.mean),
            ms(cell.ms.p50),
            if cell.jobs < ENOUGH_FOR_P99 { "–".to_owned() } else { ms(cell.ms.p99) },
            if cell.jobs < ENOUGH_FOR_P999 { "–".to_owned() } else { ms(cell.ms.p999) },
            if cell.jobs < ENOUGH_FOR_P99 { "–".to_owned() } else { ms(cell.ms.all_p99) },
            if cell.per_second > 0.0 { format!("{:.2}", cell.per_second) } else { "–".to_owned() },
            share,
            cell.wrong_documents.to_string(),
            notes(cell),
        ];
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn failures(cell: &ReportCell) -> String {
    let all: Vec<String> = cell.reasons.iter().map(|(reason, jobs)| format!("{reason} {jobs}")).collect();
    if all.is_empty() { cell.failed.to_string() } else { all.join(", ") }
}

fn notes(cell: &ReportCell) -> String {
    let late = cell
        .was_late()
        .then(|| format!("sent late by {:.1} ms at p99: the machine was too busy for this row", cell.late_p99_ms));
    let all: Vec<String> = late.into_iter().chain((!cell.note.is_empty()).then(|| cell.note.clone())).collect();
    all.join("; ")
}

/// Milliseconds with three figures.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        ms if ms.is_nan() => "–".to_owned(),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn percent(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { "–".to_owned() }
}

fn scientific(value: f64) -> String {
    if value.is_finite() { format!("{value:.1e}") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::example;

    #[test]
    fn rows_stand_by_what_went_wrong_and_few_jobs_have_no_tail() {
        let mut data = example();
        data.cells[1].jobs = 200;
        data.cells[3].reasons = [("RESOURCE_EXHAUSTED".to_owned(), 7)].into();
        data.cells[2].late_p99_ms = 9.0;
        let text = of(&data, ReportPart::Tails);
        assert_eq!(text.matches("### rerank-200").count(), 2);
        assert!(text.contains("fixed split | 200 | 0 | 11.0 | 11.0 | – | – | – |"), "{text}");
        assert!(text.contains("RESOURCE_EXHAUSTED 7") && text.contains("too busy"), "{text}");
        assert_eq!(pictures(&data).len(), 2);
        assert!(of(&data, ReportPart::Models).is_empty());
    }
}
