//! What every source file of the workspace must have.

#![cfg(test)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file longer than this holds more than one idea.
const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Rust files below `crates`, `xtask`, `benches` and `tests`.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo: Vec<_> = ["crates", "xtask", "benches", "tests"].iter().map(|d| root().join(d)).collect();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|n| n != "build.rs"))
        .filter(|path| !fs::read_to_string(path).expect("a source is text").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no //! at the top of {silent:#?}");
}

#[test]
fn no_file_is_overlong() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).expect("a source is text").lines().count(), path))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:#?}");
}

#[test]
fn only_the_engine_and_its_products_may_ask_for_unsafe_code() {
    let asked = ["(unsafe", "_code"].concat();
    let forbidden = format!("#![forbid{asked})]");
    let asking: Vec<_> = sources()
        .into_iter()
        .filter(|path| !["crates/engine", "crates/gemm"].iter().any(|ours| path.starts_with(root().join(ours))))
        .filter(|path| fs::read_to_string(path).expect("a source is text").replace(&forbidden, "").contains(&asked))
        .collect();
    assert!(asking.is_empty(), "the workspace denies unsafe code; these ask for an exception: {asking:#?}");
}

#[test]
fn no_lint_is_silenced_for_good() {
    let needle = ["#[", "allow("].concat();
    let silenced: Vec<_> = sources()
        .into_iter()
        .filter(|path| fs::read_to_string(path).expect("a source is text").contains(&needle))
        .collect();
    assert!(silenced.is_empty(), "#[expect(…, reason)] notices when it is no longer needed: {silenced:#?}");
}

/// The fuzzer is a workspace of its own, so nothing else would tell that it never calls a new RPC.
#[test]
fn the_fuzzer_calls_every_rpc() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("the file is there");
    let (contract, target) = (read("proto/sortie/v1/encoder_service.proto"), read("fuzz/fuzz_targets/request.rs"));
    let rpcs: Vec<&str> =
        contract.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    let missing: Vec<_> = rpcs.iter().filter(|rpc| !target.contains(&format!("\"{rpc}\""))).collect();
    assert!(rpcs.len() > 5 && missing.is_empty(), "request.rs does not call {missing:?} of {rpcs:?}");
}

/// A document that names a file which is not there any more sends its reader nowhere.
#[test]
fn paths_that_documents_name_are_there() {
    let mut missing = Vec::new();
    let documents = fs::read_dir(root().join("docs")).expect("there are documents").flatten().map(|entry| entry.path());
    for path in documents.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&path).expect("a document is text");
        let named = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("crates/"));
        let plain = |word: &&str| !word.contains(['*', '<', '{', ' ', ':', '…']);
        missing.extend(
            named
                .filter(plain)
                .filter(|word| !root().join(word).exists())
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
