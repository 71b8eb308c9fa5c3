//! What a service that links the client compiles with it: nothing heavy, no C++, and
//! nothing newer than the Rust that the client promises.

#![expect(clippy::expect_used, reason = "clippy takes helpers of tests for code")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use cargo_metadata::MetadataCommand;

/// Runtimes, tokenizers and GPU bindings; and what builds C++ or needs a system library.
const HEAVY: &[&str] = &[
    "ort",
    "ort-sys",
    "tokenizers",
    "onig_sys",
    "esaxx-rs",
    "cudarc",
    "candle-core",
    "hf-hub",
    "cxx",
    "cmake",
    "bindgen",
    "aws-lc-sys",
    "openssl-sys",
    "native-tls",
    "opentelemetry",
];

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// What cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO")).args(arguments).output().expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("cargo prints text")
}

/// Name and version of every crate that is compiled for the client alone, with its default features.
fn compiled() -> BTreeSet<(String, String)> {
    // Of this machine's platform, where nothing else is asked for.
    let tree = ["tree", "--locked", "--manifest-path", MANIFEST, "-p", "sortie-client"];
    let shown = ["-e", "normal,build", "--prefix", "none", "--format", "{p}"];
    let lines = cargo(&[&tree[..], &shown].concat());
    let crates = lines.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    });
    crates.collect()
}

#[test]
fn nothing_heavy_and_no_cpp() {
    let compiled = compiled();
    let names: BTreeSet<&str> = compiled.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains("sortie-dispatch") && names.contains("tokio"), "the tree is read");
    let wrong: Vec<_> = HEAVY.iter().filter(|heavy| names.contains(**heavy)).collect();
    assert!(wrong.is_empty(), "the client compiles {wrong:?}");
}

#[test]
fn nothing_needs_a_newer_rust_than_is_promised() {
    // Of this machine's platform, as the tree is: the crates of others were never downloaded here.
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let mut command = MetadataCommand::new();
    command.manifest_path(MANIFEST);
    command.other_options(["--locked", "--filter-platform", host].map(str::to_owned));
    let metadata = command.exec().expect("cargo metadata runs");
    let needs: BTreeMap<(String, String), _> = metadata
        .packages
        .iter()
        .map(|package| ((package.name.to_string(), package.version.to_string()), package.rust_version.clone()))
        .collect();
    let promised = env!("CARGO_PKG_RUST_VERSION").split('.').map(|n| n.parse::<u64>().expect("a number"));
    let promised: Vec<u64> = promised.collect();
    let newer: Vec<_> = compiled()
        .into_iter()
        .filter_map(|key| {
            let needed = needs.get(&key).unwrap_or_else(|| panic!("cargo metadata lacks {key:?}")).clone()?;
            (vec![needed.major, needed.minor] > promised[..2].to_vec()).then(|| format!("{} {} {needed}", key.0, key.1))
        })
        .collect();
    assert!(newer.is_empty(), "Rust {promised:?} is promised; newer is needed by {newer:?}");
}
