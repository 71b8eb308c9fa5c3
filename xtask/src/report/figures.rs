//! The figures of the report that other documents name: `[72.0 ms](docs/report/README.md#KEY "p99")` is column `p99` of the
//! row KEY. What stands there must be what the data has.

use std::{fs, path::Path};

use anyhow::Context as _;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::{
    data::{ReportCell, ReportData},
    tables::ms,
};

/// What marks a link to a figure.
const TARGET: &str = "report/README.md#";

/// What of the documents is not the data's.
pub(super) fn wrong(root: &Path, data: &ReportData) -> anyhow::Result<Vec<String>> {
    let mut files = vec![root.join("README.md")];
    for item in fs::read_dir(root.join("docs")).context("there is no docs")? {
        let path = item?.path();
        if path.extension().is_some_and(|end| end == "md") {
            files.push(path);
        }
    }
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        wrong.extend(of_document(&text, data).into_iter().map(|what| format!("{name}: {what}")));
    }
    Ok(wrong)
}

/// What of one document is not the data's.
fn of_document(text: &str, data: &ReportData) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut open: Option<(String, String, String)> = None;
    for event in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, title, .. }) => {
                if let Some((_, key)) = dest_url.split_once(TARGET).filter(|_| !title.is_empty()) {
                    open = Some((key.to_owned(), title.to_string(), String::new()));
                }
            }
            Event::Text(text) => {
                if let Some((_, _, said)) = &mut open {
                    said.push_str(&text);
                }
            }
            Event::End(TagEnd::Link) => {
                if let Some((key, column, said)) = open.take() {
                    match data.cell(&key).map(|cell| figure(cell, &column)) {
                        None => wrong.push(format!("the report has no row {key}")),
                        Some(None) => wrong.push(format!("rows of the report have no {column}")),
                        Some(Some(is)) if is != said => wrong.push(format!("{key}, {column}: {said:?} is {is:?}")),
                        Some(Some(_)) => {}
                    }
                }
            }
            _ => {}
        }
    }
    wrong
}

/// A figure as documents write it.
fn figure(cell: &ReportCell, column: &str) -> Option<String> {
    Some(match column {
        "mean" => format!("{} ms", ms(cell.ms.mean)),
        "p50" => format!("{} ms", ms(cell.ms.p50)),
        "p99" => format!("{} ms", ms(cell.ms.p99)),
        "p99.9" => format!("{} ms", ms(cell.ms.p999)),
        "all p99" => format!("{} ms", ms(cell.ms.all_p99)),
        "jobs/s" => format!("{:.2}", cell.per_second),
        "jobs" => cell.jobs.to_string(),
        "failed" => cell.failed.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::example;

    #[test]
    fn figures_that_the_data_does_not_have_are_named() {
        let data = example();
        let key = "tails_rerank-200_one-4x-slow_0.6_sortie";
        let good = format!("| a | [72.0 ms](docs/report/README.md#{key} \"p99\") |\n|---|---|\n");
        assert_eq!(of_document(&good, &data), [""; 0]);
        for (text, word) in [
            (good.replace("72.0", "71.0"), "72.0 ms"),
            (good.replace("p99", "p98"), "no p98"),
            (good.replace("sortie", "sortee"), "no row"),
        ] {
            assert!(of_document(&text, &data).first().is_some_and(|what| what.contains(word)), "{text}");
        }
        assert_eq!(of_document("[the report](docs/report/README.md) and [a row](report/README.md#x)", &data), [""; 0]);
    }
}
