//! Dependencies point one way, and what is heavy stays out of the client.
//!
//! A service that links `sortie-client` must never compile ONNX Runtime, a
//! tokenizer or a CUDA binding. The rules are read off cargo's own resolution of
//! normal and build dependencies, over all features, for this machine's platform.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Each of our published crates and those of ours it may depend on directly.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sortie-work", &[]),
    ("sortie-proto", &[]),
    ("sortie-dispatch", &["sortie-work"]),
    ("sortie-gemm", &[]),
    ("sortie-engine", &["sortie-gemm"]),
    ("sortie-scheduler", &["sortie-work"]),
    ("sortie-client", &["sortie-dispatch", "sortie-proto"]),
    ("sortie", &["sortie-client", "sortie-lab", "sortie-proto"]),
    ("sortie-frontend", &["sortie-http", "sortie-page", "sortie-proto", "sortie-work"]),
    ("sortie-http", &["sortie-proto", "sortie-work"]),
    ("sortie-page", &["sortie-proto"]),
    ("sortie-gateway", &["sortie-client", "sortie-frontend", "sortie-page", "sortie-proto"]),
    (
        "sortie-server",
        &["sortie-engine", "sortie-frontend", "sortie-page", "sortie-proto", "sortie-scheduler", "sortie-work"],
    ),
    ("sortie-lab", &["sortie-client", "sortie-dispatch", "sortie-proto", "sortie-scheduler"]),
];

/// Crates of ours that are tools and tests: bound by no direction, reached by none that is published.
const UNPUBLISHED: &[&str] = &["sortie-testkit", "sortie-benches", "sortie-tests", "xtask"];

/// Only `sortie-engine` may name these.
const ENGINE_ONLY: &[&str] = &["ort", "ort-sys", "tokenizers"];

/// None of these may be reached from the client, the CLI, the dispatcher, the gateway, the lab or the scheduler.
const HEAVY: &[&str] = &["ort", "ort-sys", "tokenizers", "tokie", "cudarc", "candle-core", "onig_sys", "hf-hub"];

struct Graph {
    names: BTreeMap<PackageId, String>,
    /// The Rust that a package says it needs, as (major, minor).
    rust: BTreeMap<PackageId, (u64, u64)>,
    edges: BTreeMap<PackageId, Vec<PackageId>>,
    ours: BTreeMap<String, PackageId>,
}

impl Graph {
    fn read() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut command = MetadataCommand::new();
        command.manifest_path(manifest).features(cargo_metadata::CargoOpt::AllFeatures);
        // The crates of other platforms were never downloaded here.
        let host = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs");
        let host = String::from_utf8(host.stdout).expect("rustc prints text");
        let host = host.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host").to_owned();
        command.other_options(["--locked".to_owned(), "--filter-platform".to_owned(), host]);
        Self::of(&command.exec().expect("cargo metadata runs"))
    }

    fn of(metadata: &Metadata) -> Self {
        let names = metadata.packages.iter().map(|p| (p.id.clone(), p.name.to_string())).collect();
        let needs = |p: &Package| Some((p.id.clone(), p.rust_version.as_ref().map(|v| (v.major, v.minor))?));
        let rust = metadata.packages.iter().filter_map(needs).collect();
        let resolve = metadata.resolve.as_ref().expect("dependencies are resolved");
        let edges = resolve
            .nodes
            .iter()
            .map(|node| {
                let used =
                    node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development));
                (node.id.clone(), used.map(|d| d.pkg.clone()).collect())
            })
            .collect();
        let ours = metadata.workspace_packages().iter().map(|p| (p.name.to_string(), p.id.clone())).collect();
        Self { names, rust, edges, ours }
    }

    fn name(&self, id: &PackageId) -> &str {
        &self.names[id]
    }

    fn direct(&self, crate_name: &str) -> BTreeSet<&str> {
        self.edges[&self.ours[crate_name]].iter().map(|id| self.name(id)).collect()
    }

    fn reached(&self, crate_name: &str) -> BTreeSet<&str> {
        self.reached_ids(crate_name).into_iter().map(|id| self.name(id)).collect()
    }

    fn reached_ids(&self, crate_name: &str) -> BTreeSet<&PackageId> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![&self.ours[crate_name]];
        while let Some(id) = todo.pop() {
            for next in &self.edges[id] {
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        seen
    }
}

#[test]
fn every_crate_has_a_rule() {
    let graph = Graph::read();
    let ruled: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).chain(UNPUBLISHED.iter().copied()).collect();
    let ours: BTreeSet<&str> = graph.ours.keys().map(String::as_str).collect();
    assert_eq!(ours, ruled, "a crate without a rule, or a rule without a crate");
}

#[test]
fn every_published_crate_says_what_it_is() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata runs");
    let published = |p: &&Package| p.publish.as_ref().is_none_or(|registries| !registries.is_empty());
    let packages: Vec<_> = metadata.packages.iter().filter(published).collect();
    let names: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    assert!(names.contains("sortie-client") && UNPUBLISHED.iter().all(|name| !names.contains(name)), "{names:?}");
    for package in packages {
        let said = package.description.is_some() && !package.keywords.is_empty() && !package.categories.is_empty();
        assert!(said, "{} lacks a description, keywords or categories", package.name);
        let readme = package.readme().unwrap_or_else(|| panic!("{} names no readme", package.name));
        assert!(readme.is_file(), "{} has no {readme}", package.name);
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let file = package.manifest_path.with_file_name(licence);
            assert!(file.is_file(), "{} ships no {licence}", package.name);
        }
    }
}

#[test]
fn our_crates_depend_one_way() {
    let graph = Graph::read();
    for (name, allowed) in ALLOWED {
        let direct = graph.direct(name);
        let wrong: Vec<_> = direct.iter().filter(|d| graph.ours.contains_key(**d) && !allowed.contains(d)).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[test]
fn only_the_engine_names_ort_and_tokenizers() {
    let graph = Graph::read();
    for name in graph.ours.keys().filter(|n| *n != "sortie-engine") {
        let direct = graph.direct(name);
        let wrong: Vec<_> = ENGINE_ONLY.iter().filter(|d| direct.contains(**d)).collect();
        assert!(wrong.is_empty(), "{name} must not name {wrong:?}");
    }
    let engine = graph.direct("sortie-engine");
    assert!(engine.contains("ort") && engine.contains("tokenizers"), "the rule looks at the wrong names: {engine:?}");
}

#[test]
fn light_crates_reach_nothing_heavy() {
    let graph = Graph::read();
    let light = [
        "sortie-client",
        "sortie",
        "sortie-dispatch",
        "sortie-frontend",
        "sortie-gateway",
        "sortie-http",
        "sortie-lab",
        "sortie-page",
        "sortie-proto",
        "sortie-scheduler",
        "sortie-work",
    ];
    for name in light {
        let reached = graph.reached(name);
        let wrong: Vec<_> =
            HEAVY.iter().chain(&["sortie-engine", "sortie-server"]).filter(|d| reached.contains(**d)).collect();
        assert!(wrong.is_empty(), "{name} must not reach {wrong:?}");
    }
    assert!(graph.reached("sortie-server").contains("ort"), "the walk finds what is there");
}

#[test]
fn the_dispatcher_has_no_sockets_and_no_runtime() {
    let graph = Graph::read();
    let reached = graph.reached("sortie-dispatch");
    let wrong: Vec<_> =
        ["tokio", "tonic", "hyper", "mio", "socket2"].into_iter().filter(|d| reached.contains(d)).collect();
    assert!(wrong.is_empty(), "sortie-dispatch must not reach {wrong:?}");
}

/// A `rust-version` below a dependency's is a promise that cargo breaks with an error of its own.
#[test]
fn each_crate_says_the_rust_that_its_dependencies_need() {
    let graph = Graph::read();
    let mut newest = (0, 0);
    for (name, id) in &graph.ours {
        let own = *graph.rust.get(id).unwrap_or_else(|| panic!("{name} has no rust-version"));
        newest = newest.max(own);
        let reached = graph.reached_ids(name).into_iter();
        let newer: Vec<_> = reached.filter(|d| graph.rust.get(d).is_some_and(|r| *r > own)).map(|d| &d.repr).collect();
        assert!(newer.is_empty(), "{name} says Rust {}.{}, but these need a newer one: {newer:?}", own.0, own.1);
    }
    let said = format!("Rust {}.{} or newer", newest.0, newest.1);
    assert!(include_str!("../../docs/setup.md").contains(&said), "docs/setup.md does not say {said:?}");
    let image = include_str!("../../deploy/Dockerfile");
    let image = image.lines().find_map(|l| l.strip_prefix("ARG RUST_BASE=rust:1.")?.split('-').next()?.parse().ok());
    assert!(image.is_some_and(|minor: u64| (1, minor) >= newest), "deploy/Dockerfile builds with an older Rust");
}
