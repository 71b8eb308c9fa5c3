//! Real text without shipping any: README openings of the crates this workspace
//! is built from, out of cargo's registry.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use super::readme;
use crate::{
    digest,
    process::{self, Keep},
    workspace,
};

/// A document to rank.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// Name of the crate.
    pub name: String,
    /// Opening of its README.
    pub text: String,
}

/// Up to `count` documents; the same ones on each run with the same lock file.
pub(super) fn collect(count: usize) -> anyhow::Result<Vec<Document>> {
    let metadata = metadata()?;
    let found = candidates(&metadata)
        .into_iter()
        .filter_map(|(name, path)| Some((name, fs::read(path).ok()?)))
        .filter_map(|(name, bytes)| Some(Document { name, text: readme::opening(&String::from_utf8_lossy(&bytes))? }));
    let documents = distinct(found, count);
    if documents.is_empty() {
        bail!("cargo's registry holds no README to rank");
    }
    Ok(documents)
}

/// What cargo knows of our dependencies; for this machine only, or it would fetch those of every other.
fn metadata() -> anyhow::Result<Metadata> {
    let mut rustc = workspace::rustc();
    let version = process::output(rustc.arg("-vV"), "rustc", Keep::Both)?.stdout;
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut cargo = workspace::cargo();
    let out = process::output(
        cargo.args(["metadata", "--format-version", "1", "--filter-platform", host]),
        "cargo metadata",
        Keep::Both,
    )?;
    if !out.status.success() {
        bail!("cargo metadata failed: {}", out.stderr.trim());
    }
    MetadataCommand::parse(&out.stdout).context("cannot read what cargo metadata printed")
}

/// (crate, README) of every registry package: what we depend on ourselves first,
/// the rest in an order that favours no letter.
fn candidates(metadata: &Metadata) -> Vec<(String, PathBuf)> {
    let own: BTreeSet<&str> =
        metadata.workspace_packages().iter().flat_map(|p| &p.dependencies).map(|d| d.name.as_str()).collect();
    let mut rows: Vec<_> = metadata
        .packages
        .iter()
        .filter(|p| p.source.is_some())
        .filter_map(|p| Some((p.name.to_string(), p.readme()?.into_std_path_buf())))
        .collect();
    rows.sort_by_cached_key(|(name, _)| (!own.contains(name.as_str()), digest::bytes(name.as_bytes())));
    rows
}

/// The first `count` whose text nobody before them has: families of crates share one README.
fn distinct(documents: impl Iterator<Item = Document>, count: usize) -> Vec<Document> {
    let mut seen = BTreeSet::new();
    documents.filter(|d| seen.insert(d.text.clone())).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_texts_count_once() {
        let document = |name: &str, text: &str| Document { name: name.to_owned(), text: text.to_owned() };
        let all = [document("a", "x"), document("b", "x"), document("c", "y"), document("d", "z")];
        let names: Vec<_> = distinct(all.into_iter(), 2).into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["a", "c"]);
    }
}
