//! `cargo xtask check`: what must hold besides the tests. Every step runs, so one
//! run tells everything; the first line of a failure is the tool's own.

use std::{
    io::{self, IsTerminal as _},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, bail};

use crate::{buf, cache::Cache, process, workspace};

/// Runs every step and fails if one did.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut cargo_steps = vec![
        ("formatting", cargo(&["fmt", "--all", "--", "--check"])),
        ("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
        (
            "lints of timed",
            cargo(&["clippy", "-p", "sortie-server", "--features", "timed", "--bins", "--", "-D", "warnings"]),
        ),
        ("documentation", cargo(&["doc", "--workspace", "--no-deps"])),
        (
            "structure",
            cargo(&["test", "--quiet", "-p", "sortie-tests", "--test", "dependency_direction", "--test", "layout"]),
        ),
    ];
    if let Some((_, doc)) = cargo_steps.iter_mut().find(|(name, _)| *name == "documentation") {
        doc.env("RUSTDOCFLAGS", "-D warnings");
    }
    let mut done = Vec::new();
    for (name, command) in &mut cargo_steps {
        done.push((*name, step(name, command)?));
    }
    match buf::ensure(&Cache::open()?)? {
        Some(tool) => {
            let mut command = Command::new(tool);
            command.arg("lint").current_dir(workspace::root().join("proto"));
            done.push(("contract", step("contract", &mut command)?));
        }
        None => eprintln!("contract: no buf is known for this machine; the contract is not linted here"),
    }

    println!();
    for (name, outcome) in &done {
        println!("{:14} {} in {:.0} s", name, if outcome.passed { "ok    " } else { "FAILED" }, outcome.seconds);
    }
    let failed: Vec<_> = done.iter().filter(|(_, o)| !o.passed).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

struct Outcome {
    passed: bool,
    seconds: f32,
}

fn step(name: &str, command: &mut Command) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    println!("== {name}: {}", words.join(" "));
    let status = process::status(command, name).context("is `rustup component add rustfmt clippy` missing?")?;
    Ok(Outcome { passed: status.success(), seconds: start.elapsed().as_secs_f32() })
}

fn cargo(args: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(args);
    if !io::stderr().is_terminal() {
        command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    command
}
