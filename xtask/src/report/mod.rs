//! `cargo xtask report`: the benchmark whose results are `docs/report/`, and the check that what is written there is what
//! was measured.
//!
//! The program `report` of `benches/` measures and writes `data.jsonl`; from that alone come `README.md` and the pictures.
//!
//! | module | part |
//! |---|---|
//! | `data` | the cells that were measured, as they are kept |
//! | `tables` | what each part of the report shows |
//! | `page` | the page of them |
//! | `figures` | the figures that other documents name, and whether they are those of the data |

pub mod data;
mod figures;
mod page;
mod tables;

pub use page::page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::workspace;
use data::ReportData;

/// Where the report is, from the root.
pub const FOLDER: &str = "docs/report";

/// What was measured.
pub const DATA: &str = "data.jsonl";

/// The page.
pub const PAGE: &str = "README.md";

/// What a picture says of the data that it was drawn from.
#[must_use]
pub fn mark(digest: &str) -> String {
    format!("<!-- data {digest} -->")
}

/// The folder of the report.
#[must_use]
pub fn folder() -> PathBuf {
    workspace::root().join(FOLDER)
}

/// Whether the page, its pictures and the figures that other documents name are those of the data.
pub(crate) fn check() -> anyhow::Result<()> {
    let folder = folder();
    let data = ReportData::read(&folder.join(DATA))?;
    let mut wrong = agrees(&folder, &data)?;
    wrong.extend(figures::wrong(workspace::root().as_ref(), &data)?);
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} (`cargo xtask report --draw` makes the page anew from the data)", wrong.join("; "))
}

/// What of the page and its pictures is not of this data.
fn agrees(folder: &Path, data: &ReportData) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let path = folder.join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if text != page(data) {
        wrong.push(format!("{FOLDER}/{PAGE} is not what {DATA} makes"));
    }
    let mark = mark(&data.digest());
    for picture in tables::pictures(data) {
        match fs::read_to_string(folder.join(&picture.file)) {
            Ok(drawn) if drawn.contains(&mark) => {}
            Ok(_) => wrong.push(format!("{FOLDER}/{} was drawn from other data", picture.file)),
            Err(error) => wrong.push(format!("{FOLDER}/{}: {error}", picture.file)),
        }
    }
    Ok(wrong)
}

pub use tables::{Picture, pictures};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_agrees_with_its_data() {
        if folder().join(DATA).exists() {
            check().unwrap();
        }
    }

    #[test]
    fn a_page_or_picture_of_other_data_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let data = data::example();
        fs::write(folder.path().join(PAGE), page(&data)).unwrap();
        for picture in pictures(&data) {
            fs::write(folder.path().join(&picture.file), format!("<svg></svg>{}", mark(&data.digest()))).unwrap();
        }
        assert!(agrees(folder.path(), &data).unwrap().is_empty());
        let mut other = data.clone();
        other.cells[0].ms.p99 += 1.0;
        let wrong = agrees(folder.path(), &other).unwrap();
        assert_eq!(wrong.len(), 1 + pictures(&other).len(), "{wrong:?}");
    }
}
