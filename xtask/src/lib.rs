//! `cargo xtask …`: everything a fresh machine needs, from set-up to checks.
//!
//! Needs Rust, python3 and pip, nothing else. What it fetches is pinned by
//! version and SHA-256 in `xtask/data/pins.txt` and lives in a cache outside git
//! ([`cache`]). An error is told in words with its causes; Ctrl-C stops the
//! children, removes temporary files and leaves with code 130.
//!
//! The benchmarks of `benches/` find what they need by the same cache and run children by the same rules: those
//! modules are public. Nothing here needs a crate of the product.

#![forbid(unsafe_code)]

mod bench;
pub mod cache;
mod catalog;
mod chart;
mod check;
mod demo;
pub mod digest;
mod fleet;
mod gpu;
pub mod interrupt;
mod kernels;
mod merge;
pub mod models;
pub mod ort;
mod packages;
mod page;
mod pins;
pub mod pip;
mod print;
pub mod process;
pub mod python;
mod python_package;
pub mod report;
mod sdks;
pub mod server_process;
pub mod site;
mod steps;
mod test;
pub mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Conventional exit code of a program stopped by Ctrl-C (128 + SIGINT).
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up, demo, tests and checks",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rerank 200 real texts on three local servers, from nothing
    Demo(demo::Args),
    /// Run every test, fetching what they need first
    Test(test::Args),
    /// Formatting, lints, docs, dependency direction and the contract
    Check,
    /// Check the Helm chart, the alerts and the Dockerfile with the tools for them, fetching those first
    Chart(chart::Args),
    /// Check and test the Python package, fetching the tools for it first
    Python(python_package::Args),
    /// Compile the CUDA kernels into the module that the engine embeds
    Kernels(kernels::Args),
    /// Test a gateway and a server with the clients that people have: packages of PyPI and npm, unmodified
    Sdks(sdks::Args),
    /// Test the page of a gateway and a server in Chromium
    Page(page::Args),
    /// Run a fleet of local servers until Ctrl-C, with metrics and a configuration for Prometheus
    Fleet(fleet::Args),
    /// Fetch the ONNX Runtime library for this machine
    Ort(ort::Args),
    /// Fetch the models the tests and the demo use
    Models(models::Args),
    /// Run a benchmark
    Bench(bench::Args),
    /// Measure what docs/report shows, rivals included, and write it
    #[command(disable_help_flag = true)]
    Report(bench::Passed),
}

/// Runs the task that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    end(|| match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Check => check::run(),
        Command::Chart(args) => chart::run(&args),
        Command::Python(args) => python_package::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Sdks(args) => sdks::run(&args),
        Command::Page(args) => page::run(&args),
        Command::Fleet(args) => fleet::run(&args),
        Command::Ort(args) => ort::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(passed) => bench::program("report", &passed.args),
    })
}

/// Does something that Ctrl-C may stop, and says how it ended.
pub fn end(work: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match interrupt::listen().and_then(|()| work()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<interrupt::Interrupted>() => {
            eprintln!("interrupted; nothing is left running");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
